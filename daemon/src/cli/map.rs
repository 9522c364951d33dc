//! `cofferdam map`: who talks to whom.

use std::{collections::BTreeMap, fmt::Write as _};

use clap::Args;
use jiff::Timestamp;

use super::{
    Client, Failure,
    output::{ago, bytes, is_terminal, number, print, print_json, printable, table},
    question,
    within::Within,
};
use crate::interaction::{Edge, Failed};

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// As JSON: a list of edges, replicas apart (docs/api.md, /v1/interactions).
    #[arg(long, conflicts_with = "dot")]
    json: bool,
    /// As a graph for Graphviz: `cofferdam map --dot | dot -Tsvg > map.svg`.
    #[arg(long)]
    dot: bool,
    #[command(flatten)]
    within: Within,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let edges: Vec<Edge> = client.get_slowly(&question("/v1/interactions", &arguments.within.query())?)?;
    if arguments.json {
        print_json(&edges)
    } else if arguments.dot {
        print(&dot(&edges))
    } else {
        print(&text(&edges, Timestamp::now(), is_terminal()))
    }
}

/// What people tell edges apart by; replicas of a service are one.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Lane {
    source: String,
    target: String,
    port: String,
    via: String,
}

/// Sums of a lane.
#[derive(Default)]
struct Traffic {
    flows: u64,
    attempts: u64,
    denied: u64,
    audited: u64,
    failed: Failed,
    sent: u64,
    received: u64,
    last: Timestamp,
}

impl Traffic {
    /// `6 (4 refused, 1 unreachable)`: what did not become flows, and why as far as it is known.
    fn failed(&self) -> String {
        let all = self.attempts.saturating_sub(self.flows);
        let why: Vec<_> = self.failed.by_name().into_iter().filter(|(_, count)| *count > 0).collect();
        let text = |(name, count): &(&str, u64)| format!("{} {name}", number(*count));
        match &why[..] {
            [] => number(all),
            [one] if one.1 == all => text(one),
            _ => format!("{} ({})", number(all), why.iter().map(text).collect::<Vec<_>>().join(", ")),
        }
    }

    /// `✖ 3`, and `▲ 2` of what passed and would have been denied.
    fn denied(&self) -> String {
        let of = |mark: &str, count: u64| (count > 0).then(|| format!("{mark} {}", number(count)));
        let parts: Vec<_> = [of("✖", self.denied), of("▲", self.audited)].into_iter().flatten().collect();
        if parts.is_empty() { "0".to_owned() } else { parts.join("  ") }
    }
}

fn lanes(edges: &[Edge]) -> BTreeMap<Lane, Traffic> {
    let mut lanes = BTreeMap::<Lane, Traffic>::new();
    for edge in edges {
        let lane = Lane {
            source: edge.source.to_string(),
            target: edge.target.to_string(),
            port: edge.protocol.service(edge.port),
            via: edge.via.clone().unwrap_or_else(|| "-".to_owned()),
        };
        let traffic = lanes.entry(lane).or_default();
        traffic.flows += edge.flows;
        traffic.attempts += edge.attempts;
        traffic.denied += edge.verdicts.deny;
        traffic.audited += edge.verdicts.audit;
        traffic.failed = traffic.failed.each(edge.failed, u64::saturating_add);
        traffic.sent += edge.bytes_sent;
        traffic.received += edge.bytes_received;
        traffic.last = traffic.last.max(edge.last_seen);
    }
    lanes
}

pub(super) fn text(edges: &[Edge], now: Timestamp, for_people: bool) -> String {
    let header = ["SOURCE", "TARGET", "PORT", "VIA", "FLOWS", "FAILED", "DENIED", "SENT", "RECEIVED", "LAST"];
    let lanes = lanes(edges);
    let any_denied = lanes.values().any(|traffic| traffic.denied > 0 || traffic.audited > 0);
    let rows = lanes.into_iter().map(|(lane, traffic)| {
        let (failed, denied) = (traffic.failed(), traffic.denied());
        [
            lane.source,
            lane.target,
            lane.port,
            lane.via,
            number(traffic.flows),
            failed,
            denied,
            bytes(traffic.sent),
            bytes(traffic.received),
            ago(traffic.last, now, for_people),
        ]
    });
    if any_denied {
        return table(header, &[4, 5, 6, 7, 8], rows);
    }
    // Most hosts deny nothing: the column would only take room.
    table(undenied(header), &[4, 5, 6, 7], rows.map(undenied))
}

/// A row without the column DENIED.
fn undenied<T>(row: [T; 10]) -> [T; 9] {
    let [source, target, port, via, flows, failed, _, sent, received, last] = row;
    [source, target, port, via, flows, failed, sent, received, last]
}

