//! Docker: two networks and the host's, published ports, a project of Compose, a network that two share.

use std::sync::Arc;

use anyhow::Result;
use cofferdam::event::Runtime;
use cofferdam_tests::{Container, Docker, Node, Options};

use super::cast::Cast;

const TRAFFIC: [&str; 2] = ["traffic", "connect"];

pub(super) fn set(node: &Arc<Node>) -> Result<Cast> {
    let docker = Docker::start(node)?;
    docker.network("front", &["--ipv6", "--subnet", "fd00:c0ff:1::/64"])?;
    docker.network("back", &["--ipv6", "--subnet", "fd00:c0ff:2::/64"])?;
    let (front, back) = (Options::new().on("front"), Options::new().on("back"));
    let of_compose =
        ["--label", "com.docker.compose.project=shop", "--label", "com.docker.compose.service=queue"];
    let mut cast = Cast::default();
    for (name, network, options) in [
        ("probe", "", front.clone()),
        ("web", "front", front.clone().with(&["--publish", "8080:80"]).tcp("80")),
        ("sidecar", "", Options::new().on("container:web")),
        ("api", "front", front.tcp("8000")),
        ("db", "back", back.clone().tcp("5432")),
        ("cache", "back", back.clone().tcp("0.0.0.0:6379").udp("11211")),
        ("queue", "back", back.clone().with(&of_compose).tcp("5672")),
        ("dns", "", back.with(&["--publish", "8053:53/udp"]).udp("53")),
        ("agent", "", Options::new().on("host").tcp("9100").udp("8125")),
    ] {
        let container = docker.container(name, &options)?;
        if name == "api" {
            docker.join("back", &container)?;
        }
        if !network.is_empty() {
            cast.place(name, container.address(network)?);
            cast.place(format!("{name}6"), container.address6(network)?);
        }
        let shown = if name == "queue" { "shop/queue" } else { name };
        cast.show_container(shown, Runtime::Docker, container.id(), Some(docker.image()));
        cast.actor(name, &TRAFFIC, move |words| Container::exec(&container, words));
    }
    for network in ["front", "back"] {
        cast.place(network, docker.gateway(network)?);
    }
    cast.place("host", docker.workload()?);
    Ok(cast)
}
