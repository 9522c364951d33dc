//! Cgroups: what a path of the v2 hierarchy says about who lives there, and the walk of the tree.
//!
//! The path is made by the runtime, as root, before the first task enters; it cannot be changed from inside a
//! container. So it alone decides *that* something is a container, and which. Names come later, from the runtime.

use std::{
    fs, io,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::Path,
    sync::Arc,
};

use cofferdam_common::ids::CgroupId;

use super::container::{user_key, user_of_slice};
use crate::event::Runtime;

/// What lives in a cgroup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place<'a> {
    /// A container, or something that a container made below its own cgroup.
    Container(ContainerPlace<'a>),
    /// A systemd unit outside any container, by name.
    Unit(&'a str),
    /// A service of a user's own manager, and the name that he gave it.
    UserUnit(u32, &'a str),
    /// The root of the hierarchy, or a runtime's own watcher.
    Host,
    /// None of these: somebody's cgroup, by its path.
    Unclaimed,
}

/// The container that a path belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ContainerPlace<'a> {
    /// Who made it, as far as the path says.
    pub(super) runtime: Option<Runtime>,
    /// Whether only that runtime makes such paths.
    pub(super) sure: bool,
    /// The runtime's id: 64 hexadecimal digits, or the name of a machine of systemd-nspawn.
    pub(super) id: &'a str,
    /// The user slice that it lies in: a user's own (rootless) runtime made it. Users can make cgroups there with
    /// any name, so such an id says nothing about containers elsewhere.
    pub(super) user_slice: Option<&'a str>,
    /// The container's own cgroup: the path, without what lies below.
    pub(super) own: &'a str,
}

impl ContainerPlace<'_> {
    /// Under which key the tables hold it.
    pub(super) fn key(&self) -> Arc<str> {
        match (self.user_slice, self.runtime) {
            (Some(slice), _) => user_key(slice, self.id),
            // No id of a runtime has a slash.
            (None, Some(Runtime::Systemd)) => format!("machine/{}", self.id).into(),
            (None, _) => self.id.into(),
        }
    }
}

/// Digits of a container's id.
const ID_DIGITS: usize = 64;

/// What `path`, below the root of the hierarchy (`/docker/3f2a...`), says.
///
/// The outermost container counts: what is nested in it was made by it, and cannot pose as another.
pub(super) fn identify(path: &str) -> Place<'_> {
    let user_slice = user_slice(path);
    let mut outer = "";
    let mut in_pods = false;
    let mut end = 0;
    for component in path.split('/') {
        end += component.len();
        in_pods |= component.starts_with("kubepods");
        // Users can make cgroups of any name in their slices, and machines are root's.
        let machine = || machine(component, outer).filter(|_| user_slice.is_none());
        let found = container(component, outer, in_pods).or_else(machine);
        if let Some((runtime, sure, id)) = found {
            let own = path.get(..end).unwrap_or(path);
            return Place::Container(ContainerPlace { runtime, sure, id, user_slice, own });
        }
        outer = component;
        end += 1;
    }
    unit(path, user_slice)
}

/// A component that stands for a container: `docker-<id>.scope`, `libpod-<id>`, a bare id. Its runtime, whether that
/// is sure, and its id.
fn container<'a>(component: &'a str, outer: &str, in_pods: bool) -> Option<(Option<Runtime>, bool, &'a str)> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(ID_DIGITS)?)?;
    if !id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let (runtime, sure) = match prefix {
        "docker-" => (Some(Runtime::Docker), true),
        // `libpod-payload-` is what `podman run --cgroups=split` makes below a unit.
        "libpod-" | "libpod-payload-" => (Some(Runtime::Podman), true),
        "cri-containerd-" | "nerdctl-" => (Some(Runtime::Containerd), true),
        "crio-" => (Some(Runtime::Crio), true),
        "" if outer == "docker" => (Some(Runtime::Docker), false),
        // kubelet with the cgroupfs driver, and containerd's usual namespaces.
        "" if in_pods || matches!(outer, "default" | "k8s.io") => (Some(Runtime::Containerd), false),
        // Docker below any parent (`--cgroup-parent`), or somebody else: who knows the id will say.
        "" => (None, false),
        // Among them `libpod-conmon-` and `crio-conmon-`: the runtime's own watchers, which are part of the host.
        _ => return None,
    };
    Some((runtime, sure, id))
}