pub(super) fn dot(edges: &[Edge]) -> String {
    let mut graph = String::from("digraph cofferdam {\n  rankdir=LR;\n  node [shape=box];\n");
    for (lane, traffic) in lanes(edges) {
        // Writing to a string does not fail.
        let _ = writeln!(
            graph,
            "  {} -> {} [label={}];",
            quoted(&lane.source),
            quoted(&lane.target),
            quoted(&match traffic.denied {
                0 => format!("{} ({})", lane.port, number(traffic.flows)),
                denied => format!("{} ({}, {} denied)", lane.port, number(traffic.flows), number(denied)),
            })
        );
    }
    graph.push_str("}\n");
    graph
}

/// A quoted id of the DOT language, in which the quote ends and the backslash escapes.
fn quoted(name: &str) -> String {
    format!("\"{}\"", printable(name).replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{Workload, WorkloadKind},
        interaction::Verdicts,
        metrics::samples::edge,
    };

    fn edges() -> Vec<Edge> {
        let outside = Workload::named(WorkloadKind::Outside, "203.0.113.7");
        vec![
            edge(),
            Edge { attempts: 5, flows: 2, bytes_sent: 999, ..edge() },
            Edge { target: outside.into(), port: 443, via: Some("br-1".to_owned()), ..edge() },
        ]
    }

    #[test]
    fn the_table_has_one_row_per_pair_and_port() {
        let now: Timestamp = "2026-11-24T10:00:02Z".parse().expect("a time");
        insta::assert_snapshot!(text(&edges(), now, true), @r#"
        SOURCE    TARGET               PORT      VIA   FLOWS     FAILED    SENT  RECEIVED  LAST
        shop/web  outside 203.0.113.7  tcp/443   br-1    412  3 refused  1.2 MB    9.8 MB  2 s
        shop/web  shop/api             tcp/8080  -       414  6 refused  1.2 MB     20 MB  2 s
        "#);
        assert!(
            include_str!("../../../docs/cli.md").contains(&text(&edges(), now, true)),
            "docs/cli.md shows another table"
        );
        assert!(text(&edges(), now, false).contains("2026-11-24T10:00:00Z"));
    }

    #[test]
    fn what_was_denied_has_a_column_where_there_is_any() {
        let now: Timestamp = "2026-11-24T10:00:02Z".parse().expect("a time");
        let db = Arc::new(Workload::named(WorkloadKind::Container, "shop/db"));
        let denied = Edge {
            target: db,
            port: 5_432,
            attempts: 0,
            flows: 0,
            failed: Failed::default(),
            verdicts: Verdicts { deny: 3, ..Verdicts::default() },
            bytes_sent: 0,
            bytes_received: 0,
            ..edge()
        };
        let both = Edge {
            source: Arc::new(Workload::host()),
            verdicts: Verdicts { deny: 1_204, audit: 2, allow: 0 },
            attempts: 2,
            flows: 2,
            ..denied.clone()
        };
        insta::assert_snapshot!(text(&[edge(), denied, both], now, true), @r#"
        SOURCE    TARGET    PORT      VIA  FLOWS     FAILED        DENIED    SENT  RECEIVED  LAST
        host      shop/db   tcp/5432  -        2          0  ✖ 1,204  ▲ 2     0 B       0 B  2 s
        shop/web  shop/api  tcp/8080  -      412  3 refused             0  1.2 MB    9.8 MB  2 s
        shop/web  shop/db   tcp/5432  -        0          0           ✖ 3     0 B       0 B  2 s
        "#);
    }

    #[test]
    fn the_graph_is_one_that_graphviz_reads() {
        let mut edges = edges();
        let verdicts = Verdicts { deny: 1_204, ..Verdicts::default() };
        let source = Workload::named(WorkloadKind::Unit, "evil\"]; \\x\n").into();
        edges.push(Edge { source, verdicts, ..edge() });
        insta::assert_snapshot!(dot(&edges), @r#"
        digraph cofferdam {
          rankdir=LR;
          node [shape=box];
          "evil\"]; \\x\\u{a}" -> "shop/api" [label="tcp/8080 (412, 1,204 denied)"];
          "shop/web" -> "outside 203.0.113.7" [label="tcp/443 (412)"];
          "shop/web" -> "shop/api" [label="tcp/8080 (414)"];
        }
        "#);
    }

    #[test]
    fn json_is_the_list_of_edges_as_promised() {
        let json = serde_json::to_value(edge()).expect("JSON");
        let fields: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
        for field in [
            "source",
            "target",
            "protocol",
            "port",
            "via",
            "flows",
            "attempts",
            "bytes_sent",
            "bytes_received",
            "failed",
            "verdicts",
            "first_seen",
            "last_seen",
        ] {
            assert!(fields.contains(&field), "{field}");
        }
        assert_eq!(json["verdicts"], serde_json::json!({"allow": 415, "audit": 0, "deny": 0}));
        assert_eq!(json["source"]["name"], "shop/web");
    }
}
