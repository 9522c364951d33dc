//! What is on disk, found and believed.

use std::fs;

use cofferdam_common::ids::CgroupId;

use super::{
    super::{RuntimeState, RuntimeStatus},
    *,
};

/// Folders of runtimes. Removed when dropped.
struct Disk(PathBuf);

impl Disk {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("cofferdam-disk-{name}-{}", std::process::id())))
    }

    fn write(&self, path: &str, json: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, json).unwrap();
    }

    fn roots(&self) -> Roots {
        Roots {
            docker: self.0.join("docker"),
            containerd: vec![self.0.join("containerd")],
            storage: self.0.join("storage"),
            storage_run: self.0.join("run"),
        }
    }

    /// What is known of a cgroup once what is on disk was looked at.
    fn looked_at(&self, path: &str) -> Attribution {
        let attribution = Attribution::new("/nowhere".into());
        attribution.made(CgroupId(7), path);
        let wanted = attribution.take_nameless().into_iter().map(|nameless| (nameless, 0)).collect();
        look(&attribution, &self.roots(), wanted);
        attribution
    }

    /// How a cgroup is called then.
    fn name(&self, path: &str) -> String {
        self.looked_at(path).workload(CgroupId(7)).to_string()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn id() -> String {
    "3f2a".repeat(16)
}

#[test]
fn a_container_of_docker_has_its_name_without_docker() {
    let disk = Disk::new("docker");
    let json = format!(r#"{{"ID": "{}", "Name": "/web"}}"#, id());
    disk.write(&format!("docker/containers/{}/config.v2.json", id()), &json);
    for path in ["/docker/ID", "/batch/ID", "/system.slice/docker-ID.scope"] {
        assert_eq!(disk.name(&path.replace("ID", &id())), "web", "{path}");
    }
    assert_eq!(disk.name(&format!("/machine.slice/libpod-{}.scope", id())), "3f2a3f2a3f2a");
}

#[test]
fn a_container_of_podman_has_its_name_without_podman() {
    let disk = Disk::new("podman");
    let json = format!(r#"[{{"id": "{}", "names": ["web"]}}]"#, id());
    disk.write("storage/overlay-containers/containers.json", &json);
    assert_eq!(disk.name(&format!("/libpod_parent/libpod-{}", id())), "web");
}

/// Whether rules can be asked about the one container of a node, if a runtime's API is heard so.
fn is_told(attribution: &Attribution, runtime: Runtime, user: Option<u32>, state: RuntimeState) -> bool {
    is_told_because(attribution, runtime, user, (state, None))
}

/// The same, if it is not heard for a reason.
fn is_told_because(
    attribution: &Attribution,
    runtime: Runtime,
    user: Option<u32>,
    (state, reason): (RuntimeState, Option<&str>),
) -> bool {
    let (endpoint, reason) = ("api.sock".to_owned(), reason.map(str::to_owned));
    attribution.report(RuntimeStatus { runtime, user, endpoint, state, version: None, reason });
    attribution.placed().iter().find(|placed| placed.cgroup == CgroupId(7)).unwrap().told
}

#[test]
fn labels_of_podman_are_waited_for_while_its_api_may_tell_them() {
    let disk = Disk::new("labels");
    let json = format!(r#"[{{"id": "{}", "names": ["web"]}}]"#, id());
    disk.write("storage/overlay-containers/containers.json", &json);
    let annotated = r#"{"annotations": {"tier": "front", "io.kubernetes.cri-o.SandboxID": "aa"}}"#;
    disk.write(&format!("storage/overlay-containers/{}/userdata/config.json", id()), annotated);
    let attribution = disk.looked_at(&format!("/libpod_parent/libpod-{}", id()));
    assert!(attribution.workload(CgroupId(7)).labels.is_empty(), "annotations are no labels of Podman");

    let told = |runtime, user, state| is_told(&attribution, runtime, user, state);
    assert!(!told(Runtime::Podman, None, RuntimeState::Awaited));
    assert!(!told(Runtime::Podman, None, RuntimeState::Connected));
    assert!(told(Runtime::Podman, None, RuntimeState::Absent), "nobody will ever tell more");
    let fails = |reason| {
        let state = (RuntimeState::Unreachable, Some(reason));
        is_told_because(&attribution, Runtime::Podman, None, state)
    };
    for passing in ["no answer within 5 s", "it ended its stream of events"] {
        assert!(!fails(passing), "{passing}: it may tell when it is heard again");
    }
    for lasting in ["Permission denied (os error 13)", "Connection refused (os error 111)"] {
        assert!(fails(lasting), "{lasting}");
    }
    assert!(told(Runtime::Podman, Some(1000), RuntimeState::Connected), "it knows its user's alone");
    assert!(told(Runtime::Docker, None, RuntimeState::Connected));

    let labels = Some([("tier".to_owned(), "front".to_owned())].into());
    let facts = ContainerFacts { labels, ..ContainerFacts::new(id()) };
    attribution.learn(&Source::api(Runtime::Podman, "api.sock"), facts);
    assert!(told(Runtime::Podman, None, RuntimeState::Connected));
}

#[test]
fn labels_of_containerd_are_waited_for_and_those_of_docker_are_on_disk() {
    let disk = Disk::new("bundle");
    disk.write(&format!("containerd/io.containerd.runtime.v2.task/default/{}/config.json", id()), "{}");
    let attribution = disk.looked_at(&format!("/default/{}", id()));
    assert!(!is_told(&attribution, Runtime::Containerd, None, RuntimeState::Connected));
    assert!(is_told(&attribution, Runtime::Containerd, None, RuntimeState::Absent));

    let json = format!(r#"{{"ID": "{}", "Name": "/web"}}"#, id());
    disk.write(&format!("docker/containers/{}/config.v2.json", id()), &json);
    let attribution = disk.looked_at(&format!("/docker/{}", id()));
    assert!(is_told(&attribution, Runtime::Docker, None, RuntimeState::Connected));
}

#[test]
fn crio_tells_all_on_disk() {
    let disk = Disk::new("crio");
    let json = format!(r#"[{{"id": "{}", "names": ["k8s_POD_web-1"], "metadata": "{{}}"}}]"#, id());
    disk.write("storage/overlay-containers/containers.json", &json);
    let annotations = format!(
        r#"{{"annotations": {{"io.kubernetes.cri-o.SandboxID": "{}", "io.kubernetes.cri-o.Labels": "{{\"app\": \"web\"}}",
            "io.kubernetes.cri-o.ImageName": "pause:1"}}}}"#,
        id()
    );
    disk.write(&format!("run/overlay-containers/{}/userdata/config.json", id()), &annotations);
    let attribution = disk.looked_at(&format!("/kubepods.slice/crio-{}.scope", id()));
    assert!(is_told(&attribution, Runtime::Crio, None, RuntimeState::Absent));
    let workload = attribution.workload(CgroupId(7));
    assert_eq!((&*workload.labels["app"], workload.image.as_deref()), ("web", Some("pause:1")));
}

#[test]
fn a_container_of_crio_has_the_labels_of_its_pod_where_the_sandbox_has_no_cgroup() {
    let (disk, sandbox) = (Disk::new("crio-member"), "b0".repeat(32));
    let annotated = |labels: &str| {
        format!(
            r#"{{"annotations": {{"io.kubernetes.cri-o.SandboxID": "{sandbox}", "io.kubernetes.cri-o.Labels": "{labels}",
                "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.name": "web-1",
                "io.kubernetes.container.name": "nginx"}}}}"#
        )
    };
    let at = |id: &str| format!("run/overlay-containers/{id}/userdata/config.json");
    let path = format!("/kubepods.slice/crio-{}.scope", id());
    disk.write(&format!("storage/overlay-containers/{}/x", id()), "");
    disk.write(
        "storage/overlay-containers/containers.json",
        &format!(r#"[{{"id": "{}", "names": ["k8s_nginx"]}}]"#, id()),
    );
    assert!(!is_told(&disk.looked_at(&path), Runtime::Crio, None, RuntimeState::Absent), "a name is not all");
    disk.write(&at(&id()), &annotated("{}"));
    disk.write(&at(&sandbox), &annotated(r#"{\"app\": \"web\"}"#));
    let attribution = disk.looked_at(&path);
    let workload = attribution.workload(CgroupId(7));
    assert_eq!(
        (workload.name.as_str(), workload.labels.get("app").map(String::as_str)),
        ("shop/web-1/nginx", Some("web"))
    );
    assert!(is_told(&attribution, Runtime::Crio, None, RuntimeState::Absent));
}

#[test]
fn a_container_of_podman_that_is_removed_when_it_ends_is_in_a_list_of_its_own() {
    let disk = Disk::new("volatile");
    disk.write("storage/overlay-containers/containers.json", "[]");
    disk.write(
        "storage/overlay-containers/volatile-containers.json",
        &format!(r#"[{{"id": "{}", "names": ["job"]}}]"#, id()),
    );
    assert_eq!(disk.name(&format!("/machine.slice/libpod-{}.scope", id())), "job");
}

#[test]
fn a_pod_of_containerd_is_waited_for_only_where_its_api_may_tell() {
    let disk = Disk::new("pod");
    let json = r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "aa", "io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.sandbox-name": "web-1", "io.kubernetes.cri.container-name": "nginx"}}"#;
    disk.write(&format!("containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json", id()), json);
    let attribution = disk.looked_at(&format!("/kubepods/besteffort/pod1/{}", id()));
    assert!(!is_told(&attribution, Runtime::Containerd, None, RuntimeState::Connected));
    assert!(is_told(&attribution, Runtime::Containerd, None, RuntimeState::Absent));
}

#[test]
fn a_machine_of_nspawn_is_told_by_its_path() {
    let attribution = Disk::new("machine").looked_at("/machine.slice/systemd-nspawn@build.service");
    assert!(is_told(&attribution, Runtime::Docker, None, RuntimeState::Connected));
}

#[test]
fn a_pods_container_has_its_name_without_containerd() {
    let disk = Disk::new("cri");
    let json = r#"{"annotations": {"io.kubernetes.cri.sandbox-namespace": "shop",
        "io.kubernetes.cri.sandbox-name": "web-1", "io.kubernetes.cri.container-name": "nginx"}}"#;
    disk.write(&format!("containerd/io.containerd.runtime.v2.task/k8s.io/{}/config.json", id()), json);
    assert_eq!(disk.name(&format!("/kubepods/besteffort/pod1/{}", id())), "shop/web-1/nginx");
}