/// A machine of systemd-nspawn, whose own systemd makes units below that must not pass for the host's.
fn machine<'a>(component: &'a str, outer: &str) -> Option<(Option<Runtime>, bool, &'a str)> {
    let service = component.strip_prefix("systemd-nspawn@").and_then(|name| name.strip_suffix(".service"));
    // Those of libvirt are virtual machines: their processes are the host's.
    let scope = || {
        component.strip_prefix("machine-").filter(|name| !name.starts_with("qemu"))?.strip_suffix(".scope")
    };
    // systemd's `hostname_is_valid`, with the escapes of unit names: any other name is not one of a machine.
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.\\".contains(&byte);
    let id = service.or_else(scope).filter(|id| !id.is_empty() && id.bytes().all(valid))?;
    if outer != "machine.slice" {
        return None;
    }
    Some((Some(Runtime::Systemd), true, id))
}

/// `user-1000.slice` of `/user.slice/user-1000.slice/...`.
fn user_slice(path: &str) -> Option<&str> {
    let slice = path.strip_prefix("/user.slice/")?.split('/').next()?;
    slice.ends_with(".slice").then_some(slice)
}

/// Whether Podman and CRI-O have there the process that watches a container. What a service makes below its own cgroup is
/// that service's.
fn is_watcher(path: &str) -> bool {
    let is_id = |id: &str| id.len() == ID_DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    let last = path.rsplit('/').next().unwrap_or_default();
    let of = |prefix| last.strip_prefix(prefix)?.strip_suffix(".scope");
    let named = last == "conmon" || of("libpod-conmon-").or_else(|| of("crio-conmon-")).is_some_and(is_id);
    named && !path.contains(".service/")
}

/// The innermost unit, as far as systemd's own units reach down from the root: what a service makes below its own
/// cgroup is that service's, whatever it calls it. Scopes of users (`session-3.scope`) are numbered without end, so
/// they count as their user's slice.
fn unit<'a>(path: &'a str, user_slice: Option<&'a str>) -> Place<'a> {
    if path.trim_matches('/').is_empty() || (user_slice.is_none() && is_watcher(path)) {
        return Place::Host;
    }
    let kind = |component: &'a str| Some(component.rsplit_once('.').filter(|(name, _)| !name.is_empty())?.1);
    let mut innermost = None;
    for component in path.split('/').filter(|component| !component.is_empty()) {
        match kind(component) {
            Some("slice") => {
                if user_slice.is_none() {
                    innermost = Some(component);
                }
            }
            // A user's own manager, and what it runs below.
            Some("service") if user_slice.is_some() && component.starts_with("user@") => {}
            Some("service") => {
                let user = user_slice.and_then(user_of_slice);
                return user.map_or(Place::Unit(component), |user| Place::UserUnit(user, component));
            }
            Some("scope") => return Place::Unit(user_slice.unwrap_or(component)),
            _ => break,
        }
    }
    match user_slice.or(innermost) {
        Some(name) => Place::Unit(name),
        None => Place::Unclaimed,
    }
}

/// Most cgroups that one walk reads.
const WALK_LIMIT: usize = 65_536;

/// What a walk of the tree found.
pub(super) struct Walk {
    /// Every cgroup with its path.
    pub(super) found: Vec<(CgroupId, String)>,
    /// Whether all could be read: only then is what was not found not there.
    pub(super) complete: bool,
}

