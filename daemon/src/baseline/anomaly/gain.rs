//! What a turn brought, folded: per workload, peer and service, in an order that the order of edges does not change.

use std::{collections::BTreeMap, sync::Arc};

use super::names;
use crate::{
    event::{Protocol, Workload, WorkloadKind, number},
    interaction::Edge,
};

/// A transport protocol and a port of it.
pub(super) type Service = (Protocol, u16);

/// What a workload and a peer exchanged within a turn, at one service.
#[derive(Debug)]
pub(super) struct Gain {
    pub(super) source: Arc<Workload>,
    pub(super) target: Arc<Workload>,
    /// What the peer is learned as.
    pub(super) peer: String,
    pub(super) service: Service,
    /// Flows begun, and what was denied.
    pub(super) tries: u64,
    pub(super) denied: u64,
    pub(super) flows: u64,
    pub(super) failed: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) packets_received: u64,
    pub(super) packets: u64,
}

impl Gain {
    /// Whether the peer is no workload of this host.
    pub(super) fn is_outside(&self) -> bool {
        self.target.kind == WorkloadKind::Outside
    }

    /// Whether anything came of it: it opened, or something came back.
    pub(super) fn succeeded(&self) -> bool {
        self.flows > 0 || self.received > 0 || (self.packets_received > 0 && self.failed == 0)
    }

    /// Whether all that was tried failed.
    pub(super) fn is_failing(&self) -> bool {
        !self.succeeded() && self.failed + self.denied > 0
    }

    /// What was tried: the host and the port of it. An address counts by itself where it has no name.
    pub(super) fn pair(&self) -> u64 {
        let host = if self.target.dns_name.is_some() { &self.peer } else { &self.target.name };
        let (protocol, port) = self.service;
        number([host.as_str(), &protocol.service(port)])
    }

    fn add(&mut self, edge: &Edge) {
        let failed: u64 =
            edge.failed.by_name().iter().map(|(_, count)| count).fold(0, |a, b| a.saturating_add(*b));
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.tries, edge.attempts.saturating_add(edge.verdicts.deny));
        add(&mut self.denied, edge.verdicts.deny);
        add(&mut self.flows, edge.flows);
        add(&mut self.failed, failed);
        add(&mut self.sent, edge.bytes_sent);
        add(&mut self.received, edge.bytes_received);
        add(&mut self.packets_received, edge.packets_received);
        add(&mut self.packets, edge.packets_sent.saturating_add(edge.packets_received));
        // Which of several replicas stands for them must not depend on the order.
        if edge.source < self.source {
            self.source = Arc::clone(&edge.source);
        }
        if edge.target < self.target {
            self.target = Arc::clone(&edge.target);
        }
    }
}

/// What each workload gained, by what it is learned as.
pub(super) fn fold(edges: &[Edge]) -> BTreeMap<String, Vec<Gain>> {
    type Key = (String, String, String, Service, Option<String>);
    let mut gains = BTreeMap::<Key, Gain>::new();
    for edge in edges.iter().filter(|edge| names::is_subject(&edge.source) && names::is_peer(&edge.target)) {
        let (source, peer) = (names::subject(&edge.source), names::peer(&edge.target));
        if source == peer {
            // Replicas of one service among themselves.
            continue;
        }
        // Hosts of one network, or names of one domain, are told apart only where a scan is looked for.
        let host = if edge.target.dns_name.is_some() { String::new() } else { edge.target.name.clone() };
        let host = if edge.target.kind == WorkloadKind::Outside { host } else { String::new() };
        let service = (edge.protocol, edge.port);
        let image = names::image(&edge.source).map(str::to_owned);
        let gain = gains.entry((source, peer.clone(), host, service, image)).or_insert_with(|| Gain {
            source: Arc::clone(&edge.source),
            target: Arc::clone(&edge.target),
            peer,
            service,
            tries: 0,
            denied: 0,
            flows: 0,
            failed: 0,
            sent: 0,
            received: 0,
            packets_received: 0,
            packets: 0,
        });
        gain.add(edge);
    }
    let mut by_subject = BTreeMap::<String, Vec<Gain>>::new();
    for ((source, ..), gain) in gains {
        // Rows that only opened or closed say nothing new.
        if gain.tries > 0 || gain.packets > 0 || gain.flows > 0 {
            by_subject.entry(source).or_default().push(gain);
        }
    }
    by_subject
}
