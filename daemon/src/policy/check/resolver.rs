//! Whether those who may reach peers by a DNS name may ask a resolver for it, by what is written alone. When in doubt, yes.

use std::collections::HashSet;

use cofferdam_common::{dns::DNS_PORT, network::PROTOCOL_UDP};

use super::cover::is_narrow;
use crate::policy::model::{Direction, Entry, Peer, Policy, Protocol, Rule, Services, Verdict};

/// Who may send questions to somebody.
#[derive(Debug)]
pub(super) struct Askers<'a> {
    /// Selected by more than a name.
    any: bool,
    names: HashSet<&'a Peer>,
}

impl<'a> Askers<'a> {
    pub(super) fn new(policies: &[&'a Policy]) -> Self {
        let rules = policies.iter().flat_map(|policy| &policy.rules);
        let ask = rules.filter(|rule| is_egress(rule) && rule.entries.iter().any(lets_ask));
        let (names, others): (Vec<_>, Vec<_>) =
            ask.flat_map(|rule| &rule.subjects).partition(|subject| is_narrow(subject));
        Self { any: !others.is_empty(), names: names.into_iter().collect() }
    }

    /// The first entry of a rule that gives a name for which nobody whom the rule selects may ask.
    pub(super) fn unasked<'b>(&self, rule: &'b Rule) -> Option<&'b Entry> {
        let asks =
            |subject| if is_narrow(subject) { self.names.contains(subject) } else { !self.names.is_empty() };
        let named = rule.entries.iter().find(|entry| entry.peers.iter().any(is_name));
        named.filter(|_| is_egress(rule) && !self.any && !rule.subjects.iter().any(asks))
    }
}

fn is_egress(rule: &Rule) -> bool {
    rule.direction == Direction::Egress
}

fn is_name(peer: &Peer) -> bool {
    matches!(peer, Peer::Name(_))
}

fn lets_ask(entry: &Entry) -> bool {
    let is_asked = |services: &Services| {
        matches!(services.protocol, Protocol::Any | Protocol::Number(PROTOCOL_UDP))
            && (services.ports.0..=services.ports.1).contains(&DNS_PORT)
    };
    entry.verdict != Verdict::Deny && entry.services.iter().any(is_asked) && !entry.peers.iter().all(is_name)
}
