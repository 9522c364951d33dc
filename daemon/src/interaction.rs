//! The graph: who talked to whom, folded by workload. Pure: rows of the ledger in, edges out.

pub mod denials;
pub mod proxy;
pub mod recent;

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_common::network::{LedgerKey, LedgerRow, Party, VERDICT_AUDIT, VERDICT_DENY};
use serde::{Deserialize, Serialize};

use self::denials::Denials;
use crate::{
    event::{Protocol, Workload, WorkloadKind},
    sensor::clock::Clock,
};

/// One edge of the map, as `cofferdam map --json` prints it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Edge {
    /// The client.
    pub source: Arc<Workload>,
    /// The server.
    pub target: Arc<Workload>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The server's port.
    pub port: u16,
    /// What it passed through on the way, where known: `nat:PORT`, the port that was dialled and translated, or
    /// `docker-proxy`.
    pub via: Option<String>,
    /// Flows that opened.
    pub flows: u64,
    /// Flows begun.
    pub attempts: u64,
    /// Payload bytes from source to target.
    pub bytes_sent: u64,
    /// Payload bytes from target to source.
    pub bytes_received: u64,
    /// Packets from source to target.
    pub packets_sent: u64,
    /// Packets from target to source.
    pub packets_received: u64,
    /// Flows that never opened, by why.
    pub failed: Failed,
    /// Attempts by what the kernel decided.
    pub verdicts: Verdicts,
    /// First packet.
    pub first_seen: jiff::Timestamp,
    /// Last packet.
    pub last_seen: jiff::Timestamp,
    /// When it was last denied, or would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_denied: Option<jiff::Timestamp>,
}

/// Flows that never opened, by why. What is missing to `attempts - flows` is just opening.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Failed {
    /// The target reset them, or a firewall refused in its name.
    pub refused: u64,
    /// A router, a firewall or the host said that the target cannot be reached.
    pub unreachable: u64,
    /// The source gave up after the target had answered, as a half-open port scan does.
    pub aborted: u64,
    /// No answer came.
    pub unanswered: u64,
}

impl Failed {
    /// Each count with its name.
    #[must_use]
    pub fn by_name(&self) -> [(&'static str, u64); 4] {
        [
            ("refused", self.refused),
            ("unreachable", self.unreachable),
            ("aborted", self.aborted),
            ("unanswered", self.unanswered),
        ]
    }

    /// Each count and another's, as `of` makes one of them.
    #[must_use]
    pub fn each(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            refused: of(self.refused, other.refused),
            unreachable: of(self.unreachable, other.unreachable),
            aborted: of(self.aborted, other.aborted),
            unanswered: of(self.unanswered, other.unanswered),
        }
    }
}

/// Attempts by what the kernel decided.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verdicts {
    /// Passed.
    pub allow: u64,
    /// Passed, but a rule in audit mode would have denied it.
    pub audit: u64,
    /// Denied: packets and calls. They are no `attempts`.
    pub deny: u64,
}

/// What makes two edges one: source, target, protocol, port, and the way.
pub type EdgeKey = (Arc<Workload>, Arc<Workload>, Protocol, u16, Option<String>);

/// Folds rows of the ledger into edges between the workloads that `resolve` names. What a workload does with
/// itself is no interaction and left out.
pub fn edges(
    rows: &[(LedgerKey, LedgerRow)],
    clock: &Clock,
    resolve: impl Fn(&Party, &Party) -> (Arc<Workload>, Arc<Workload>),
) -> Vec<Edge> {
    let mut graph = Graph::default();
    for (key, row) in rows {
        let (source, target) = resolve(&key.source, &key.target);
        if source != target {
            graph.add(edge(source, target, key, row, clock));
        }
    }
    graph.into_edges()
}

