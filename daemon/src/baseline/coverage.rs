//! Which traffic no rule explains: until there is none, to enforce is a risk. Pure.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::learn::seen::is_open;
use crate::{
    event::{Protocol, Verdict, Workload, WorkloadKind},
    history::Past,
    interaction::Edge,
    policy::{
        Plan, RuleInfo,
        diff::{Decided, decide_ends},
        explain::{End, Why, explain},
        model::Mode,
    },
};

/// Most interactions that are told.
pub const MOST_TOLD: usize = 1_000;

/// How much of what was seen rules explain.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Coverage {
    /// Interactions that were looked at: those of containers, and those of which a rule says something.
    pub interactions: usize,
    /// How often they were begun, or denied.
    pub attempts: u64,
    /// Of these, how many a rule explains.
    pub explained: u64,
    /// Interactions that none does: those seen most come first.
    pub uncovered: Vec<Uncovered>,
    /// How many more there are.
    pub left_out: usize,
    /// Interactions that never opened, of which nothing is lost: they are not looked at.
    pub never_opened: usize,
    /// Interactions that rules cannot judge: an end of them stands for many, or there is no room.
    pub not_judged: usize,
}

/// An interaction that no rule explains, replicas together.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Uncovered {
    /// Who began it.
    pub source: Arc<Workload>,
    /// With whom.
    pub target: Arc<Workload>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The server's port.
    pub port: u16,
    /// What comes of it: `audit` would be denied if all were enforced.
    pub decided: Decided,
    /// How often it was begun, or denied.
    pub attempts: u64,
    /// When it was seen last.
    pub last_seen: Timestamp,
}

impl Coverage {
    /// Whether rules explain all.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.uncovered.is_empty() && self.left_out == 0 && self.not_judged == 0
    }
}

/// Asks the rules of a plan about what was seen.
#[must_use]
pub fn coverage(past: &[Past], plan: &mut Plan) -> Coverage {
    let mut coverage = Coverage::default();
    let mut uncovered = BTreeMap::<_, Uncovered>::new();
    for edge in past.iter().map(|past| &past.edge) {
        let of_container = [&edge.source, &edge.target].iter().any(|end| end.kind == WorkloadKind::Container);
        let Some(ends) = ends(edge) else {
            coverage.not_judged += usize::from(of_container);
            continue;
        };
        let Ok(decided) = decide_ends(plan, ends.0, ends.1, ends.2) else {
            coverage.not_judged += usize::from(of_container);
            continue;
        };
        if !of_container && decided.iter().all(|decided| decided.why == Why::Default) {
            continue;
        }
        if !is_open(edge) && edge.verdicts.deny == 0 {
            coverage.never_opened += 1;
            continue;
        }
        let attempts = edge.attempts.saturating_add(edge.verdicts.deny).max(1);
        coverage.interactions += 1;
        coverage.attempts = coverage.attempts.saturating_add(attempts);
        match unexplained(decided, plan, ends) {
            None => coverage.explained = coverage.explained.saturating_add(attempts),
            Some(decided) => {
                let key =
                    (edge.source.to_string(), edge.target.to_string(), edge.protocol.service(edge.port));
                uncovered
                    .entry(key)
                    .and_modify(|known| {
                        known.attempts = known.attempts.saturating_add(attempts);
                        known.last_seen = known.last_seen.max(edge.last_seen);
                    })
                    .or_insert_with(|| Uncovered::of(edge, decided, attempts));
            }
        }
    }
    let mut uncovered: Vec<_> = uncovered.into_values().collect();
    uncovered.sort_by_key(|it| Reverse(it.attempts));
    coverage.left_out = uncovered.len().saturating_sub(MOST_TOLD);
    uncovered.truncate(MOST_TOLD);
    Coverage { uncovered, ..coverage }
}

type Ends<'a> = (End<'a>, End<'a>, (u8, u16));

fn ends(edge: &Edge) -> Option<Ends<'_>> {
    Some((End::of(&edge.source)?, End::of(&edge.target)?, (edge.protocol.number()?, edge.port)))
}

