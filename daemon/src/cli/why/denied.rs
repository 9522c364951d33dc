//! `cofferdam why denied`: what was denied, or would have been.

use std::{cmp::Reverse, collections::BTreeMap};

use clap::Args;
use jiff::Timestamp;

use crate::{
    cli::{
        Client, Failure,
        output::{ago, is_terminal, number, print, print_json, table},
        question,
        within::Within,
    },
    interaction::Edge,
};

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    within: Within,
    /// As JSON: a list of edges, replicas apart (docs/api.md, /v1/interactions).
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let mut edges: Vec<Edge> =
        client.get_slowly(&question("/v1/interactions", &arguments.within.query())?)?;
    edges.retain(|edge| edge.verdicts.deny > 0 || edge.verdicts.audit > 0);
    edges.sort_by_key(|edge| Reverse(edge.last_denied));
    if arguments.json { print_json(&edges) } else { print(&text(&edges, Timestamp::now(), is_terminal())) }
}

/// Sums of a pair and port.
#[derive(Default)]
struct Sums {
    denied: u64,
    audited: u64,
    last: Timestamp,
}

/// A table; replicas of a service are one row. When something was denied last is not in the history: there it is when the two were
/// seen last.
pub(in crate::cli) fn text(edges: &[Edge], now: Timestamp, for_people: bool) -> String {
    let mut sums = BTreeMap::<[String; 3], Sums>::new();
    for edge in edges {
        let lane = [edge.source.to_string(), edge.target.to_string(), edge.protocol.service(edge.port)];
        let sums = sums.entry(lane).or_default();
        sums.denied += edge.verdicts.deny;
        sums.audited += edge.verdicts.audit;
        sums.last = sums.last.max(edge.last_denied.unwrap_or(edge.last_seen));
    }
    if sums.is_empty() {
        return "Nothing was denied, and nothing would have been.\n".to_owned();
    }
    let mut rows: Vec<_> = sums.into_iter().collect();
    rows.sort_by_key(|(_, sums)| Reverse(sums.last));
    let rows = rows.into_iter().map(|([source, target, port], sums)| {
        let last = ago(sums.last, now, for_people);
        [source, target, port, number(sums.denied), number(sums.audited), last]
    });
    table(["SOURCE", "TARGET", "PORT", "DENIED", "AUDIT", "LAST"], &[3, 4], rows)
}
