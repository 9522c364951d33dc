//! Whether what is in force is really enforced, as it was found when that was last looked at.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Tried;
use crate::sensor::standing::{Finding, Outcome, What};

/// How many findings are kept; the rest is counted.
const SHOWN: usize = 32;

/// What was found when it was last looked whether what is in force is enforced: a part of `GET /v1/status`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Verified {
    /// Whether all was right, or was mended and then found right.
    pub verified: bool,
    /// When it was last looked.
    pub looked_at: Timestamp,
    /// When all was last found right; absent where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<Timestamp>,
    /// What is not right, and what is to be noted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// How many there are of these.
    #[serde(default)]
    pub findings_total: usize,
    /// Programs that are not ours, where ours are.
    #[serde(default)]
    pub foreign: usize,
    /// What the daemon's own workloads tried last; absent where they have not tried yet, or are turned off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried: Option<Tried>,
}

/// What was mended since the daemon started.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Mended {
    /// How often, by what.
    pub counts: BTreeMap<What, u64>,
    /// When something last was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Timestamp>,
}

/// What one look has found, and whoever mends looks again.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Look {
    /// What was mended at first.
    pub mended: Vec<Finding>,
    /// What was found after that.
    pub left: Vec<Finding>,
}

impl Look {
    /// Looks, and once more where something was mended.
    pub fn take(mut look: impl FnMut() -> Vec<Finding>) -> Self {
        let first = look();
        let (mended, left): (Vec<_>, Vec<_>) = first.into_iter().partition(is_mended);
        if mended.is_empty() {
            return Self { mended, left };
        }
        Self { mended, left: look() }
    }

    /// Whether all is right now. What was mended a second time was broken again at once.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.left.iter().all(|finding| finding.outcome == Outcome::Noted)
    }
}

impl Verified {
    /// After a look. `before` is what was known until then, if anything was.
    #[must_use]
    pub fn after(before: Option<&Self>, look: Look, now: Timestamp) -> Self {
        let verified = look.is_right();
        let mut findings = look.left;
        let findings_total = findings.len();
        let foreign = findings.iter().filter(|finding| finding.what == What::Foreign).count();
        // What is wrong comes first.
        findings.sort_by_key(|finding| finding.outcome == Outcome::Noted);
        findings.truncate(SHOWN);
        let verified_at = if verified { Some(now) } else { before.and_then(|before| before.verified_at) };
        Self { verified, looked_at: now, verified_at, findings, findings_total, foreign, tried: None }
    }

    /// What is not right, in one line; `None` while all is.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        if self.verified {
            return None;
        }
        let open: Vec<_> = self.of(false).map(|finding| finding.text.as_str()).collect();
        // They come first: what is left out beside others is only to be noted.
        let more = if open.len() == SHOWN { self.findings_total - SHOWN } else { 0 };
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        Some(open.join("; ") + &more)
    }

    /// What is to be noted and no fault of ours.
    pub fn noted(&self) -> impl Iterator<Item = &Finding> {
        self.of(true)
    }

    fn of(&self, noted: bool) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| (finding.outcome == Outcome::Noted) == noted)
    }
}

impl Mended {
    /// Adds what was mended in a look.
    pub fn add(&mut self, look: &Look, now: Timestamp) {
        for finding in look.mended.iter().chain(look.left.iter().filter(|finding| is_mended(finding))) {
            *self.counts.entry(finding.what).or_default() += finding.count;
            self.last = Some(now);
        }
    }

    /// How much it was in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }
}

fn is_mended(finding: &Finding) -> bool {
    finding.outcome == Outcome::Mended
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(what: What, outcome: Outcome) -> Finding {
        Finding { what, outcome, count: 2, text: format!("{} is {outcome:?}", what.name()) }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A look whose answers are these, one after the other.
    fn look(answers: &[&[Finding]]) -> Look {
        let mut answers = answers.iter().map(|answer| answer.to_vec());
        let look = Look::take(|| answers.next().expect("no more looks"));
        assert!(answers.next().is_none(), "it was to look once more");
        look
    }

    #[test]
    fn what_was_mended_counts_as_right_once_it_is_found_right() {
        let look = look(&[&[finding(What::Hook, Outcome::Mended)], &[]]);
        let mut mended = Mended::default();
        mended.add(&look, at(5));
        assert_eq!(mended, Mended { counts: [(What::Hook, 2)].into(), last: Some(at(5)) });
        let verified = Verified::after(None, look, at(5));
        assert_eq!((verified.verified, verified.verified_at), (true, Some(at(5))));
        assert_eq!(verified.problem(), None);
    }

    #[test]
    fn what_is_broken_again_at_once_is_not_right_though_it_was_mended() {
        let broken = finding(What::Pairs, Outcome::Mended);
        let look = look(&[std::slice::from_ref(&broken), std::slice::from_ref(&broken)]);
        let mut mended = Mended::default();
        mended.add(&look, at(5));
        assert_eq!(mended.total(), 4);
        let verified = Verified::after(None, look, at(5));
        assert!(!verified.verified);
        assert_eq!(verified.problem().as_deref(), Some("pairs is Mended"));
    }

    #[test]
    fn when_it_was_last_right_stays_while_something_is_wrong() {
        let right = Verified::after(None, look(&[&[]]), at(5));
        let wrong = Verified::after(Some(&right), look(&[&[finding(What::Pin, Outcome::Open)]]), at(15));
        assert!(!wrong.verified);
        assert_eq!((wrong.looked_at, wrong.verified_at), (at(15), Some(at(5))));
        assert_eq!(wrong.problem().as_deref(), Some("pin is Open"));
        let again = Verified::after(Some(&wrong), look(&[&[]]), at(25));
        assert_eq!((again.verified, again.verified_at), (true, Some(at(25))));
    }

    #[test]
    fn a_program_of_somebody_else_is_noted_and_nothing_is_wrong() {
        let foreign = finding(What::Foreign, Outcome::Noted);
        let verified = Verified::after(None, look(&[std::slice::from_ref(&foreign)]), at(5));
        assert!(verified.verified);
        assert_eq!(verified.foreign, 1);
        assert_eq!(verified.noted().collect::<Vec<_>>(), [&foreign]);
    }

    #[test]
    fn of_many_findings_those_that_matter_are_kept_and_the_rest_is_counted() {
        let mut many = vec![finding(What::Foreign, Outcome::Noted); 100];
        many.push(finding(What::Link, Outcome::Open));
        let verified = Verified::after(None, look(&[&many]), at(5));
        assert_eq!((verified.findings.len(), verified.findings_total), (SHOWN, 101));
        assert_eq!(verified.problem().as_deref(), Some("link is Open"));
    }
}