/// What is decided, if no rule explains it: the default, or that it would be denied if all were enforced. What a rule denies
/// already is explained.
fn unexplained(decided: [Decided; 2], plan: &Plan, (source, target, packet): Ends<'_>) -> Option<Decided> {
    let [sends, receives] = decided;
    let by_rule = [&sends, &receives].iter().any(|decided| decided.why == Why::Rule);
    let strictest = if receives.verdict > sends.verdict { receives } else { sends };
    let explained = match (strictest.verdict, strictest.why) {
        (Verdict::Allow, _) => by_rule,
        (Verdict::Deny, why) => why != Why::Default,
        (Verdict::Audit, Why::Rule) => {
            let is_enforced = |rule: &RuleInfo| rule.mode == Mode::Enforce;
            strictest.rule.as_ref().is_some_and(is_enforced)
                || explain(plan, source, target, packet.0, packet.1).is_only_reported()
        }
        (Verdict::Audit, _) => false,
    };
    (!explained).then_some(strictest)
}

impl Uncovered {
    fn of(edge: &Edge, decided: Decided, attempts: u64) -> Self {
        let Edge { source, target, protocol, port, last_seen, .. } = edge;
        Self {
            source: source.clone(),
            target: target.clone(),
            protocol: *protocol,
            port: *port,
            decided,
            attempts,
            last_seen: *last_seen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        metrics::samples::edge,
        policy::samples::{OPEN, plan},
        sink::samples::container,
    };

    fn found(text: &str, edges: &[Edge]) -> Coverage {
        let past: Vec<_> =
            edges.iter().map(|edge| Past { edge: edge.clone(), minutes: 1, days: 1 }).collect();
        coverage(&past, &mut plan("shop.yaml", text, OPEN))
    }

    fn policy(mode: &str, lists: &str) -> String {
        format!("policy: shop\nmode: {mode}\nrules: [{{to: shop/api, {lists}}}]\n")
    }

    #[test]
    fn what_a_rule_allows_or_denies_is_explained_and_what_the_default_lets_pass_is_not() {
        let by_default = found("policy: shop\nrules: []\n", &[edge()]);
        assert_eq!((by_default.attempts, by_default.explained, by_default.is_whole()), (415, 0, false));
        assert_eq!(by_default.uncovered[0].decided.why, Why::Default);
        let allowed = "allow: [{from: shop/web, port: tcp/8080}]";
        let denied = "deny: [{from: shop/web}], allow: [{from: any}]";
        for (mode, lists, whole) in [
            ("enforce", allowed, true),
            ("audit", allowed, true),
            ("enforce", denied, true),
            ("audit", denied, false),
            ("audit", "allow: [{from: shop/other}]", false),
            ("enforce", "audit: [{from: shop/web}]", true),
            ("audit", "audit: [{from: shop/web}]", true),
        ] {
            assert_eq!(found(&policy(mode, lists), &[edge()]).is_whole(), whole, "{mode} {lists}");
        }
    }

    #[test]
    fn what_would_be_denied_names_the_rule_and_replicas_are_one() {
        let other = Edge { source: container("web", "cafecafecafe"), ..edge() };
        let found = found(&policy("audit", "allow: [{from: shop/other}]"), &[edge(), other]);
        let [uncovered] = &found.uncovered[..] else { panic!("{found:?}") };
        assert_eq!((uncovered.attempts, uncovered.decided.verdict), (830, Verdict::Audit));
        assert_eq!(uncovered.decided.rule.as_ref().map(|rule| &*rule.label), Some("shop#1"));
        assert_eq!((found.interactions, found.left_out), (2, 0));
    }

    #[test]
    fn what_never_opened_is_no_reason_not_to_enforce() {
        let failed = Edge { flows: 0, bytes_received: 0, ..edge() };
        let found = found("policy: shop\nrules: []\n", &[failed]);
        assert_eq!((found.never_opened, found.interactions, found.is_whole()), (1, 0, true));
    }
}
