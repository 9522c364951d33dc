//! Whether policies need more than the kernel has room for, unless the configuration says otherwise.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    config,
    event::{Workload, WorkloadKind},
    policy::{
        NoRoom, Plan, Room, RuleNumbers, Settings,
        document::Document,
        model::{Peer, Policy},
    },
};

/// Pairs of workloads that are looked at: a second or two. Of policies that have more it is not known.
const MOST: usize = 10_000_000;

/// What there is not room for by default, once all workloads run here that the policies name. Those that are here, or
/// that patterns select, may need more.
pub(super) fn lacking(documents: &[Document]) -> Option<String> {
    let policies = documents.iter().map(|document| &document.policy);
    let names: BTreeSet<_> = policies.clone().flat_map(named).collect();
    if pairs(policies.clone(), names.len()) > MOST {
        return None;
    }
    let policies = policies.cloned().map(Arc::new).collect();
    match needed(policies, &names) {
        Ok(()) => None,
        Err(error) => Some(format!(
            "all policies together need more than there is room for by default, if all workloads run here that they \
             name: {error}"
        )),
    }
}

fn needed(policies: Vec<Arc<Policy>>, names: &BTreeSet<&str>) -> Result<(), NoRoom> {
    let settings = Settings::from(&config::Policies::default());
    let mut plan = Plan::new(policies, settings, &mut RuleNumbers::default())?;
    for name in names {
        plan.admit(plan.signature(&Workload::named(WorkloadKind::Container, *name)))?;
    }
    plan.fit_into(Room::default())
}

/// Names that are written out, as subjects or peers.
fn named(policy: &Policy) -> impl Iterator<Item = &str> {
    let peers = policy
        .rules
        .iter()
        .flat_map(|rule| rule.subjects.iter().chain(rule.entries.iter().flat_map(|entry| &entry.peers)));
    peers.filter_map(|peer| match peer {
        Peer::Workload(selector) => selector.exact_name(),
        Peer::Any | Peer::Network(_) | Peer::Name(_) => None,
    })
}

/// Pairs of workloads that rules are about, counted again for each entry; a pattern may mean each of the names.
fn pairs<'a>(policies: impl Iterator<Item = &'a Policy>, names: usize) -> usize {
    let width = |peer: &Peer| match peer {
        Peer::Workload(selector) if selector.exact_name().is_some() => 1,
        Peer::Any | Peer::Workload(_) => names,
        Peer::Network(_) | Peer::Name(_) => 1,
    };
    let sum = |peers: &[Peer]| peers.iter().map(width).fold(0, usize::saturating_add);
    let rules = policies.flat_map(|policy| &policy.rules);
    rules
        .map(|rule| {
            let peers = rule.entries.iter().map(|entry| sum(&entry.peers)).fold(1, usize::saturating_add);
            sum(&rule.subjects).saturating_mul(peers)
        })
        .fold(0, usize::saturating_add)
}
