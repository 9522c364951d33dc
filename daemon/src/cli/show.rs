//! `cofferdam show`: one workload, with all that is known of it.

use std::{cmp::Reverse, collections::BTreeMap};

use anyhow::anyhow;
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    Client, Failure, alerts,
    output::{ago, bytes, is_terminal, number, plural, print, print_json, printable},
    ps::port,
    question,
    within::Within,
};
use crate::{
    api::AlertsQuery,
    attribution::{Container, ContainerState},
    event::{Alert, Workload},
    interaction::Edge,
};

/// Most peers of each direction that are listed.
const SHOWN_PEERS: usize = 20;

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Its name, container name, project, DNS name, or the beginning of its id.
    workload: String,
    #[command(flatten)]
    within: Within,
    /// As JSON: `{containers, interactions, alerts}`, each as docs/api.md has it.
    #[arg(long)]
    json: bool,
}

/// All that is known.
#[derive(Debug, Serialize)]
struct Card {
    containers: Vec<Container>,
    interactions: Vec<Edge>,
    alerts: Vec<Alert>,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let name = &arguments.workload;
    let about = AlertsQuery { all: false, of: Some(name.clone()) };
    let mut card = Card {
        containers: client.get("/v1/containers")?,
        interactions: client.get_slowly(&question("/v1/interactions", &arguments.within.query())?)?,
        alerts: client.get(&question("/v1/alerts", &about)?)?,
    };
    card.containers.retain(|container| container.workload.is_called(name));
    card.interactions.retain(|edge| edge.source.is_called(name) || edge.target.is_called(name));
    if card.containers.is_empty() && card.interactions.is_empty() {
        let name = printable(name);
        return Err(
            anyhow!("nobody is called `{name}`: `cofferdam ps` and `cofferdam map` tell the names").into()
        );
    }
    if arguments.json {
        print_json(&card)
    } else {
        print(&text(&card, name, Timestamp::now(), is_terminal()))
    }
}

fn text(card: &Card, name: &str, now: Timestamp, for_people: bool) -> String {
    let mut text = String::new();
    for container in &card.containers {
        text += &shown(container, now, for_people);
    }
    let is_it = |workload: &Workload| workload.is_called(name);
    text +=
        &peers("TALKS TO", &card.interactions, |edge| is_it(&edge.source).then(|| edge.target.to_string()));
    text += &peers("IS ASKED BY", &card.interactions, |edge| {
        is_it(&edge.target).then(|| edge.source.to_string())
    });
    if !card.alerts.is_empty() {
        text += &format!("ALERTS\n{}", alerts::text(&card.alerts, now, for_people));
    }
    text
}

fn shown(container: &Container, now: Timestamp, for_people: bool) -> String {
    let Workload { name, runtime, id, image, image_digest, container_name, labels, .. } =
        &*container.workload;
    let since = container.started_at.map(|time| format!(" since {}", ago(time, now, for_people)));
    let state = match container.state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Exited => "exited",
    };
    let runtime = runtime.map_or("-", crate::event::Runtime::name);
    let mut text = format!("{}  {runtime}, {state}{}\n", printable(name), since.unwrap_or_default());
    let image = image.iter().chain(image_digest).cloned().collect::<Vec<_>>().join("  ");
    let list = |items: Vec<String>| items.join(", ");
    let mut privileges = Vec::new();
    if container.privileged {
        privileges.push("! privileged: it may do what root of the host may".to_owned());
    }
    if container.host_network {
        privileges.push("! the host's network".to_owned());
    }
    for (what, value) in [
        ("image", image),
        ("container", container_name.clone().unwrap_or_default()),
        ("id", id.clone().unwrap_or_default()),
        ("process", container.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        ("addresses", list(container.addresses.iter().map(ToString::to_string).collect())),
        ("ports", list(container.ports.iter().map(port).collect())),
        ("privileges", list(privileges)),
        ("labels", list(labels.iter().map(|(key, value)| format!("{key}={value}")).collect())),
    ] {
        if !value.is_empty() {
            text += &format!("  {what:<10}  {}\n", printable(&value));
        }
    }
    text
}