#[test]
fn a_chosen_id_counts_only_where_its_cgroup_is() {
    let disk = Disk::new("chosen");
    let json = r#"{"linux": {"cgroupsPath": "/default/web"}}"#;
    disk.write("containerd/io.containerd.runtime.v2.task/default/web/config.json", json);
    assert_eq!(disk.name("/default/web"), "web");
    assert_eq!(disk.name("/batch/web"), "/batch/web");
}

#[test]
fn what_is_too_long_or_no_file_is_not_read() {
    let disk = Disk::new("hostile");
    let path = format!("docker/containers/{}/config.v2.json", id());
    disk.write(&path, &format!(r#"{{"ID": "{}", "Name": "/web{}"}}"#, id(), " ".repeat(2 << 20)));
    assert_eq!(disk.name(&format!("/docker/{}", id())), "3f2a3f2a3f2a");
    fs::remove_file(disk.0.join(&path)).unwrap();
    nix::unistd::mkfifo(&disk.0.join(&path), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(disk.name(&format!("/docker/{}", id())), "3f2a3f2a3f2a");
}

#[tokio::test]
async fn a_user_whose_home_does_not_answer_holds_up_nobody_else() {
    let disk = Disk::new("hangs");
    let json = format!(r#"{{"ID": "{}", "Name": "/web"}}"#, id());
    disk.write(&format!("docker/containers/{}/config.v2.json", id()), &json);
    let attribution = Arc::new(Attribution::new("/nowhere".into()));
    let mut looks = Looks::new(Arc::clone(&attribution), disk.roots());
    // As while a look at theirs does not return.
    looks.busy.insert(Some(1_000));
    attribution.made(CgroupId(6), &format!("/user.slice/user-1000.slice/libpod-{}.scope", id()));
    attribution.made(CgroupId(7), &format!("/docker/{}", id()));
    looks.start();
    let (user, missing) = looks.under_way.join_next().await.unwrap().unwrap();
    assert_eq!((user, missing.len(), looks.under_way.len()), (None, 0, 0));
    assert_eq!(attribution.workload(CgroupId(7)).to_string(), "web");
    assert_eq!(looks.wanted[&Some(1_000)].len(), 1);
}

#[test]
fn a_users_own_docker_and_podman_tell_by_what_lies_in_their_home() {
    let disk = Disk::new("home");
    disk.write(
        &format!("home/.local/share/docker/containers/{}/config.v2.json", id()),
        &format!(r#"{{"ID": "{}", "Name": "/web", "Config": {{"Labels": {{"tier": "front"}}}}}}"#, id()),
    );
    disk.write(
        "home/.local/share/containers/storage/overlay-containers/containers.json",
        &format!(r#"[{{"id": "{}", "names": ["db"]}}]"#, id()),
    );
    let found = |scope: &str| {
        let attribution = Attribution::new("/nowhere".into());
        let path = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/{scope}-{}.scope", id());
        attribution.made(CgroupId(7), &path);
        let nameless = attribution.take_nameless().remove(0);
        let (runtime, _, facts) = at_home(&disk.0.join("home"), &nameless).unwrap();
        (runtime, facts.name, facts.lacks_labels)
    };
    assert_eq!(found("docker"), (Runtime::Docker, Some("web".to_owned()), false));
    assert_eq!(found("libpod"), (Runtime::Podman, Some("db".to_owned()), true));
}
