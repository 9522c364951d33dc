//! Pods, made as kubelet makes them: by containerd's CRI plugin.

use std::sync::Arc;

use anyhow::Context as _;
use cofferdam_tests::{Containerd, Daemon, Network, Node, Pod, Podman, check, edge};

use crate::alone;

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
