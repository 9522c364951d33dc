//! Cgroups: what a path of the v2 hierarchy says about who lives there, and the walk of the tree.
//!
//! The path is made by the runtime, as root, before the first task enters; it cannot be changed from inside a
//! container. So it alone decides *that* something is a container, and which. Names come later, from the runtime.

use std::{
    fs, io,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::Path,
};

use cofferdam_common::ids::CgroupId;

use crate::event::Runtime;

/// What lives in a cgroup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place<'a> {
    /// A container, or something that a container made below its own cgroup.
    Container(ContainerPlace<'a>),
    /// A systemd unit outside any container, by name.
    Unit(&'a str),
    /// None of these.
    Host,
}

/// The container that a path belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ContainerPlace<'a> {
    /// Who made it, by the path's shape.
    pub(super) runtime: Runtime,
    /// The runtime's id, 64 hexadecimal digits.
    pub(super) id: &'a str,
    /// The user slice that it lies in: a user's own (rootless) runtime made it. Users can make cgroups there with
    /// any name, so such an id says nothing about containers elsewhere.
    pub(super) user_slice: Option<&'a str>,
    /// Whether the path goes on below the container's own cgroup.
    pub(super) nested: bool,
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
    let mut components = path.split('/').filter(|component| !component.is_empty()).peekable();
    while let Some(component) = components.next() {
        in_pods |= component.starts_with("kubepods");
        if let Some((runtime, id)) = container(component, outer, in_pods) {
            let nested = components.peek().is_some();
            return Place::Container(ContainerPlace { runtime, id, user_slice, nested });
        }
        outer = component;
    }
    unit(path, user_slice)
}

/// A component that stands for a container: `docker-<id>.scope`, `libpod-<id>`, a bare id.
fn container<'a>(component: &'a str, outer: &str, in_pods: bool) -> Option<(Runtime, &'a str)> {
    let name = component.strip_suffix(".scope").unwrap_or(component);
    let (prefix, id) = name.split_at_checked(name.len().checked_sub(ID_DIGITS)?)?;
    if !id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let runtime = match prefix {
        "docker-" => Runtime::Docker,
        // `libpod-payload-` is what `podman run --cgroups=split` makes below a unit.
        "libpod-" | "libpod-payload-" => Runtime::Podman,
        "cri-containerd-" | "nerdctl-" => Runtime::Containerd,
        "crio-" => Runtime::Crio,
        // kubelet with the cgroupfs driver, and containerd's usual namespaces.
        "" if in_pods || matches!(outer, "default" | "k8s.io") => Runtime::Containerd,
        // `/docker/<id>`, or any other parent that `--cgroup-parent` names.
        "" => Runtime::Docker,
        // Among them `libpod-conmon-` and `crio-conmon-`: the runtime's own watchers, which are part of the host.
        _ => return None,
    };
    Some((runtime, id))
}

/// `user-1000.slice` of `/user.slice/user-1000.slice/...`.
fn user_slice(path: &str) -> Option<&str> {
    let slice = path.strip_prefix("/user.slice/")?.split('/').next()?;
    slice.ends_with(".slice").then_some(slice)
}

/// The innermost service or scope. Scopes of users (`session-3.scope`) are numbered without end, so they count as
/// their user's slice.
fn unit<'a>(path: &'a str, user_slice: Option<&'a str>) -> Place<'a> {
    let innermost = path.rsplit('/').find(|component| {
        let kind = component.rsplit_once('.').filter(|(name, _)| !name.is_empty()).map(|(_, kind)| kind);
        match kind {
            Some("service") => true,
            Some("scope") => user_slice.is_none() && !component.contains("-conmon-"),
            _ => false,
        }
    });
    match innermost {
        // `user@1000.service` is the user's own manager.
        Some(name) if user_slice.is_some() && name.starts_with("user@") => {
            user_slice.map_or(Place::Host, Place::Unit)
        }
        Some(name) => Place::Unit(name),
        None => user_slice.map_or(Place::Host, Place::Unit),
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

    fn check(path: &str, runtime: Runtime, nested: bool) {
        let path = path.replace("<id>", ID).replace("<other>", OTHER);
        match identify(&path) {
            Place::Container(place) => {
                assert_eq!((place.runtime, place.id, place.nested), (runtime, ID, nested), "{path}");
            }
            other => panic!("{path} is no container but {other:?}"),
        }
    }

    #[test]
    fn containers_are_known_by_the_paths_of_all_runtimes() {
        check("/docker/<id>", Runtime::Docker, false);
        check("/system.slice/docker-<id>.scope", Runtime::Docker, false);
        check("/shop.slice/shop-web.slice/docker-<id>.scope", Runtime::Docker, false);
        check("/batch/jobs/<id>", Runtime::Docker, false);
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
    fn a_nested_cgroup_belongs_to_the_outermost_container() {
        check("/docker/<id>/init", Runtime::Docker, true);
        check("/docker/<id>/docker/<other>", Runtime::Docker, true);
        check("/docker/<id>/system.slice/docker-<other>.scope", Runtime::Docker, true);
        check("/system.slice/docker-<id>.scope/system.slice/nginx.service", Runtime::Docker, true);
        check("/docker/<id>/kubelet/kubepods/pod1/<other>", Runtime::Docker, true);
    }

    #[test]
    fn a_users_own_container_is_told_apart_from_the_systems() {
        let path =
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container");
        let Place::Container(place) = identify(&path) else { panic!("no container") };
        assert_eq!(place.user_slice, Some("user-1000.slice"));
    }

    #[test]
    fn units_are_named_by_the_innermost_service_or_scope() {
        assert_eq!(identify("/system.slice/nginx.service"), Place::Unit("nginx.service"));
        assert_eq!(
            identify("/system.slice/system-getty.slice/getty@tty1.service"),
            Place::Unit("getty@tty1.service")
        );
        assert_eq!(identify("/system.slice/foo.service/payload/1"), Place::Unit("foo.service"));
        assert_eq!(identify("/init.scope"), Place::Unit("init.scope"));
        assert_eq!(identify("/system.slice/docker.service"), Place::Unit("docker.service"));
    }

    #[test]
    fn sessions_of_a_user_are_one_unit() {
        let user = "/user.slice/user-1000.slice";
        for inner in ["", "/session-3.scope", "/session-77.scope", "/user@1000.service/init.scope"] {
            assert_eq!(identify(&format!("{user}{inner}")), Place::Unit("user-1000.slice"), "{inner}");
        }
        let service = format!("{user}/user@1000.service/app.slice/backup.service");
        assert_eq!(identify(&service), Place::Unit("backup.service"));
    }

    #[test]
    fn everything_else_is_the_host() {
        let short = &ID[..63];
        let upper = ID.to_uppercase();
        let conmon = format!("/machine.slice/libpod-conmon-{ID}.scope");
        let paths = ["", "/", "/docker", "/system.slice", "/batch/jobs", "/.service", "/user.slice", &conmon];
        for path in paths.into_iter().chain([&*format!("/docker/{short}"), &*format!("/docker/{upper}")]) {
            assert_eq!(identify(path), Place::Host, "{path}");
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