/// Peers of one direction, those with most flows first.
fn peers(heading: &str, edges: &[Edge], peer: impl Fn(&Edge) -> Option<String>) -> String {
    let mut sums = BTreeMap::<(String, String), [u64; 4]>::new();
    for edge in edges {
        if let Some(peer) = peer(edge) {
            let sum = sums.entry((peer, edge.protocol.service(edge.port))).or_default();
            let counts = [edge.flows, edge.verdicts.deny, edge.bytes_sent, edge.bytes_received];
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        }
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|(_, [flows, ..])| Reverse(*flows));
    let more = rows.len().saturating_sub(SHOWN_PEERS);
    let mut text = if rows.is_empty() { String::new() } else { format!("{heading}\n") };
    for ((peer, service), [flows, denied, sent, received]) in rows.into_iter().take(SHOWN_PEERS) {
        let denied = if denied > 0 { format!("  ✖ {} denied", number(denied)) } else { String::new() };
        text += &format!(
            "  {}  {service}  {}, {} sent, {} received{denied}\n",
            printable(&peer),
            plural(flows, "flow"),
            bytes(sent),
            bytes(received)
        );
    }
    if more > 0 {
        text += &format!("  … and {} more → cofferdam map\n", number(more as u64));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::EventKind,
        interaction::Verdicts,
        metrics::samples::edge,
        sink::samples::{self, web},
    };

    #[test]
    fn a_card_has_what_it_is_whom_it_talks_to_and_what_is_unusual_as_the_documentation_has_it() {
        let container = Container {
            workload: web(),
            cgroup_id: Some(7_316),
            state: ContainerState::Running,
            started_at: Some("2026-11-24T09:54:41Z".parse().unwrap()),
            addresses: vec![[172, 18, 0, 2].into()],
            privileged: true,
            host_network: false,
            pid: Some(4_200),
            ports: Vec::new(),
        };
        let denied = Edge {
            port: 22,
            flows: 0,
            bytes_sent: 0,
            bytes_received: 0,
            verdicts: Verdicts { deny: 3, ..Verdicts::default() },
            ..edge()
        };
        let asked = Edge { source: Workload::host().into(), target: web(), port: 80, ..edge() };
        let EventKind::Alert(alert) = samples::alert().kind else { panic!("no alert") };
        let card = Card {
            containers: vec![container],
            interactions: vec![edge(), denied, asked],
            alerts: vec![*alert],
        };
        let now = "2026-11-24T10:00:41Z".parse().unwrap();
        let shown = anstream::adapter::strip_str(&text(&card, "shop/web", now, true)).to_string();
        insta::assert_snapshot!(shown, @r"
        shop/web  docker, running since 6 m
          image       registry.example/web:1.4
          container   shop-web-1
          id          3f2a9c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809
          process     4200
          addresses   172.18.0.2
          privileges  ! privileged: it may do what root of the host may
          labels      tier=front
        TALKS TO
          shop/api  tcp/8080  412 flows, 1.2 MB sent, 9.8 MB received
          shop/api  tcp/22  0 flows, 0 B sent, 0 B received  ✖ 3 denied
        IS ASKED BY
          host  tcp/80  412 flows, 1.2 MB sent, 9.8 MB received
        ALERTS
        ✖ critical  9f2c41d07ab3e865  new_edge  first 2 m, last 41 s, 3 times
          shop/web has never talked to shop/db in 21 days; now tcp/5432, 3 times, from the same image
        1 alert open. Normal? cofferdam alerts ack ID. To be stopped? cofferdam alerts rule ID
        ");
        assert!(include_str!("../../../docs/cli.md").contains(&shown), "docs/cli.md shows another card");
    }
}
