//! How the policies stand, and what their rules denied.

use std::{collections::BTreeMap, time::Instant};

use jiff::Timestamp;

use super::{definitions as metric, labels, page::Page, series::Series};
use crate::{
    enforcement::{Report, Shadowed, TriedOutcome, What},
    event::Verdict,
    interaction::denials::Denials,
};

/// What is no rule's: a default, or that it was not known yet who somebody is. No rule is called so.
const NO_RULE: &str = "none";

/// Denials by policy, rule and verdict.
#[derive(Debug)]
pub(super) struct RuleSeries(Series<3, u64>);

impl RuleSeries {
    pub(super) fn new() -> Self {
        Self(Series::new(metric::RULE_DENIALS.limit))
    }

    /// Takes in what was denied until now.
    pub(super) fn update(&mut self, denials: &Denials, now: Instant) {
        let mut sums = BTreeMap::<_, u64>::new();
        for (rule, verdict, count) in denials.iter() {
            let rule = if rule.is_empty() { NO_RULE } else { rule };
            let policy = rule.split_once('#').map_or(rule, |(policy, _)| policy);
            let labels = [policy, rule, verdict_label(verdict)].map(str::to_owned);
            *sums.entry(labels).or_default() += count;
        }
        self.0.update(sums, now);
    }

    pub(super) fn write(&self, page: &mut Page) {
        self.0.each(|labels, count| page.count(&metric::RULE_DENIALS, &labels, count));
        page.count(&metric::SERIES_FOLDED, &[metric::RULE_DENIALS.name], self.0.folded());
    }
}

/// What policies in the shadow would have decided otherwise.
#[derive(Debug)]
pub(super) struct ShadowSeries {
    series: Series<6, u64>,
    /// Since when they are there: others are counted anew.
    since: Option<Timestamp>,
}

impl ShadowSeries {
    pub(super) fn new() -> Self {
        Self { series: Series::new(metric::SHADOW.limit), since: None }
    }

    /// Takes in what was found until now.
    pub(super) fn update(&mut self, found: Option<&Shadowed>, now: Instant) {
        let since = found.map(|found| found.shadowing.since);
        if self.since != since {
            *self = Self { since, ..Self::new() };
        }
        let mut sums = BTreeMap::<_, u64>::new();
        for finding in found.iter().flat_map(|found| &found.findings) {
            let rule = finding.would_be.rule.as_ref().map_or(NO_RULE, |rule| &*rule.label);
            let labels = [
                labels::workload(&finding.source).into_owned(),
                labels::workload(&finding.target).into_owned(),
                finding.protocol.to_string(),
                labels::port(&finding.target, finding.protocol, finding.port).into_owned(),
                verdict_label(finding.would_be.verdict).to_owned(),
                rule.to_owned(),
            ];
            *sums.entry(labels).or_default() += finding.attempts;
        }
        self.series.update(sums, now);
    }

    pub(super) fn write(&self, page: &mut Page) {
        self.series.each(|labels, count| page.count(&metric::SHADOW, &labels, count));
        page.count(&metric::SERIES_FOLDED, &[metric::SHADOW.name], self.series.folded());
        page.count(&metric::POLICY_SHADOW, &[], self.since.is_some().into());
    }
}

fn verdict_label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Audit => "audit",
        Verdict::Deny => "deny",
    }
}

/// How they stand.
pub(super) fn write(page: &mut Page, report: &Report) {
    page.count(&metric::POLICY_GENERATION, &[], report.generation.into());
    page.count(&metric::POLICIES, &["enforce"], report.enforced as u64);
    page.count(&metric::POLICIES, &["audit"], report.audited as u64);
    page.count(&metric::POLICY_RULES, &[], report.rules as u64);
    page.count(&metric::POLICY_IDENTITIES, &[], report.identities as u64);
    page.count(&metric::POLICY_UNRESOLVED, &[], report.unresolved as u64);
    page.count(&metric::POLICY_TIMEOUTS, &[], report.unresolved_timeouts);
    page.count(&metric::POLICY_NAMED, &[], report.named_addresses as u64);
    page.count(&metric::POLICY_NAMES_MISSED, &[], report.names_missed + report.untold);
    page.count(&metric::POLICY_PARTIAL, &[], report.partial_workloads as u64);
    page.count(&metric::POLICY_ERRORS, &[], report.errors);
    page.count(&metric::POLICY_RELOADED, &[], report.problem.is_none().into());
    page.add(&metric::POLICY_RELOAD_TIME, &[], report.since.as_duration().as_secs_f64());
    page.count(&metric::POLICY_TRIAL, &[], report.trial.is_some().into());
    page.count(&metric::POLICY_WENT_BACK, &[], report.went_back);
    page.count(&metric::POLICY_CUT, &[], report.cuts.cut);
    for (reason, count) in report.cuts.uncut() {
        page.count(&metric::POLICY_UNCUT, &[reason], count);
    }
    if let Some(verified) = &report.verified {
        page.count(&metric::VERIFIED, &[], verified.verified.into());
        let last = verified.verified_at.map(|at| at.as_duration().as_secs_f64());
        page.add(&metric::VERIFIED_TIME, &[], last.unwrap_or_default());
        page.count(&metric::FOREIGN, &[], verified.foreign as u64);
        if let Some(tried) = &verified.tried {
            for outcome in TriedOutcome::ALL {
                page.count(&metric::CANARIES, &[outcome.name()], (outcome == tried.outcome).into());
            }
            let last = tried.right_at.map(|at| at.as_duration().as_secs_f64());
            page.add(&metric::CANARIES_TIME, &[], last.unwrap_or_default());
        }
    }
    for what in What::MENDABLE {
        page.count(
            &metric::MENDED,
            &[what.name()],
            report.mended.counts.get(&what).copied().unwrap_or_default(),
        );
    }
}