fn edge(
    source: Arc<Workload>,
    target: Arc<Workload>,
    key: &LedgerKey,
    row: &LedgerRow,
    clock: &Clock,
) -> Edge {
    let mut verdicts = Verdicts::default();
    *match key.verdict {
        VERDICT_AUDIT => &mut verdicts.audit,
        VERDICT_DENY => &mut verdicts.deny,
        _ => &mut verdicts.allow,
    } = row.attempts;
    // What was denied began no flow.
    let attempts = if key.verdict == VERDICT_DENY { 0 } else { row.attempts };
    // The coarse clock of the last packet may be behind the exact one of the first.
    let last_seen = clock.from_monotonic(row.last_seen.max(row.first_seen));
    Edge {
        source,
        target,
        protocol: Protocol::from_number(key.protocol),
        port: key.port,
        via: (key.dialled_port != 0).then(|| format!("nat:{}", key.dialled_port)),
        flows: row.flows,
        attempts,
        bytes_sent: row.volume.bytes_sent,
        bytes_received: row.volume.bytes_received,
        packets_sent: row.volume.packets_sent,
        packets_received: row.volume.packets_received,
        failed: Failed {
            refused: row.failed.refused,
            unreachable: row.failed.unreachable,
            aborted: row.failed.aborted,
            unanswered: row.failed.unanswered,
        },
        verdicts,
        first_seen: clock.from_monotonic(row.first_seen),
        last_seen,
        last_denied: matches!(key.verdict, VERDICT_AUDIT | VERDICT_DENY).then_some(last_seen),
    }
}

/// Edges that are added up where they join the same workloads.
#[derive(Debug, Default)]
pub struct Graph {
    edges: BTreeMap<EdgeKey, Edge>,
}

impl Graph {
    /// Adds an edge.
    pub fn add(&mut self, edge: Edge) {
        let key = edge.key();
        match self.edges.get_mut(&key) {
            Some(known) => known.merge(&edge),
            None => {
                self.edges.insert(key, edge);
            }
        }
    }

    /// How many edges there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.edges.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// The edges, in the order of their workloads.
    #[must_use]
    pub fn into_edges(self) -> Vec<Edge> {
        self.edges.into_values().collect()
    }
}

impl Edge {
    /// What it has in common with the edges that it is one with.
    #[must_use]
    pub fn key(&self) -> EdgeKey {
        (self.source.clone(), self.target.clone(), self.protocol, self.port, self.via.clone())
    }

    /// Takes off what another edge counts too.
    fn take_off(&mut self, half: &Self) {
        let take = |from: &mut u64, what: u64| *from = from.saturating_sub(what);
        take(&mut self.flows, half.flows);
        take(&mut self.attempts, half.attempts);
        take(&mut self.bytes_sent, half.bytes_sent);
        take(&mut self.bytes_received, half.bytes_received);
        take(&mut self.packets_sent, half.packets_sent);
        take(&mut self.packets_received, half.packets_received);
        take(&mut self.verdicts.allow, half.verdicts.allow);
        take(&mut self.verdicts.audit, half.verdicts.audit);
        // What was denied on its way to a proxy never came out of it: each half has its own.
        self.failed = self.failed.each(half.failed, u64::saturating_sub);
    }

    /// Adds what another counts that is one with it.
    pub fn merge(&mut self, other: &Self) {
        self.flows += other.flows;
        self.attempts += other.attempts;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.packets_sent += other.packets_sent;
        self.packets_received += other.packets_received;
        self.verdicts.allow += other.verdicts.allow;
        self.verdicts.audit += other.verdicts.audit;
        self.verdicts.deny += other.verdicts.deny;
        self.failed = self.failed.each(other.failed, u64::saturating_add);
        self.first_seen = self.first_seen.min(other.first_seen);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.last_denied = self.last_denied.max(other.last_denied);
    }
}

/// Edges of workloads that are gone: what the kernel's ledger no longer holds. Bounded.
#[derive(Debug, Default)]
pub struct Archive {
    graph: Graph,
    denials: Denials,
    /// Edges that were folded into `other` because the archive was full.
    folded: u64,
}

impl Archive {
    /// Most edges that are kept; of more, only the sum by source is.
    pub const LIMIT: usize = 10_000;

    /// Takes edges over.
    pub fn add(&mut self, edges: Vec<Edge>) {
        for mut edge in edges {
            if self.graph.edges.len() >= Self::LIMIT {
                self.folded += 1;
                let other = Arc::new(Workload::named(WorkloadKind::Other, "other"));
                edge = Edge {
                    source: other.clone(),
                    target: other,
                    protocol: Protocol::Other,
                    port: 0,
                    via: None,
                    ..edge
                };
            }
            self.graph.add(edge);
        }
    }

