//! What is new against what was seen before, and what is gone. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::learn::side::Side;
use crate::{event::Workload, history::Past, interaction::Edge};

/// Most that is told of what is new, and of what is gone.
pub const MOST_TOLD: usize = 1_000;

/// What one span has and another has not.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Difference {
    /// Interactions that were never seen before: those seen most come first.
    pub new: Vec<Interaction>,
    /// What was seen before and is not any more.
    pub gone: Vec<Interaction>,
    /// How many are in both.
    pub known: usize,
    /// How many more are new or gone.
    pub left_out: usize,
}

/// An interaction between workloads, replicas together.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Interaction {
    /// Who began it.
    pub source: String,
    /// With whom.
    pub target: String,
    /// Protocol and port: `tcp/5432`.
    pub service: String,
    /// How often it was begun, or denied.
    pub attempts: u64,
    /// When it was seen first in its span.
    pub first_seen: Timestamp,
    /// And last.
    pub last_seen: Timestamp,
}

/// Source, target, and protocol and port.
type Key = (String, String, String);

/// What `now` has that `before` has not, and the other way round. Workloads are the same that a learned policy would not tell
/// apart: a container that replaces another is not new.
#[must_use]
pub fn diff(before: &[Past], now: &[Past]) -> Difference {
    let (before, now) = (summed(before), summed(now));
    let known: BTreeSet<_> = now.keys().filter(|key| before.contains_key(*key)).cloned().collect();
    let of = |all: BTreeMap<Key, Interaction>| {
        let mut only: Vec<_> =
            all.into_iter().filter(|(key, _)| !known.contains(key)).map(|(_, it)| it).collect();
        only.sort_by_key(|interaction| Reverse(interaction.attempts));
        let left_out = only.len().saturating_sub(MOST_TOLD);
        only.truncate(MOST_TOLD);
        (only, left_out)
    };
    let ((new, more_new), (gone, more_gone)) = (of(now), of(before));
    Difference { new, gone, known: known.len(), left_out: more_new + more_gone }
}

fn summed(past: &[Past]) -> BTreeMap<Key, Interaction> {
    let mut all = BTreeMap::<Key, Interaction>::new();
    for Edge { source, target, protocol, port, attempts, verdicts, first_seen, last_seen, .. } in
        past.iter().map(|past| &past.edge)
    {
        let key = (called(source), called(target), protocol.service(*port));
        let attempts = attempts.saturating_add(verdicts.deny);
        let (source, target, service) = key.clone();
        all.entry(key)
            .and_modify(|known| {
                known.attempts = known.attempts.saturating_add(attempts);
                known.first_seen = known.first_seen.min(*first_seen);
                known.last_seen = known.last_seen.max(*last_seen);
            })
            .or_insert(Interaction {
                source,
                target,
                service,
                attempts,
                first_seen: *first_seen,
                last_seen: *last_seen,
            });
    }
    all
}

fn called(workload: &Workload) -> String {
    Side::of(workload).map_or_else(|_| workload.to_string(), |side| side.label())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::samples::edge, sink::samples::container};

    fn past(edge: Edge) -> Past {
        Past { edge, minutes: 1, days: 1 }
    }

    fn told(interactions: &[Interaction]) -> Vec<String> {
        let line =
            |it: &Interaction| format!("{} -> {} {} {}", it.source, it.target, it.service, it.attempts);
        interactions.iter().map(line).collect()
    }

    #[test]
    fn a_container_that_replaces_another_is_not_new_and_a_port_is() {
        let again = Edge { source: container("web", "cafecafecafe"), ..edge() };
        let other = Edge { port: 9_090, ..edge() };
        let silent = Edge { target: container("db", "dbdbdbdbdbdb"), ..edge() };
        let found = diff(&[past(edge()), past(silent)], &[past(again.clone()), past(again), past(other)]);
        assert_eq!(told(&found.new), ["shop/web -> shop/api tcp/9090 415"]);
        assert_eq!(told(&found.gone), ["shop/web -> shop/db tcp/8080 415"]);
        assert_eq!((found.known, found.left_out), (1, 0));
    }

    #[test]
    fn what_is_told_is_bounded_and_the_rest_is_counted() {
        let many: Vec<_> = (1..=1_500).map(|port| past(Edge { port, ..edge() })).collect();
        let found = diff(&[], &many);
        assert_eq!((found.new.len(), found.left_out), (MOST_TOLD, 500));
    }
}
