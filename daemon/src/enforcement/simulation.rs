//! What other policies would have decided of what the history tells.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, hash_map::Entry},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    InForce, Refused,
    deviation::{Counts, Deviation, check_chosen, deviations, first_of, is_chosen},
};
use crate::{
    event::{Protocol, Verdict},
    history::Past,
    interaction::Edge,
    policy::{
        Plan,
        diff::{Decided, decide},
        explain::End,
        folder::NamedText,
    },
};

/// Most workloads that are told of by themselves.
const MOST_WORKLOADS: usize = 1_000;

/// What policies would have decided of what was seen.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Simulated {
    /// Interactions that were seen, each container for itself.
    pub interactions: usize,
    /// How often these were begun, or denied.
    pub attempts: u64,
    /// Of these, those that would have been decided otherwise; replicas together.
    pub findings: Vec<Deviation>,
    /// Findings beyond [`super::MOST_FINDINGS`].
    pub left_out: usize,
    /// How many of all findings passed and would be denied.
    pub newly_denied: usize,
    /// For whom it makes a difference, by who begins it: those first to whom most would be denied.
    pub workloads: Vec<Affected>,
    /// How many more there are.
    pub workloads_left_out: usize,
    /// Interactions that policies cannot judge: an end of them stands for many, or there is no room.
    pub not_judged: usize,
}

/// What changes for a workload that begins interactions, replicas together.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Affected {
    /// Who it is.
    pub workload: String,
    /// Attempts that passed and would be denied.
    pub newly_denied: u64,
    /// Attempts that were denied and would pass.
    pub newly_allowed: u64,
    /// Attempts that pass as before, and are reported now or no longer.
    pub reported_otherwise: u64,
    /// When any of these was seen last.
    pub last_seen: Timestamp,
}

impl InForce {
    /// What the folder's policies, as they would be with these files, would have decided of what was seen; of those who are called
    /// as `of`. Blocks.
    ///
    /// # Errors
    /// What is wrong with the policies.
    pub fn simulate(&self, files: &[NamedText], of: &[String], past: &[Past]) -> Result<Simulated, Refused> {
        check_chosen(of)?;
        Ok(simulate(&mut self.plan_with(files)?, of, past))
    }
}

/// Asks a plan about each interaction once.
fn simulate(plan: &mut Plan, of: &[String], past: &[Past]) -> Simulated {
    let mut simulated = Simulated::default();
    let mut found = Found::default();
    for edge in past.iter().map(|past| &past.edge).filter(|edge| is_chosen(edge, of)) {
        let seen = Counts::of(edge);
        simulated.interactions += 1;
        simulated.attempts =
            seen.attempts.iter().fold(simulated.attempts, |all, more| all.saturating_add(*more));
        match judged(plan, edge) {
            Some(would_be) => deviations(edge, seen, &would_be).into_iter().for_each(|it| found.add(it)),
            None => simulated.not_judged += 1,
        }
    }
    let Found { mut findings, .. } = found;
    simulated.newly_denied = findings.iter().filter(|finding| finding.is_newly_denied()).count();
    (simulated.workloads, simulated.workloads_left_out) = affected(&findings);
    simulated.left_out = first_of(&mut findings);
    Simulated { findings, ..simulated }
}

fn judged(plan: &mut Plan, edge: &Edge) -> Option<Decided> {
    let (source, target) = (End::of(&edge.source)?, End::of(&edge.target)?);
    decide(plan, source, target, (edge.protocol.number()?, edge.port)).ok()
}

/// What is one finding: names, protocol and port, what was decided, and what would be, by which rule.
type Key = (String, String, Protocol, u16, Verdict, Verdict, Option<String>);

/// Findings, replicas together.
#[derive(Default)]
struct Found {
    findings: Vec<Deviation>,
    places: HashMap<Key, usize>,
}

