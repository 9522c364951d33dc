//! What one workload may, of what was seen of it: entries of its two rules.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    fold::{self, MOST_NAMES},
    seen::Sum,
    services::services,
    side::Side,
};
use crate::{
    baseline::words::counted,
    event::Protocol,
    policy::{
        model::Direction,
        names::NamePattern,
        write::{Entry, Peer},
    },
};

/// More networks than that to which somebody sends are everybody outside.
const MOST_TARGETS: usize = 256;
/// Who is asked from more networks than that serves everybody outside: the next client has an address that was never seen.
const MOST_CLIENTS: usize = 16;

/// Protocol and the server's port.
type Service = (Protocol, u16);

/// What was seen of one workload in one direction.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// With others of this host.
    here: BTreeMap<Peer, ByService>,
    /// With peers outside, by address and name.
    outside: BTreeMap<Service, BTreeMap<(IpAddr, Option<NamePattern>), Sum>>,
}

/// An entry in the making.
#[derive(Debug, Default)]
struct ByService {
    services: BTreeSet<Service>,
    sum: Sum,
    /// Addresses or names that a network or a pattern is made of.
    parts: BTreeSet<String>,
}

impl Seen {
    /// Adds an interaction with a peer.
    pub(super) fn add(&mut self, peer: &Side, service: Service, sum: &Sum) {
        match peer {
            Side::Here(here) => self.here.entry(here.peer.clone()).or_default().add(service, sum),
            Side::Outside(address, name) => {
                let known = self.outside.entry(service).or_default();
                known.entry((*address, name.clone())).or_default().add(sum);
            }
        }
    }

    /// The entries that allow it, and nothing but what is said of folding.
    pub(super) fn entries(self, direction: Direction) -> Vec<Entry> {
        let Self { here, outside } = self;
        let mut beyond = BTreeMap::<Peer, ByService>::new();
        for (service, peers) in outside {
            for (peer, part, sum) in folded(&peers, direction) {
                let entry = beyond.entry(peer).or_default();
                entry.add(service, &sum);
                entry.parts.insert(part);
            }
        }
        here.into_iter().chain(beyond).flat_map(|(peer, entry)| entry.written(peer)).collect()
    }
}

impl ByService {
    fn add(&mut self, service: Service, sum: &Sum) {
        self.services.insert(service);
        self.sum.add(sum);
    }

    fn written(self, peer: Peer) -> Vec<Entry> {
        let (services, ranges) = services(&self.services);
        let mut comments = vec![self.sum.comment()];
        if self.parts.len() > 1 {
            comments.push(format!("made of {}", counted(self.parts.len() as u64, "peer")));
        }
        comments.extend(ranges);
        Entry { comments, ..Entry::new(vec![peer], services) }.split()
    }
}

/// Peers outside as they are written, each with one of those that it is made of and what was seen of that. Only who sends has
/// looked anybody up.
fn folded(
    peers: &BTreeMap<(IpAddr, Option<NamePattern>), Sum>,
    direction: Direction,
) -> Vec<(Peer, String, Sum)> {
    let named = peers.keys().filter_map(|(_, name)| name.clone());
    let patterns = match direction {
        Direction::Egress => fold::names(&named.collect()),
        Direction::Ingress => BTreeMap::new(),
    };
    let patterns = if patterns.len() > MOST_NAMES { BTreeMap::new() } else { patterns };
    let of_name: BTreeMap<_, _> =
        patterns.iter().flat_map(|(pattern, names)| names.iter().map(move |name| (name, pattern))).collect();
    let pattern = |name: &Option<NamePattern>| name.as_ref().and_then(|name| of_name.get(name).copied());

    let nameless = peers.keys().filter(|(_, name)| pattern(name).is_none()).map(|(address, _)| *address);
    let most = match direction {
        Direction::Egress => MOST_TARGETS,
        Direction::Ingress => MOST_CLIENTS,
    };
    let networks = fold::networks(&nameless.collect(), most);
    let of_address: BTreeMap<_, _> = networks
        .iter()
        .flat_map(|(network, addresses)| addresses.iter().map(move |address| (address, network)))
        .collect();
    let told = |((address, name), sum): (&(IpAddr, Option<NamePattern>), &Sum)| {
        let (peer, part) = match (pattern(name), name) {
            (Some(pattern), Some(name)) => (Peer::dns(pattern.as_str()), name.to_string()),
            _ => (Peer::network(&of_address.get(address)?.to_string()), address.to_string()),
        };
        Some((peer, part, sum.clone()))
    };
    peers.iter().filter_map(told).collect()
}
