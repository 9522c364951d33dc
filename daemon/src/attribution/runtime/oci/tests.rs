//! What is on disk, found and believed.

use std::fs;

use cofferdam_common::ids::CgroupId;

use super::*;

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
            users: self.0.join("users"),
        }
    }

    /// How a cgroup is called once what is on disk was looked at.
    fn name(&self, path: &str) -> String {
        let attribution = Attribution::new("/nowhere".into());
        attribution.made(CgroupId(7), path);
        let wanted = attribution.take_nameless().into_iter().map(|nameless| (nameless, 0)).collect();
        look(&attribution, &self.roots(), wanted);
        attribution.workload(CgroupId(7)).to_string()
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
