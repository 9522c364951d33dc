//! Guards a trial: counts what the policies on trial deny of interactions that were normal before. Pure.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::{baseline::lasting_name, event::Protocol, interaction::Edge};

/// What is watched while policies are on trial.
pub(super) struct Guard {
    /// How many denials are too many: one more than this.
    most: u64,
    /// Interactions that were allowed before, and how often they had been denied.
    normal: HashMap<Key, u64>,
}

/// An interaction by what stays when containers are replaced: source, target, protocol and port.
type Key = (String, String, Protocol, u16);

/// Denials of interactions that were normal before.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Harm {
    /// How many there were.
    pub denials: u64,
    /// The interaction that most were of, in words.
    pub worst: String,
}

impl Guard {
    /// Tolerates so many denials of what is allowed on the map as it is now.
    pub(super) fn new(most: u64, seen: &[Edge]) -> Self {
        // Of a connection that is older than the daemon there is no attempt, but what it carries.
        let passed = |edge: &&Edge| {
            edge.verdicts.allow + edge.verdicts.audit + edge.bytes_sent + edge.bytes_received > 0
        };
        let denied = denials(seen);
        let with_denials = |key: Key| {
            let count = denied.get(&key).copied().unwrap_or_default();
            (key, count)
        };
        Self { most, normal: seen.iter().filter(passed).map(key).map(with_denials).collect() }
    }

    /// What was denied since, if that is too much.
    pub(super) fn harm(&self, seen: &[Edge]) -> Option<Harm> {
        let since = |(key, count): (Key, u64)| {
            let before = self.normal.get(&key)?;
            Some((count.saturating_sub(*before), key)).filter(|(count, _)| *count > 0)
        };
        let denied: Vec<_> = denials(seen).into_iter().filter_map(since).collect();
        let denials = denied.iter().map(|(count, _)| count).sum();
        let (_, (source, target, protocol, port)) = denied.into_iter().max_by_key(|(count, _)| *count)?;
        let worst = format!("{source} -> {target} {}", protocol.service(port));
        (denials > self.most).then_some(Harm { denials, worst })
    }
}

fn key(edge: &Edge) -> Key {
    (lasting_name(&edge.source), lasting_name(&edge.target), edge.protocol, edge.port)
}

/// How often each interaction was denied.
fn denials(seen: &[Edge]) -> HashMap<Key, u64> {
    let mut denials = HashMap::new();
    for edge in seen.iter().filter(|edge| edge.verdicts.deny > 0) {
        *denials.entry(key(edge)).or_default() += edge.verdicts.deny;
    }
    denials
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Workload, WorkloadKind},
        interaction::Verdicts,
        metrics::samples::edge,
    };

    fn denied(port: u16, deny: u64) -> Edge {
        Edge { port, verdicts: Verdicts { deny, ..edge().verdicts }, ..edge() }
    }

    #[test]
    fn more_denials_of_what_was_normal_than_are_tolerated_are_harm() {
        let guard = Guard::new(3, &[denied(80, 10), denied(81, 0)]);
        assert_eq!(guard.harm(&[denied(80, 10), denied(81, 0)]), None);
        assert_eq!(guard.harm(&[denied(80, 11), denied(81, 2)]), None);
        let harm = guard.harm(&[denied(80, 11), denied(81, 3)]).unwrap();
        assert_eq!((harm.denials, harm.worst.as_str()), (4, "shop/web -> shop/api tcp/81"));
    }

    #[test]
    fn what_was_normal_is_so_for_the_container_that_comes_in_the_place_of_another() {
        let with_id = |id: &str, deny| {
            let mut edge = denied(80, deny);
            let workload = |name: &str| Workload {
                id: Some(id.repeat(32)),
                ..Workload::named(WorkloadKind::Container, name)
            };
            (edge.source, edge.target) = (workload("web").into(), workload("db").into());
            edge
        };
        let guard = Guard::new(0, &[with_id("a1", 4)]);
        assert_eq!(guard.harm(&[with_id("a1", 4)]), None);
        let harm = guard.harm(&[with_id("a1", 4), with_id("b2", 1)]).unwrap();
        assert_eq!((harm.denials, harm.worst.as_str()), (1, "web -> db tcp/80"));
    }

    #[test]
    fn a_connection_that_is_older_than_the_daemon_was_normal_too() {
        let adopted = |deny| Edge { verdicts: Verdicts { deny, ..Verdicts::default() }, ..edge() };
        assert_ne!(adopted(0).bytes_sent, 0);
        let guard = Guard::new(0, &[adopted(0)]);
        assert_eq!(guard.harm(&[adopted(2)]).unwrap().denials, 2);
    }

    #[test]
    fn what_was_never_allowed_may_be_denied_as_often_as_it_is_tried() {
        let never = Edge { verdicts: Verdicts::default(), bytes_sent: 0, bytes_received: 0, ..denied(80, 0) };
        let guard = Guard::new(0, &[never]);
        assert_eq!(guard.harm(&[denied(80, 1_000), denied(81, 1_000)]), None);
    }
}
