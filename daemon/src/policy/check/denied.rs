//! Entries that allow what another entry denies. Denying wins, so that nothing of them passes.

use std::{
    collections::{HashMap, HashSet},
    rc::Rc,
};

use super::cover::{Work, covers_peer, covers_peers, covers_services, is_narrow};
use crate::policy::model::{Direction, Entry, Mode, Peer, Policy, Rule, Verdict};

/// All entries that deny, by whom they are about.
pub(super) struct Denied<'a> {
    by_ends: HashMap<(Direction, &'a Peer, &'a Peer), Vec<Denial<'a>>>,
    /// Ends of these that are more than a name, and so can cover others.
    wide: Vec<&'a Peer>,
    /// Those of them that are found by how a name begins, however many there are.
    by_prefix: HashMap<&'a str, &'a Peer>,
    /// And those that are not.
    others: Vec<&'a Peer>,
    /// Which of these cover a peer, and itself.
    covering: HashMap<&'a Peer, Rc<[&'a Peer]>>,
}

/// An entry that denies.
#[derive(Clone, Copy)]
pub(super) struct Denial<'a> {
    pub(super) policy: &'a Policy,
    /// Of the rule within the policy.
    pub(super) number: usize,
    rule: &'a Rule,
    pub(super) entry: &'a Entry,
}

impl<'a> Denied<'a> {
    pub(super) fn new(policies: &[&'a Policy], work: &mut Work) -> Self {
        let mut by_ends: HashMap<_, Vec<_>> = HashMap::new();
        let mut wide = HashSet::new();
        for &policy in policies {
            for (number, rule) in policy.rules.iter().enumerate() {
                let denying = rule.entries.iter().filter(|entry| entry.verdict == Verdict::Deny);
                for entry in denying {
                    if !work.take(rule.subjects.len().saturating_mul(entry.peers.len())) {
                        break;
                    }
                    let denial = Denial { policy, number, rule, entry };
                    for subject in &rule.subjects {
                        for peer in &entry.peers {
                            by_ends.entry((rule.direction, subject, peer)).or_default().push(denial);
                        }
                    }
                    let ends = rule.subjects.iter().chain(&entry.peers);
                    wide.extend(ends.filter(|end| !is_narrow(end)));
                }
            }
        }
        let by_prefix = wide.iter().filter_map(|end| Some((prefix(end)?, *end))).collect();
        let others = wide.iter().copied().filter(|end| prefix(end).is_none()).collect();
        Self { by_ends, wide: wide.into_iter().collect(), by_prefix, others, covering: HashMap::new() }
    }

    /// Entries of a rule of which nothing passes, and what denies each.
    pub(super) fn of(
        &mut self,
        policy: &Policy,
        rule: &'a Rule,
        work: &mut Work,
    ) -> Vec<(&'a Entry, Denial<'a>)> {
        let mut found = Vec::new();
        if self.by_ends.is_empty() {
            return found;
        }
        for entry in rule.entries.iter().filter(|entry| entry.verdict != Verdict::Deny) {
            let (Some(subject), Some(peer)) = (rule.subjects.first(), entry.peers.first()) else { continue };
            let subjects = self.covering(subject, work);
            let peers = self.covering(peer, work);
            if !work.take(subjects.len().saturating_mul(peers.len())) {
                break;
            }
            let ends = subjects.iter().flat_map(|subject| peers.iter().map(move |peer| (*subject, *peer)));
            let mut denials = ends
                .filter_map(|(subject, peer)| self.by_ends.get(&(rule.direction, subject, peer)))
                .flatten();
            let denial = denials.find(|denial| {
                // What is only audited denies nothing to others.
                (denial.policy.mode == Mode::Enforce || denial.policy.name == policy.name)
                    && covers_services(&denial.entry.services, &entry.services, work)
                    && covers_peers(&denial.entry.peers, &entry.peers, work)
                    && covers_peers(&denial.rule.subjects, &rule.subjects, work)
            });
            found.extend(denial.map(|denial| (entry, *denial)));
        }
        found
    }

    /// Those that cover a peer, itself among them.
    fn covering(&mut self, peer: &'a Peer, work: &mut Work) -> Rc<[&'a Peer]> {
        if let Some(known) = self.covering.get(peer) {
            return known.clone();
        }
        let name = match peer {
            Peer::Workload(selector) => selector.exact_name().or_else(|| selector.name_prefix()),
            Peer::Any | Peer::Network(_) | Peer::Name(_) => None,
        };
        let beginnings = name.into_iter().flat_map(|name| (0..=name.len()).filter_map(|end| name.get(..end)));
        let found = beginnings.filter_map(|beginning| self.by_prefix.get(beginning)).copied();
        // Only what is no name needs to be compared with those as well.
        let others = if name.is_some() { &self.others } else { &self.wide };
        let others = if work.take(others.len()) { &others[..] } else { &[] };
        let found = found.chain(others.iter().copied().filter(|wide| covers_peer(wide, peer)));
        let all: Rc<[&Peer]> = std::iter::once(peer).chain(found.filter(|wide| *wide != peer)).collect();
        self.covering.insert(peer, all.clone());
        all
    }
}

/// How the names begin that a peer means.
fn prefix(peer: &Peer) -> Option<&str> {
    match peer {
        Peer::Workload(selector) => selector.name_prefix(),
        Peer::Any | Peer::Network(_) | Peer::Name(_) => None,
    }
}
