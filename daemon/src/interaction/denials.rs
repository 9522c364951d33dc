//! What each rule denied, or would have: sums of the ledger's rows. Pure.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_common::{
    network::{LedgerKey, LedgerRow, VERDICT_AUDIT, VERDICT_DENY},
    policy::RULE_NONE,
};

use crate::event::{RuleName, Verdict};

/// Packets and calls by the rule that decided (`shop#2`; empty where it was none) and its verdict.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Denials {
    sums: BTreeMap<(String, Verdict), u64>,
}

impl Denials {
    /// Most rules that are kept apart. Only who goes on renaming his rules has more; those that come then are left out.
    const LIMIT: usize = 20_000;

    /// Of rows of the ledger. Rules that `name` does not know are no more, and left out.
    pub fn of(rows: &[(LedgerKey, LedgerRow)], name: impl Fn(u32) -> Option<Arc<RuleName>>) -> Self {
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
                denials.add((rule, verdict), row.attempts);
            }
        }
        denials
    }

    /// Rule, verdict, and how often.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Verdict, u64)> {
        self.sums.iter().map(|((rule, verdict), count)| (rule.as_str(), *verdict, *count))
    }

    /// Adds what another counts.
    pub fn merge(&mut self, other: Self) {
        for (key, count) in other.sums {
            self.add(key, count);
        }
    }

    fn add(&mut self, key: (String, Verdict), count: u64) {
        if let Some(sum) = self.sums.get_mut(&key) {
            *sum += count;
        } else if self.sums.len() < Self::LIMIT {
            self.sums.insert(key, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_common::network::VERDICT_ALLOW;

    use super::*;
    use crate::api::samples;

    fn row(verdict: u8, rule: u32, attempts: u64) -> (LedgerKey, LedgerRow) {
        let (key, row) = samples::row(attempts);
        (LedgerKey { verdict, rule, ..key }, row)
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
        let mut denials = Denials::of(&rows, name);
        denials.merge(Denials::of(&[row(VERDICT_AUDIT, 7, 10)], name));
        let expected = [("", Verdict::Deny, 5), ("shop#2", Verdict::Audit, 11), ("shop#2", Verdict::Deny, 7)];
        assert_eq!(Vec::from_iter(denials.iter()), expected);
    }
}
