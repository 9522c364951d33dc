//! containerd: plain containers, containers of pods, with its API and without.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use cofferdam_tests::{Containerd, Daemon, Node, check, command::wait_for, edge};

use crate::alone;

const SERVE: [&str; 4] = ["traffic", "serve", "--tcp", "127.0.0.1:8080"];
const CONNECT: [&str; 3] = ["traffic", "connect", "127.0.0.1:8080"];

#[test]
fn a_container_with_a_chosen_id_is_known_by_the_cgroup_that_containerd_tells() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let mut containerd = Containerd::start(&node)?;
    containerd.container("default", "web", &["--label", "tier=front"], &SERVE)?;
    containerd.wait_for("default", "web")?;
    let daemon = Daemon::on(&node, &["--containerd-socket", &containerd.socket().display().to_string()])?;
    containerd.once("blink", &CONNECT)?;
    let map = check(&daemon, &["web", "blink"], &[edge("blink", "web", "tcp/8080").flows(1)])?;
    let web = &map.iter().find(|edge| edge.target.name == "web").context("it was just there")?.target;
    assert_eq!(web.id.as_deref(), Some("default/web"));
    assert_eq!(web.labels.get("tier").map(String::as_str), Some("front"));
    let listed = daemon.containers()?;
    assert_eq!(listed[0]["workload"]["runtime"], "containerd");
    assert_eq!(listed[0]["state"], "running");

    containerd.remove("default", "web")?;
    wait_for("ps without web", Duration::from_secs(5), || {
        (!daemon.ask(&["ps", "--all"]).ok()?.contains("web")).then_some(())
    })?;
    Ok(())
}

#[test]
fn containers_of_a_pod_are_told_apart_though_they_share_its_network() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let mut containerd = Containerd::start(&node)?;
    let daemon = Daemon::on(&node, &["--containerd-socket", &containerd.socket().display().to_string()])?;
    let labels = |container: &str| {
        let container = format!("io.kubernetes.container.name={container}");
        [
            "io.kubernetes.pod.namespace=shop",
            "io.kubernetes.pod.name=web-1",
            "io.cri-containerd.kind=container",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([container])
        .flat_map(|label| ["--label".to_owned(), label])
        .collect::<Vec<_>>()
    };
    for (digit, name, program) in [("a", "nginx", SERVE.as_slice()), ("b", "probe", &["sleep", "60"])] {
        let labels = labels(name);
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        containerd.container("k8s.io", &digit.repeat(64), &labels, program)?;
    }
    containerd.wait_for("k8s.io", &"a".repeat(64))?;
    containerd.exec("k8s.io", &"b".repeat(64), &CONNECT)?;
    let (probe, nginx) = ("shop/web-1/probe", "shop/web-1/nginx");
    let map = check(&daemon, &[probe, nginx], &[edge(probe, nginx, "tcp/8080").flows(1)])?;
    let place =
        map.iter().find_map(|edge| edge.target.kubernetes.clone()).context("no place in the cluster")?;
    assert_eq!((place.namespace.as_str(), place.pod.as_str()), ("shop", "web-1"));
    Ok(())
}

#[test]
fn a_container_of_containerd_has_its_name_although_it_is_not_heard() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let mut containerd = Containerd::start(&node)?;
    let silent = node.directory().join("silent.sock").display().to_string();
    let _listener = std::os::unix::net::UnixListener::bind(&silent)?;
    let daemon = Daemon::on(&node, &["--containerd-socket", &silent])?;
    containerd.container("default", "web", &[], &SERVE)?;
    containerd.wait_for("default", "web")?;
    containerd.once("blink", &CONNECT)?;
    check(&daemon, &["web", "blink"], &[edge("blink", "web", "tcp/8080").flows(1)])?;
    Ok(())
}
