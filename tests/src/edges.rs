//! Compares the map with what a test did.

use std::{collections::BTreeSet, fmt, thread, time::Duration};

use cofferdam::{
    event::{Workload, WorkloadKind},
    interaction::Edge,
};

use crate::{container::Counts, daemon::Daemon};

/// How long the map may take to show what happened.
const PATIENCE: Duration = Duration::from_secs(5);

/// An edge that must be in the map. What is not said of it may be anything.
#[derive(Clone, Debug)]
pub struct Expected {
    name: String,
    flows: Option<u64>,
    attempts: Option<u64>,
    sent: Option<u64>,
    received: Option<u64>,
}

/// An edge by names (`web`, `host`, `outside 198.19.0.1`) and port (`tcp/80`, `tcp/80 via docker-proxy`).
#[must_use]
pub fn edge(source: &str, target: &str, port: &str) -> Expected {
    Expected::named(format!("{source} -> {target} {port}"))
}

impl Expected {
    /// An edge by all that [`edge`] takes, as it is printed: `web -> db tcp/5432`.
    #[must_use]
    pub fn named(name: String) -> Self {
        Self { name, flows: None, attempts: None, sent: None, received: None }
    }

    /// All that the client counted. Of UDP nothing may have failed: such an exchange did begin.
    #[must_use]
    pub fn counted(self, by_client: Counts) -> Self {
        let attempts = Some(by_client.connections + by_client.failed);
        let counted = self.flows(by_client.connections).bytes(by_client.bytes_sent, by_client.bytes_received);
        Self { attempts, ..counted }
    }

    /// Flows that opened, and that were begun.
    #[must_use]
    pub fn flows(mut self, flows: u64) -> Self {
        (self.flows, self.attempts) = (Some(flows), Some(flows));
        self
    }

    /// Flows that were begun and did not open.
    #[must_use]
    pub fn refused(mut self, attempts: u64) -> Self {
        (self.flows, self.attempts) = (Some(0), Some(attempts));
        self
    }

    /// Payload bytes from source to target, and back.
    #[must_use]
    pub fn bytes(mut self, sent: u64, received: u64) -> Self {
        (self.sent, self.received) = (Some(sent), Some(received));
        self
    }

    /// What is wrong with an edge of the same name; nothing when all is as expected.
    #[must_use]
    pub fn wrong(&self, edge: &Edge) -> Vec<String> {
        let compare = |what: &str, expected: Option<u64>, is: u64| {
            expected
                .filter(|expected| *expected != is)
                .map(|expected| format!("{what}: expected {expected}, is {is}"))
        };
        let counts = [
            compare("flows", self.flows, edge.flows),
            compare("attempts", self.attempts, edge.attempts),
            compare("bytes sent", self.sent, edge.bytes_sent),
            compare("bytes received", self.received, edge.bytes_received),
        ];
        counts.into_iter().flatten().collect()
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// How an edge reads in a comparison.
#[must_use]
pub fn name(edge: &Edge) -> String {
    let via = edge.via.as_ref().map(|via| format!(" via {via}")).unwrap_or_default();
    format!("{} -> {} {}{via}", edge.source, edge.target, edge.protocol.service(edge.port))
}

/// The edges that the containers of these names have to do with. Others are the machine's own.
#[must_use]
pub fn of<'a>(names: &[&str], edges: &'a [Edge]) -> Vec<&'a Edge> {
    of_workloads(|workload| is_container(names, workload), edges)
}

fn of_workloads(ours: impl Fn(&Workload) -> bool, edges: &[Edge]) -> Vec<&Edge> {
    edges.iter().filter(|edge| ours(&edge.source) || ours(&edge.target)).collect()
}

/// Whether it is one of the containers of these names.
fn is_container(names: &[&str], workload: &Workload) -> bool {
    let known_as = workload.container_name.as_ref().unwrap_or(&workload.name);
    workload.kind == WorkloadKind::Container && names.contains(&known_as.as_str())
}

/// What is missing, wrong or too much, one line each; empty when the edges are exactly as expected.
#[must_use]
pub fn differences(edges: &[&Edge], expected: &[Expected]) -> Vec<String> {
    let mut lines = Vec::new();
    for one in expected {
        match edges.iter().filter(|edge| name(edge) == one.to_string()).collect::<Vec<_>>()[..] {
            [] => lines.push(format!("missing: {one}")),
            [edge] => lines.extend(one.wrong(edge).into_iter().map(|wrong| format!("wrong: {one}: {wrong}"))),
            [..] => lines.push(format!("more than once: {one}")),
        }
    }
    let known: BTreeSet<String> = expected.iter().map(ToString::to_string).collect();
    for edge in edges.iter().filter(|edge| !known.contains(&name(edge))) {
        lines.push(format!("extra: {} ({} flows of {} attempts)", name(edge), edge.flows, edge.attempts));
    }
    lines
}

/// Asks for the map until the edges of these containers are exactly as expected, for a few seconds.
///
/// # Errors
/// When they do not become so; the error lists what is missing, wrong or too much.
pub fn check(daemon: &Daemon, names: &[&str], expected: &[Expected]) -> anyhow::Result<Vec<Edge>> {
    check_of(daemon, |workload| is_container(names, workload), expected)
}

/// [`check`] for the edges that any workload that is `ours` has to do with. Others are the machine's own.
///
/// # Errors
/// As [`check`].
pub fn check_of(
    daemon: &Daemon,
    ours: impl Fn(&Workload) -> bool,
    expected: &[Expected],
) -> anyhow::Result<Vec<Edge>> {
    let begun = std::time::Instant::now();
    loop {
        let map = daemon.map()?;
        let differences = differences(&of_workloads(&ours, &map), expected);
        if differences.is_empty() {
            return Ok(map);
        }
        if begun.elapsed() > PATIENCE {
            anyhow::bail!("the map is not what was done:\n{}", differences.join("\n"));
        }
        thread::sleep(Duration::from_millis(200));
    }
}
