//! Pods, made as kubelet makes them: by containerd's CRI plugin.

use std::{fs, sync::Arc, time::Duration};

use anyhow::Context as _;
use cofferdam_tests::{
    Containerd, Counts, Daemon, Network, Node, Pod, Podman, check, command::wait_for, counts, edge,
};

use crate::alone;

/// Only pods that are called a probe may talk to those that are called the web.
const ONLY_PROBES: &str = "
policy: shop
mode: enforce
rules:
  - to: {namespace: shop, labels: {app: web}}
    allow: [{from: {namespace: shop, labels: {app: probe}}, port: tcp/8080}]
";

#[test]
fn containers_that_kubelet_would_make_have_their_place_in_the_cluster() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let archive = Podman::new(&node)?.archive()?;
    let containerd = Arc::new(Containerd::for_kubelet(&node, Podman::IMAGE, &archive)?);
    let daemon = Daemon::on(&node, &["--containerd-socket", &containerd.socket().display().to_string()])?;
    let pod = Pod::run(&containerd, Network::Pod, "shop", "web-1")?;
    pod.container("nginx", &["/bin/traffic", "serve", "--tcp", "127.0.0.1:8080"])?;
    let probe = pod.container("probe", &["/bin/sleep", "100"])?;
    pod.exec(&probe, &["/bin/traffic", "connect", "127.0.0.1:8080"])?;

    let (probe, nginx) = ("shop/web-1/probe", "shop/web-1/nginx");
    let map = check(&daemon, &[probe, nginx], &[edge(probe, nginx, "tcp/8080").flows(1)])?;
    let server = &map.iter().find(|edge| edge.target.name == nginx).context("it was just there")?.target;
    assert_eq!(server.image.as_deref(), Some(Podman::IMAGE));
    let place = server.kubernetes.as_ref().context("no place in the cluster")?;
    assert_eq!((place.namespace.as_str(), place.pod.as_str()), ("shop", "web-1"));
    let address = pod.addresses()?.first().context("a pod without an address")?.to_string();
    assert!(daemon.containers()?.to_string().contains(&address), "the sandbox has not the pod's {address}");
    let names = daemon.ask(&["ps"])?;
    assert!(names.lines().any(|line| line.starts_with("shop/web-1 ")), "the sandbox is not in\n{names}");
    Ok(())
}

#[test]
fn policies_select_containers_of_a_pod_by_the_labels_of_the_pod() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let archive = Podman::new(&node)?.archive()?;
    let containerd = Arc::new(Containerd::for_kubelet(&node, Podman::IMAGE, &archive)?);
    let (policies, config) = (node.directory().join("policies"), node.directory().join("config.yaml"));
    fs::create_dir_all(&policies)?;
    fs::write(policies.join("shop.yaml"), ONLY_PROBES)?;
    fs::write(&config, format!("policies: {{folder: {}, at_stop: clear}}\n", policies.display()))?;
    let pod = |name: &str, app: &str| {
        Pod::run_with(&containerd, Network::Pod, "shop", name, &[("app", app), ("tier", "front")])
    };
    let (web, probe) = (pod("web-1", "web")?, pod("probe-1", "probe")?);
    web.container("nginx", &["/bin/traffic", "serve", "--tcp", "0.0.0.0:8080"])?;
    let address = web.addresses()?.first().context("a pod without an address")?.to_string();
    let to = format!("{address}:8080");
    let (socket, config) = (containerd.socket().display().to_string(), config.display().to_string());
    let daemon = Daemon::on(&node, &["--containerd-socket", &socket, "--config", &config])?;
    // One is there before the daemon, the other comes after it.
    let other = pod("other-1", "other")?;
    let connect = |pod: &Pod| {
        let id = pod.container("client", &["/bin/sleep", "100"])?;
        counts(&pod.exec(&id, &["/bin/traffic", "connect", &to, "--count", "5", "--timeout", "2000"])?)
    };
    let (allowed, denied) = (connect(&probe)?, connect(&other)?);
    assert_eq!((allowed.connections, allowed.failed), (5, 0), "{}", daemon.log());
    assert_eq!(denied, Counts { failed: 5, ..Counts::default() }, "{}", daemon.log());
    wait_for("the labels of the pod", Duration::from_secs(5), || {
        let told = daemon.containers().ok()?;
        let nginx = told.as_array()?.iter().find(|it| it["workload"]["name"] == "shop/web-1/nginx")?;
        (nginx["workload"]["labels"]["app"] == "web").then_some(())
    })
}
