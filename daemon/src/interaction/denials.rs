//! What each rule denied, or would have: sums of the ledger's rows. Pure.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_common::{
    network::{LedgerKey, LedgerRow, Party, VERDICT_AUDIT, VERDICT_DENY},
    policy::RULE_NONE,
};

use crate::event::{RuleName, Verdict};

/// Of whom denials are told together that there is no room for apart.
const OTHER: &str = "other";

/// Who was denied what, by which rule.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Denied {
    /// The rule that decided (`shop#2`); empty where it was none.
    pub rule: String,
    /// What it decided.
    pub verdict: Verdict,
    /// Who began it, and with whom, as metrics call them.
    pub ends: [String; 2],
}

/// Packets and calls, by who was denied what by which rule.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Denials {
    sums: BTreeMap<Denied, u64>,
}

impl Denials {
    /// Most that are kept apart. What is beyond is told by its rule alone.
    const LIMIT: usize = 20_000;

    /// Of rows of the ledger. Rules that `name` does not know are no more, and left out.
    pub fn of(
        rows: &[(LedgerKey, LedgerRow)],
        name: impl Fn(u32) -> Option<Arc<RuleName>>,
        called: impl Fn(&Party, &Party) -> [String; 2],
    ) -> Self {
        let mut denials = Self::default();
        for (key, row) in rows {
            let verdict = match key.verdict {
                VERDICT_AUDIT => Verdict::Audit,
                VERDICT_DENY => Verdict::Deny,
                _ => continue,
            };
            let rule = match key.rule {
                RULE_NONE => Some(String::new()),
                number => name(number).map(|rule| rule.name.clone()),
            };
            if let Some(rule) = rule {
                denials.add(Denied { rule, verdict, ends: called(&key.source, &key.target) }, row.attempts);
            }
        }
        denials
    }

    /// Each, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&Denied, u64)> {
        self.sums.iter().map(|(denied, count)| (denied, *count))
    }

    /// Adds what another counts.
    pub fn merge(&mut self, other: Self) {
        for (denied, count) in other.sums {
            self.add(denied, count);
        }
    }

    fn add(&mut self, mut denied: Denied, count: u64) {
        if self.sums.len() >= Self::LIMIT && !self.sums.contains_key(&denied) {
            denied.ends = [OTHER, OTHER].map(str::to_owned);
        }
        *self.sums.entry(denied).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_common::{ids::CgroupId, network::VERDICT_ALLOW};

    use super::*;
    use crate::api::samples;

    fn row(verdict: u8, rule: u32, attempts: u64) -> (LedgerKey, LedgerRow) {
        let (key, row) = samples::row(attempts);
        (LedgerKey { verdict, rule, ..key }, row)
    }

    fn called(_: &Party, _: &Party) -> [String; 2] {
        ["web", "db"].map(str::to_owned)
    }

    fn name(number: u32) -> Option<Arc<RuleName>> {
        (number == 7).then(|| RuleName { name: "shop#2".into(), file: String::new(), line: 1 }.into())
    }

    #[test]
    fn what_rules_denied_is_told_from_what_they_would_have_and_from_what_none_allowed() {
        let rows = [
            row(VERDICT_DENY, 7, 3),
            row(VERDICT_DENY, 7, 4),
            row(VERDICT_AUDIT, 7, 1),
            row(VERDICT_DENY, RULE_NONE, 5),
            // Its policy was removed.
            row(VERDICT_DENY, 8, 100),
            row(VERDICT_ALLOW, 0, 1_000),
        ];
        let mut denials = Denials::of(&rows, name, called);
        denials.merge(Denials::of(&[row(VERDICT_AUDIT, 7, 10)], name, called));
        let expected = [("", Verdict::Deny, 5), ("shop#2", Verdict::Audit, 11), ("shop#2", Verdict::Deny, 7)];
        let told = denials.iter().map(|(denied, count)| (denied.rule.as_str(), denied.verdict, count));
        assert_eq!(Vec::from_iter(told), expected);
        assert!(denials.iter().all(|(denied, _)| denied.ends == ["web", "db"]));
    }

    #[test]
    fn of_very_many_the_rule_is_still_told() {
        let rows: Vec<_> = (0..Denials::LIMIT as u64 + 10)
            .map(|cgroup| {
                let (key, row) = row(VERDICT_DENY, 7, 1);
                (LedgerKey { source: Party { cgroup: CgroupId(cgroup), ..key.source }, ..key }, row)
            })
            .collect();
        let denials = Denials::of(&rows, name, |source, _| [source.cgroup.0.to_string(), "db".to_owned()]);
        let others: Vec<_> = denials.iter().filter(|(denied, _)| denied.ends == [OTHER, OTHER]).collect();
        let [(denied, 10)] = others[..] else { panic!("{others:?}") };
        assert_eq!((denied.rule.as_str(), denials.iter().count()), ("shop#2", Denials::LIMIT + 1));
    }
}
