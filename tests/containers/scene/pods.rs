//! containerd: plain containers on the node's network, and pods by its CRI plugin, with a network of their own.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result};
use cofferdam::event::Runtime;
use cofferdam_tests::{Containerd, Network, Node, Pod, Podman, command::run};

use super::cast::Cast;

const TRAFFIC: [&str; 2] = ["/bin/traffic", "connect"];

pub(super) fn set(node: &Arc<Node>, archive: &Path) -> Result<Cast> {
    let mut containerd = Containerd::for_kubelet(node, Podman::IMAGE, archive)?;
    let plain = [("exporter", "9200"), ("scraper", "9201")];
    for (name, port) in plain {
        containerd.container("default", name, &[], &["traffic", "serve", "--tcp", port])?;
        containerd.wait_for("default", name)?;
    }
    let containerd = Arc::new(containerd);
    let mut cast = Cast::default();
    for (name, _) in plain {
        cast.show_container(name, Runtime::Containerd, &format!("default/{name}"), None);
        let containerd = Arc::clone(&containerd);
        cast.actor(name, &TRAFFIC, move |words| containerd.exec("default", name, words));
    }

    let web = pod(&containerd, Network::Pod, "shop/web-1")?;
    place(&mut cast, "nginx", &web)?;
    let postgres = pod(&containerd, Network::Pod, "shop/db-0")?;
    place(&mut cast, "postgres", &postgres)?;
    let proxy = pod(&containerd, Network::Node, "kube-system/proxy-1")?;
    for (name, pod, place, program) in [
        ("nginx", &web, "shop/web-1", ["--tcp", "8080"].as_slice()),
        ("logger", &web, "shop/web-1", &["--udp", "127.0.0.1:5140"]),
        ("postgres", &postgres, "shop/db-0", &["--tcp", "5432"]),
        ("proxy", &proxy, "kube-system/proxy-1", &["--udp", "10256"]),
    ] {
        let id = pod.container(name, &[&["/bin/traffic", "serve"], program].concat())?;
        cast.show_container(&format!("{place}/{name}"), Runtime::Containerd, &id, Some(Podman::IMAGE));
        let pod = Arc::clone(pod);
        cast.actor(name, &TRAFFIC, move |words| pod.exec(&id, words));
    }
    cast.place("pods", "198.19.16.1");
    // Docker forbids to forward what is not its own.
    for direction in ["-i", "-o"] {
        run(node.command("iptables").args(["-w", "-I", "FORWARD", direction, "pods", "-j", "ACCEPT"]))?;
    }
    Ok(cast)
}

fn pod(containerd: &Arc<Containerd>, network: Network, place: &str) -> Result<Arc<Pod>> {
    let (namespace, name) = place.split_once('/').context("not namespace/pod")?;
    Pod::run(containerd, network, namespace, name).map(Arc::new)
}

fn place(cast: &mut Cast, name: &str, pod: &Pod) -> Result<()> {
    let [address, address6] = pod.addresses()?[..] else { anyhow::bail!("{name} has not two addresses") };
    cast.place(name, address);
    cast.place(format!("{name}6"), address6);
    Ok(())
}
