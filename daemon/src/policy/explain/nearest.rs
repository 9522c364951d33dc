//! What would nearly allow an interaction, and what of it is not so.

use super::{Cited, End, Miss, Nearest, Part, Scene};
use crate::{
    config::Mismatch,
    event::{Protocol as Known, WorkloadKind},
    policy::model::{Mode, Network, Peer, Protocol, Services, Verdict},
};

impl Scene<'_> {
    /// Of the rules that are about the subject, and have the mode of the one that decides: the entry of which least is
    /// not so.
    pub(super) fn nearly_allowed(&self, about: &[u32], decides: Option<u32>) -> Option<Nearest> {
        let rules = self.plan.rules();
        let mode = decides.map(|index| rules.rule(index).mode);
        let of_mode = about.iter().filter(|index| Some(rules.rule(**index).mode) == mode);
        let missing = of_mode.flat_map(|index| rules.rule(*index).entries()).filter_map(|index| {
            let entry = rules.written_entry(index);
            let mut misses = self.peer.misses(&entry.peers, Part::Peer);
            misses.extend(self.service_miss(&entry.services));
            (entry.verdict != Verdict::Deny).then_some((index, misses))
        });
        missing.min_by_key(|(_, misses)| distance(misses)).map(|(index, misses)| self.near(index, misses))
    }

    /// Of the enforced rules, none of which is about the subject: the one that would allow it, and is so most nearly.
    pub(super) fn nearly_about(&self) -> Option<Nearest> {
        let rules = self.plan.rules();
        let known = [self.peer.signature(self.plan).atoms].into_iter().chain(self.peer.by_name(self.plan));
        let known: Vec<_> = known.collect();
        let allows = |index: &u32| {
            let entry = rules.entry(*index);
            entry.verdict != Verdict::Deny
                && known.iter().any(|atoms| entry.peers.means(atoms))
                && self.is_about_packet(&rules.written_entry(*index).services)
        };
        let enforced =
            rules.all().filter(|rule| rule.direction == self.direction && rule.mode == Mode::Enforce);
        let allowing = enforced.filter_map(|rule| rule.entries().find(allows));
        let missing = allowing.map(|index| {
            let (_, _, rule) = rules.written(rules.entry(index).rule);
            (index, self.subject.misses(&rule.subjects, Part::Subject))
        });
        missing.min_by_key(|(_, misses)| distance(misses)).map(|(index, misses)| self.near(index, misses))
    }

    fn near(&self, entry: u32, misses: Vec<Miss>) -> Nearest {
        let cited: Cited = self.cited(entry);
        Nearest { rule: self.plan.info(self.plan.rules().entry(entry).rule), entry: cited, misses }
    }

    fn service_miss(&self, services: &[Services]) -> Option<Miss> {
        let (protocol, port) = self.packet;
        (!self.is_about_packet(services)).then(|| {
            let wanted = services.iter().map(shown).collect::<Vec<_>>().join(", ");
            let found = Known::from_number(protocol).service(port);
            miss(Part::Service, "port", wanted, Some(found))
        })
    }
}

impl End<'_> {
    /// What keeps it from being one of these, as far as least is: nothing if it is one.
    fn misses(&self, who: &[Peer], part: Part) -> Vec<Miss> {
        let all = who.iter().map(|who| match (who, self) {
            (Peer::Any, _) => Vec::new(),
            (Peer::Workload(selector), Self::Workload(workload)) => {
                let mismatches = selector.mismatches(workload).into_iter();
                mismatches.map(|mismatch| Miss { part, mismatch }).collect()
            }
            (Peer::Workload(_), Self::Outside { address, names }) => {
                let found = address.map_or_else(|| names.join(", "), |address| address.to_string());
                vec![miss(part, KIND, HERE.to_owned(), Some(found))]
            }
            (Peer::Network(network), Self::Outside { address, .. }) => {
                let Network { cidr, except } = network;
                let address = address.map(|address| address.to_canonical());
                let within = address.is_some_and(|address| {
                    cidr.contains(&address) && !except.iter().any(|except| except.contains(&address))
                });
                let found = address.map(|address| address.to_string());
                if within { Vec::new() } else { vec![miss(part, "address", all_of(network), found)] }
            }
            (Peer::Name(pattern), Self::Outside { names, .. }) => {
                if names.iter().any(|name| pattern.means(name)) {
                    return Vec::new();
                }
                let found = (!names.is_empty()).then(|| names.join(", "));
                vec![miss(part, DNS_NAME, pattern.to_string(), found)]
            }
            (Peer::Network(network), Self::Workload(workload)) => {
                let kind = match workload.kind {
                    WorkloadKind::Outside | WorkloadKind::Other => "no address",
                    _ => HERE,
                };
                vec![miss(part, KIND, all_of(network), Some(kind.to_owned()))]
            }
            (Peer::Name(pattern), Self::Workload(_)) => {
                vec![miss(part, KIND, pattern.to_string(), Some(HERE.to_owned()))]
            }
        });
        all.min_by_key(|misses| distance(misses)).unwrap_or_default()
    }
}

/// What a peer outside is not.
const HERE: &str = "a workload of this host";
/// The DNS name of a peer outside.
pub(super) const DNS_NAME: &str = "dns";
/// Whether one is a workload or a peer outside: as far apart as can be.
const KIND: &str = "kind";
/// How far that is, in fields.
const FAR: usize = 100;

/// How far it is from being so. Of those that are as far, the one with the right peer is nearer.
fn distance(misses: &[Miss]) -> (usize, usize) {
    let other = misses.iter().filter(|miss| miss.part != Part::Service).count();
    let far = misses.iter().any(|miss| miss.mismatch.field == KIND);
    (misses.len() + if far { FAR } else { 0 }, other)
}

fn miss(part: Part, field: &str, wanted: String, found: Option<String>) -> Miss {
    Miss { part, mismatch: Mismatch { field: field.to_owned(), wanted, found } }
}

fn all_of(network: &Network) -> String {
    let Network { cidr, except } = network;
    let except: Vec<_> = except.iter().map(ToString::to_string).collect();
    if except.is_empty() { cidr.to_string() } else { format!("{cidr} but not {}", except.join(", ")) }
}

/// As people write it: `tcp/80`, `udp/1-1023`, `icmp`, `any`.
fn shown(services: &Services) -> String {
    let protocol = match services.protocol {
        Protocol::Any => "any".to_owned(),
        Protocol::Icmp => "icmp".to_owned(),
        Protocol::Number(number) => Known::from_number(number).to_string(),
    };
    match services.ports {
        (0, u16::MAX) => protocol,
        (first, last) if first == last => format!("{protocol}/{first}"),
        (first, last) => format!("{protocol}/{first}-{last}"),
    }
}
