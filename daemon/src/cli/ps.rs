//! `cofferdam ps`: who is here.

use clap::Args;
use jiff::Timestamp;

use super::{
    Client, Failure,
    output::{ago, is_terminal, print, print_json, table},
};
use crate::{
    attribution::{Container, ContainerState, PublishedPort},
    event::Runtime,
};

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// As JSON (docs/api.md, /v1/containers).
    #[arg(long)]
    json: bool,
    /// Those that have ended as well.
    #[arg(short, long)]
    all: bool,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let mut containers: Vec<Container> = client.get("/v1/containers")?;
    if !arguments.all {
        containers.retain(|container| container.state != ContainerState::Exited);
    }
    containers.sort_by(|one, other| one.workload.cmp(&other.workload));
    if arguments.json {
        print_json(&containers)
    } else {
        print(&text(&containers, Timestamp::now(), is_terminal()))
    }
}

pub(super) fn text(containers: &[Container], now: Timestamp, for_people: bool) -> String {
    let header = ["NAME", "STATE", "SINCE", "RUNTIME", "IMAGE", "ADDRESSES", "PORTS", "ID", "NOTES"];
    table(header, &[], containers.iter().map(|container| row(container, now, for_people)))
}

fn row(container: &Container, now: Timestamp, for_people: bool) -> [String; 9] {
    let workload = &container.workload;
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    let joined = |list: Vec<String>| or_dash(list.join(","));
    let mut notes = Vec::new();
    if container.privileged {
        notes.push("! privileged".to_owned());
    }
    if container.host_network {
        notes.push("host network".to_owned());
    }
    [
        workload.name.clone(),
        match container.state {
            ContainerState::Created => "created",
            ContainerState::Running => "running",
            ContainerState::Paused => "paused",
            ContainerState::Exited => "exited",
        }
        .to_owned(),
        container.started_at.map_or_else(|| "-".to_owned(), |time| ago(time, now, for_people)),
        workload.runtime.map_or("-", Runtime::name).to_owned(),
        or_dash(workload.image.clone().unwrap_or_default()),
        joined(container.addresses.iter().map(ToString::to_string).collect()),
        joined(container.ports.iter().map(port).collect()),
        or_dash(workload.id.as_deref().map(|id| id.get(..12).unwrap_or(id)).unwrap_or_default().to_owned()),
        joined(notes),
    ]
}

/// As `docker ps` has it, without the address where it is every address.
pub(super) fn port(port: &PublishedPort) -> String {
    let PublishedPort { host_address, host_port, container_port, protocol } = port;
    if host_address.is_unspecified() {
        format!("{host_port}->{container_port}/{protocol}")
    } else {
        format!("{}->{container_port}/{protocol}", std::net::SocketAddr::new(*host_address, *host_port))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::{event::Protocol, sink::samples};

    #[test]
    fn a_container_shows_its_name_and_what_is_special_about_it() {
        let now: Timestamp = "2026-11-24T10:00:00Z".parse().expect("a time");
        let published = |host_address| PublishedPort {
            host_address,
            host_port: 8_080,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let container = Container {
            workload: samples::web(),
            cgroup_id: Some(7_316),
            state: ContainerState::Running,
            started_at: Some("2026-11-24T09:54:00Z".parse().expect("a time")),
            addresses: vec![[172, 18, 0, 2].into()],
            privileged: true,
            host_network: false,
            pid: Some(4_200),
            ports: vec![published(Ipv4Addr::UNSPECIFIED.into()), published(Ipv4Addr::LOCALHOST.into())],
        };
        insta::assert_snapshot!(text(&[container], now, true), @r#"
        NAME      STATE    SINCE  RUNTIME  IMAGE                     ADDRESSES   PORTS                                ID            NOTES
        shop/web  running  6 m    docker   registry.example/web:1.4  172.18.0.2  8080->80/tcp,127.0.0.1:8080->80/tcp  3f2a9c4d5e6f  ! privileged
        "#);
    }
}