/// Reads the tree below `root`. A directory that vanishes meanwhile is left out. Blocks.
///
/// # Errors
/// When `root` itself cannot be read.
pub(super) fn walk(root: &Path) -> io::Result<Walk> {
    fs::read_dir(root)?;
    let mut walk =
        Walk { found: vec![(CgroupId(fs::metadata(root)?.ino()), "/".to_owned())], complete: true };
    let mut open = vec![(root.to_owned(), String::new())];
    while let Some((directory, path)) = open.pop() {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                walk.complete &= error.kind() == io::ErrorKind::NotFound;
                continue;
            }
        };
        // Entries that fail vanished between listing and reading.
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            if walk.found.len() >= WALK_LIMIT {
                walk.complete = false;
                return Ok(walk);
            }
            let path = format!("{path}/{}", entry.file_name().to_string_lossy());
            walk.found.push((CgroupId(entry.ino()), path.clone()));
            open.push((entry.path(), path));
        }
    }
    Ok(walk)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "3f2a9c0d3f2a9c0d3f2a9c0d3f2a9c0d3f2a9c0d3f2a9c0d3f2a9c0d3f2a9c0d";
    const OTHER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn place(path: &str) -> ContainerPlace<'_> {
        match identify(path) {
            Place::Container(place) => place,
            other => panic!("{path} is no container but {other:?}"),
        }
    }

    fn check(path: &str, runtime: impl Into<Option<Runtime>>, nested: bool) {
        let path = path.replace("<id>", ID).replace("<other>", OTHER);
        let place = place(&path);
        let found = (place.runtime, place.id, place.own.len() < path.len());
        assert_eq!(found, (runtime.into(), ID, nested), "{path}");
    }

    #[test]
    fn containers_are_known_by_the_paths_of_all_runtimes() {
        check("/docker/<id>", Runtime::Docker, false);
        check("/system.slice/docker-<id>.scope", Runtime::Docker, false);
        check("/shop.slice/shop-web.slice/docker-<id>.scope", Runtime::Docker, false);
        check("/machine.slice/libpod-<id>.scope/container", Runtime::Podman, true);
        check("/libpod_parent/libpod-<id>", Runtime::Podman, false);
        check("/system.slice/app.service/libpod-payload-<id>", Runtime::Podman, false);
        let pod = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1_2.slice";
        check(&format!("{pod}/cri-containerd-<id>.scope"), Runtime::Containerd, false);
        check(&format!("{pod}/crio-<id>.scope/container"), Runtime::Crio, true);
        check("/kubepods/besteffort/pod2ef0/<id>", Runtime::Containerd, false);
        check("/default/<id>", Runtime::Containerd, false);
    }

    #[test]
    fn an_id_below_any_parent_is_a_container_whose_runtime_is_yet_to_be_told() {
        check("/batch/jobs/<id>", None, false);
    }

    #[test]
    fn a_nested_cgroup_belongs_to_the_outermost_container() {
        check("/docker/<id>/init", Runtime::Docker, true);
        check("/docker/<id>/docker/<other>", Runtime::Docker, true);
        check("/docker/<id>/system.slice/docker-<other>.scope", Runtime::Docker, true);
        check("/system.slice/docker-<id>.scope/system.slice/nginx.service", Runtime::Docker, true);
        check("/docker/<id>/kubelet/kubepods/pod1/<other>", Runtime::Docker, true);
    }

    #[test]
    fn a_machine_of_nspawn_is_a_container_with_all_that_its_systemd_makes() {
        for path in [
            "/machine.slice/systemd-nspawn@build.service/payload/system.slice/nginx.service",
            "/machine.slice/machine-build.scope/supervisor",
        ] {
            let place = place(path);
            assert_eq!((place.runtime, place.id), (Some(Runtime::Systemd), "build"), "{path}");
        }
        let vm = r"machine-qemu\x2d1\x2dbuild.scope";
        assert_eq!(identify(&format!("/machine.slice/{vm}/libvirt/emulator")), Place::Unit(vm));
    }

    #[test]
    fn a_users_own_container_is_told_apart_from_the_systems() {
        let path =
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container");
        assert_eq!(place(&path).user_slice, Some("user-1000.slice"));
        assert_eq!(*place(&path).key(), *format!("user-1000.slice/{ID}"));
    }

    #[test]
    fn a_machine_has_a_name_that_machines_can_have() {
        let named = |name: &str| {
            matches!(identify(&format!("/machine.slice/machine-{name}.scope")), Place::Container(_))
        };
        assert!(named("web\\x2d1.example"));
        assert!(!named("web\u{13}"), "what a terminal obeys is no name");
    }

    #[test]
    fn units_are_named_by_service_scope_or_slice() {
        for (path, unit) in [
            ("/system.slice/nginx.service", "nginx.service"),
            ("/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service"),
            ("/system.slice/foo.service/payload/1", "foo.service"),
            ("/system.slice/foo.service/system.slice/nginx.service", "foo.service"),
            ("/init.scope", "init.scope"),
            ("/system.slice/docker.service", "docker.service"),
            ("/system.slice", "system.slice"),
            ("/batch.slice/batch-jobs.slice/7", "batch-jobs.slice"),
        ] {
            assert_eq!(identify(path), Place::Unit(unit), "{path}");
        }
    }

    #[test]
    fn sessions_of_a_user_are_one_unit() {
        let user = "/user.slice/user-1000.slice";
        for inner in ["", "/session-3.scope", "/session-77.scope", "/user@1000.service/init.scope"] {
            assert_eq!(identify(&format!("{user}{inner}")), Place::Unit("user-1000.slice"), "{inner}");
        }
        let service = format!("{user}/user@1000.service/app.slice/backup.service");
        assert_eq!(identify(&service), Place::UserUnit(1000, "backup.service"));
    }

    #[test]
    fn a_user_can_neither_pose_as_the_host_nor_as_a_machine() {
        let user = "/user.slice/user-1000.slice/user@1000.service";
        for inner in ["machine.slice/systemd-nspawn@web.service", "a-conmon-b.service"] {
            let name = inner.rsplit('/').next().unwrap();
            assert_eq!(identify(&format!("{user}/{inner}")), Place::UserUnit(1000, name), "{inner}");
        }
        let conmon = format!("libpod-conmon-{ID}.scope");
        for inner in ["conmon", "app.slice/conmon", &conmon] {
            assert_eq!(identify(&format!("{user}/{inner}")), Place::Unit("user-1000.slice"), "{inner}");
        }
        assert_eq!(identify("/system.slice/a-conmon-b.service"), Place::Unit("a-conmon-b.service"));
        assert_eq!(identify("/system.slice/a.service/conmon"), Place::Unit("a.service"));
    }

    #[test]
    fn the_root_and_the_runtimes_watchers_are_the_host() {
        let conmon = format!("/machine.slice/libpod-conmon-{ID}.scope");
        for path in ["", "/", "/libpod_parent/conmon", &conmon] {
            assert_eq!(identify(path), Place::Host, "{path}");
        }
    }

    #[test]
    fn what_nobody_claims_is_no_unit_and_no_container() {
        let (short, upper) = (format!("/docker/{}", &ID[..63]), format!("/docker/{}", ID.to_uppercase()));
        let inner = "/lxc.payload.web/system.slice/nginx.service";
        for path in ["/docker", "/batch/jobs", "/.service", inner, &short, &upper] {
            assert_eq!(identify(path), Place::Unclaimed, "{path}");
        }
    }

    #[test]
    fn the_walk_finds_every_directory_by_its_inode() {
        let root = std::env::temp_dir().join(format!("cofferdam-walk-{}", std::process::id()));
        fs::create_dir_all(root.join("docker/a")).unwrap();
        fs::write(root.join("docker/cgroup.procs"), "").unwrap();
        let Walk { mut found, complete } = walk(&root).unwrap();
        assert!(complete);
        found.sort_by(|left, right| left.1.cmp(&right.1));
        let paths: Vec<_> = found.iter().map(|(_, path)| path.as_str()).collect();
        assert_eq!(paths, ["/", "/docker", "/docker/a"]);
        assert_eq!(found[2].0, CgroupId(fs::metadata(root.join("docker/a")).unwrap().ino()));
        fs::remove_dir_all(&root).unwrap();
        assert!(walk(&root).is_err());
    }

    proptest! {
        #[test]
        fn identifying_never_panics(path in "[/a-f0-9é.scopeurvi-]{0,200}") {
            let _ = identify(&path);
        }
    }
}
