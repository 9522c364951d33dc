//! Who may say what about a container, and what is nobody's.

use super::*;

#[test]
fn a_user_cannot_pose_as_a_container_of_the_system() {
    let host = Host::shop();
    let own = format!("/user.slice/user-1000.slice/user@1000.service/docker-{DB}.scope");
    host.made(CgroupId(104), &own);
    assert_eq!(host.name(CgroupId(104)), "user-1000/bbbbbbbbbbbb");
    // Whatever his runtime says, and leaves out.
    let user = Source { user: Some(1000), ..Source::api(Runtime::Docker, "docker.sock") };
    let claim = ContainerFacts { pid: Some(Some(1)), ..compose(DB, "db", "198.18.1.3") };
    host.0.learn(&user, ContainerFacts { name: None, labels: Some(BTreeMap::new()), ..claim.clone() });
    assert_eq!(host.name(CgroupId(104)), "user-1000/bbbbbbbbbbbb");
    host.0.learn(&user, claim);
    let posing = host.0.workload(CgroupId(104));
    assert_eq!((&*posing.name, posing.of_user()), ("user-1000/shop/db", Some((1000, "shop/db"))));
    assert!(host.0.containers().iter().all(|container| container.pid != Some(1)));
}

#[test]
fn a_user_cannot_pose_as_a_unit_of_the_system() {
    let host = Host::empty();
    host.made(CgroupId(104), "/user.slice/user-1000.slice/user@1000.service/app.slice/backup.service");
    let backup = host.0.workload(CgroupId(104));
    assert_eq!((backup.kind, backup.of_user()), (WorkloadKind::Unit, Some((1000, "backup.service"))));
    assert_eq!(backup.name, "user-1000/backup.service");
}

#[test]
fn what_lies_below_a_containers_own_cgroup_is_placed_by_that() {
    let host = Host::shop();
    let deep = format!(
        "/a.slice/b.slice/c.slice/d.slice/e.slice/f.slice/g.slice/h.slice/i.slice/j.slice/k.slice/{WEB}"
    );
    let placed = || {
        let mut placed: Vec<_> = host.0.placed().iter().map(|placed| placed.cgroup.0).collect();
        placed.sort_unstable();
        placed
    };
    host.made(CgroupId(104), &format!("/docker/{WEB}/inside"));
    host.made(CgroupId(105), &format!("/system.slice/docker-{DB}.scope/init.scope"));
    assert_eq!(placed(), [1, 101, 102]);
    // The kernel does not look so far down.
    host.made(CgroupId(106), &deep.replace(WEB, &"c".repeat(64)));
    host.made(CgroupId(107), &(deep.replace(WEB, &"c".repeat(64)) + "/inside"));
    assert_eq!(placed(), [1, 101, 102, 106, 107]);
}

#[test]
fn another_runtime_can_neither_rename_nor_forget_a_container() {
    let host = Host::shop();
    let containerd = Source::api(Runtime::Containerd, "containerd.sock");
    host.0.learn(&containerd, ContainerFacts { name: Some("evil".to_owned()), ..ContainerFacts::new(WEB) });
    host.0.forget(&containerd, WEB);
    host.0.retain(&containerd, &HashSet::new());
    assert_eq!(host.names(), ["shop/db", "shop/web"]);
    assert_eq!(host.name(WEB_CGROUP), "shop/web");
}

#[test]
fn a_users_runtime_reaches_the_containers_of_its_user_only() {
    let host = Host::shop();
    let own = format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{DB}.scope/container");
    host.made(CgroupId(104), &own);
    let user = Source { user: Some(1000), ..Source::api(Runtime::Podman, "podman.sock") };
    let claim = ContainerFacts {
        name: Some("mine".to_owned()),
        cgroup_path: Some("/batch/other".to_owned()),
        ..ContainerFacts::new(DB)
    };
    host.0.learn(&user, claim);
    host.made(CgroupId(105), "/batch/other");
    assert_eq!(host.name(CgroupId(104)), "user-1000/mine");
    assert_eq!((host.name(DB_CGROUP), host.name(CgroupId(105))), ("shop/db".into(), "/batch/other".into()));
}

#[test]
fn a_container_is_found_by_the_cgroup_that_its_runtime_tells_before_and_after_it_was_made() {
    let host = Host::empty();
    let containerd = Source::api(Runtime::Containerd, "containerd.sock");
    let facts = |name: &str| ContainerFacts {
        name: Some(name.to_owned()),
        cgroup_path: Some(format!("/default/{name}")),
        ..ContainerFacts::new(format!("default/{name}"))
    };
    host.made(CgroupId(106), "/default/early");
    host.made(CgroupId(107), "/default/early/docker/inner");
    assert_eq!(host.name(CgroupId(106)), "/default/early");
    host.0.learn(&containerd, facts("early"));
    host.0.learn(&containerd, facts("late"));
    host.made(CgroupId(108), "/default/late");
    for (cgroup, name) in [(106, "early"), (107, "early"), (108, "late")] {
        assert_eq!(host.name(CgroupId(cgroup)), name);
    }
    assert_eq!(
        host.0.containers().iter().filter_map(|found| found.cgroup_id).collect::<Vec<_>>(),
        [106, 108]
    );

    host.removed(CgroupId(107), "/default/early/docker/inner");
    host.removed(CgroupId(106), "/default/early");
    host.0.forget(&containerd, "default/early");
    host.0.drop_gone(&host.0.gone());
    assert_eq!(host.names(), ["late"]);
}

#[test]
fn a_cgroup_that_is_nobodys_is_called_by_its_path_and_counted() {
    let host = Host::empty();
    assert_eq!(host.made(CgroupId(104), "/batch/jobs"), "/batch/jobs: cgroup /batch/jobs was made");
    assert_eq!(host.0.workload(CgroupId(104)).kind, WorkloadKind::Cgroup);
    assert_eq!(host.0.unclaimed(), 1);
    host.removed(CgroupId(104), "/batch/jobs");
    assert_eq!(host.0.unclaimed(), 0);
}

#[test]
fn what_is_on_disk_about_a_container_that_is_gone_is_not_kept() {
    let host = Host::empty();
    let disk = Source { voice: Voice::Disk, ..docker() };
    host.0.learn(&disk, compose(WEB, "web", "198.18.1.2"));
    assert!(!host.0.is_told(WEB));
    host.made(WEB_CGROUP, &format!("/docker/{WEB}"));
    host.0.learn(&disk, compose(WEB, "web", "198.18.1.2"));
    assert_eq!(host.name(WEB_CGROUP), "shop/web");
}

#[test]
fn a_container_whose_id_would_be_obeyed_by_a_terminal_is_forgotten_like_any_other() {
    let host = Host::empty();
    let evil = format!("3\u{7f}{}", "x".repeat(200));
    let told = || ContainerFacts { name: Some("web".to_owned()), ..ContainerFacts::new(evil.clone()) };
    host.0.learn(&docker(), told());
    host.0.retain(&docker(), &HashSet::from([evil.clone()]));
    assert_eq!(host.names(), ["web"]);
    host.0.forget(&docker(), &evil);
    assert!(host.names().is_empty());
}