    /// Takes over what rules denied.
    pub fn add_denials(&mut self, denials: Denials) {
        self.denials.merge(denials);
    }

    /// What rules denied, of the archive and `live` together.
    #[must_use]
    pub fn denials_with(&self, live: Denials) -> Denials {
        let mut all = self.denials.clone();
        all.merge(live);
        all
    }

    /// Edges that were folded because there was no room.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// The edges of the archive and `live` ones together.
    #[must_use]
    pub fn with(&self, live: Vec<Edge>) -> Vec<Edge> {
        let mut graph = Graph { edges: self.graph.edges.clone() };
        for edge in live {
            graph.add(edge);
        }
        graph.into_edges()
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_common::{
        ids::{Address, CgroupId},
        network::{PROTOCOL_TCP, VERDICT_ALLOW, Volume},
    };
    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn row(source: u64, target: u64, attempts: u64, bytes: u64) -> (LedgerKey, LedgerRow) {
        let party = |cgroup| Party { cgroup: CgroupId(cgroup), address: Address::NONE };
        let key = LedgerKey {
            source: party(source),
            target: party(target),
            port: 6379,
            protocol: PROTOCOL_TCP,
            verdict: VERDICT_ALLOW,
            dialled_port: 0,
            padding: 0,
            rule: 0,
            padding_after: 0,
        };
        let volume = Volume { bytes_sent: bytes, ..Volume::default() };
        (
            key,
            LedgerRow {
                attempts,
                flows: attempts,
                volume,
                first_seen: 1,
                last_seen: 2,
                ..LedgerRow::default()
            },
        )
    }

    /// Cgroups 10 to 19 are one container, 20 to 29 the next.
    fn name(party: &Party) -> Arc<Workload> {
        Arc::new(Workload::named(WorkloadKind::Container, format!("c{}", party.cgroup.0 / 10)))
    }

    fn fold(rows: &[(LedgerKey, LedgerRow)]) -> Vec<Edge> {
        edges(rows, &Clock::fixed(Timestamp::UNIX_EPOCH), |source, target| (name(source), name(target)))
    }

    #[test]
    fn rows_of_nested_cgroups_fold_into_one_edge_of_their_containers() {
        let edges = fold(&[row(10, 20, 1, 100), row(11, 21, 2, 50)]);
        assert_eq!(edges.len(), 1);
        assert_eq!((edges[0].attempts, edges[0].bytes_sent, edges[0].verdicts.allow), (3, 150, 3));
    }

    #[test]
    fn what_a_workload_does_with_itself_is_no_edge() {
        assert_eq!(fold(&[row(10, 11, 1, 1)]), []);
    }

    #[test]
    fn the_archive_and_live_rows_add_up() {
        let mut archive = Archive::default();
        archive.add(fold(&[row(10, 20, 3, 30)]));
        let edges = archive.with(fold(&[row(12, 20, 4, 40)]));
        assert_eq!((edges.len(), edges[0].attempts, edges[0].bytes_sent), (1, 7, 70));
    }

    #[test]
    fn a_full_archive_folds_and_counts() {
        let mut archive = Archive::default();
        for target in 1..=(Archive::LIMIT as u64 + 5) {
            archive.add(fold(&[row(0, target * 10, 1, 1)]));
        }
        let edges = archive.with(Vec::new());
        assert_eq!((edges.len(), archive.folded()), (Archive::LIMIT + 1, 5));
        assert_eq!(edges.iter().map(|edge| edge.attempts).sum::<u64>(), Archive::LIMIT as u64 + 5);
    }

    proptest! {
        #[test]
        fn folding_neither_makes_nor_loses_counts(
            rows in proptest::collection::vec((0u64..40, 0u64..40, 0u64..1000, 0u64..100_000), 0..50),
        ) {
            let rows: Vec<_> = rows.into_iter().map(|(s, t, n, b)| row(s, t, n, b)).collect();
            let between = rows.iter().filter(|(key, _)| name(&key.source) != name(&key.target));
            let attempts: u64 = between.map(|(_, row)| row.attempts).sum();
            prop_assert_eq!(fold(&rows).iter().map(|edge| edge.attempts).sum::<u64>(), attempts);
        }
    }
}