impl Found {
    fn add(&mut self, more: Deviation) {
        let Deviation { source, target, protocol, port, was, would_be, .. } = &more;
        let rule = would_be.rule.as_ref().map(|rule| rule.label.to_string());
        let key = (source.to_string(), target.to_string(), *protocol, *port, *was, would_be.verdict, rule);
        match self.places.entry(key) {
            Entry::Vacant(place) => {
                place.insert(self.findings.len());
                self.findings.push(more);
            }
            Entry::Occupied(place) => {
                if let Some(known) = self.findings.get_mut(*place.get()) {
                    known.attempts = known.attempts.saturating_add(more.attempts);
                    known.last_seen = known.last_seen.max(more.last_seen);
                }
            }
        }
    }
}

/// By who begins it, and how many more there are.
fn affected(findings: &[Deviation]) -> (Vec<Affected>, usize) {
    let mut all = BTreeMap::<String, Affected>::new();
    for finding in findings {
        let workload = finding.source.to_string();
        let new = || Affected {
            workload: workload.clone(),
            newly_denied: 0,
            newly_allowed: 0,
            reported_otherwise: 0,
            last_seen: finding.last_seen,
        };
        let affected = all.entry(workload.clone()).or_insert_with(new);
        let count = if finding.is_newly_denied() {
            &mut affected.newly_denied
        } else if finding.was == Verdict::Deny {
            &mut affected.newly_allowed
        } else {
            &mut affected.reported_otherwise
        };
        *count = count.saturating_add(finding.attempts);
        affected.last_seen = affected.last_seen.max(finding.last_seen);
    }
    let mut all: Vec<_> = all.into_values().collect();
    all.sort_by_key(|it| Reverse((it.newly_denied, it.newly_allowed, it.reported_otherwise)));
    let left_out = all.len().saturating_sub(MOST_WORKLOADS);
    all.truncate(MOST_WORKLOADS);
    (all, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Workload, WorkloadKind},
        interaction::Verdicts,
        metrics::samples::edge,
        policy::samples::{self, OPEN},
        sink::samples::container,
    };

    /// Denies what `shop/web` does with `shop/api`.
    const CLOSED: &str = "policy: api\nmode: enforce\nrules: [{to: shop/api, allow: [{from: shop/other}]}]\n";

    fn of(edges: Vec<Edge>, of: &[&str]) -> Simulated {
        let past: Vec<_> = edges.into_iter().map(|edge| Past { edge, minutes: 1, days: 1 }).collect();
        let of: Vec<_> = of.iter().map(|name| (*name).to_owned()).collect();
        simulate(&mut samples::plan("/etc/cofferdam/policies/api.yaml", CLOSED, OPEN), &of, &past)
    }

    #[test]
    fn replicas_are_one_finding_and_one_workload() {
        let other = Edge { source: container("web", "cafecafecafe"), ..edge() };
        let simulated = of(vec![edge(), other], &[]);
        let [finding] = &simulated.findings[..] else { panic!("{simulated:?}") };
        assert_eq!(
            (finding.was, finding.would_be.verdict, finding.attempts),
            (Verdict::Allow, Verdict::Deny, 830)
        );
        assert_eq!((simulated.interactions, simulated.attempts, simulated.newly_denied), (2, 830, 1));
        let [affected] = &simulated.workloads[..] else { panic!("{simulated:?}") };
        assert_eq!(
            (affected.workload.as_str(), affected.newly_denied, affected.newly_allowed),
            ("shop/web", 830, 0)
        );
    }

    #[test]
    fn what_was_denied_and_would_pass_is_told_apart_from_what_passed() {
        let denied = Edge { port: 9_090, verdicts: Verdicts { deny: 7, ..Verdicts::default() }, ..edge() };
        let denied = Edge { target: container("db", "dbdbdbdbdbdb"), ..denied };
        let simulated = of(vec![edge(), denied], &[]);
        assert_eq!((simulated.findings.len(), simulated.newly_denied), (2, 1));
        let affected = &simulated.workloads[0];
        assert_eq!((affected.newly_denied, affected.newly_allowed, affected.reported_otherwise), (415, 7, 0));
    }

    #[test]
    fn who_was_chosen_and_who_can_be_judged() {
        let many = Workload::named(WorkloadKind::Other, "other");
        let many = Edge { target: many.into(), ..edge() };
        assert_eq!(of(vec![edge(), many.clone()], &[]).not_judged, 1);
        assert_eq!(of(vec![edge(), many], &["shop/db"]).interactions, 0);
    }
}
