//! Where two plans differ on one pair: the intervals of both are laid beside each other.

use std::collections::BTreeMap;

use cofferdam_common::{
    network::VERDICT_ALLOW,
    policy::{EGRESS, INGRESS, Identity, Interval, Judgement, PairKey, RULE_NONE, Span, Tables as _},
};

use super::words;
use crate::policy::{Plan, judge::Party};

/// Two verdicts that differ, and the ranges of services where they do.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Difference {
    pub(super) before: Reason,
    pub(super) after: Reason,
    pub(super) ranges: Vec<(u32, u32)>,
}

/// A judgement, to be told from others.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Reason {
    pub(super) verdict: u8,
    pub(super) why: u8,
    pub(super) direction: u8,
    pub(super) rule: u32,
}

/// What holds between two by one plan.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Spans {
    /// For the source, towards the target's address or whoever it is.
    sends: Span,
    /// For the source, towards each of the target's names.
    by_name: Box<[Span]>,
    /// For the target.
    receives: Span,
}

impl Spans {
    pub(super) fn between(plan: &Plan, source: &Party, target: &Party) -> Self {
        let sends = |peer| span(plan, EGRESS, source.identity, peer);
        Self {
            sends: sends(target.identity),
            by_name: target.by_name.iter().map(|identity| sends(*identity)).collect(),
            receives: span(plan, INGRESS, target.identity, source.identity),
        }
    }
}

/// What holds for a subject towards a peer.
fn span(plan: &Plan, direction: u8, subject: Identity, peer: Identity) -> Span {
    let any = plan.subject(0, subject).map(|subject| subject.any[usize::from(direction)]);
    plan.pair(&PairKey { subject, peer, direction, slot: 0, padding: 0 }).or(any).unwrap_or_default()
}

/// The intervals of a span, looked through from the first service to the last.
struct Walk<'a> {
    intervals: &'a [Interval],
    at: usize,
    direction: u8,
}

impl<'a> Walk<'a> {
    fn new(plan: &'a Plan, Span { start, length }: Span, direction: u8) -> Self {
        Self { intervals: &plan.intervals()[start as usize..][..length as usize], at: 0, direction }
    }

    /// What holds for a service, which is none before the last that was asked for.
    fn judge(&mut self, service: u32) -> Judgement {
        while self.intervals.get(self.at + 1).is_some_and(|next| next.first <= service) {
            self.at += 1;
        }
        let allowed = Judgement { direction: self.direction, ..Judgement::ALLOW };
        self.intervals.get(self.at).map_or(allowed, |it| Judgement {
            rule: it.rule,
            verdict: it.verdict,
            why: it.why,
            ..allowed
        })
    }
}

/// The same of all spans between two.
struct Walks<'a> {
    sends: Walk<'a>,
    by_name: Vec<Walk<'a>>,
    receives: Walk<'a>,
}

impl<'a> Walks<'a> {
    fn new(plan: &'a Plan, spans: &Spans) -> Self {
        Self {
            sends: Walk::new(plan, spans.sends, EGRESS),
            by_name: spans.by_name.iter().map(|span| Walk::new(plan, *span, EGRESS)).collect(),
            receives: Walk::new(plan, spans.receives, INGRESS),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Walk<'a>> {
        [&self.sends, &self.receives].into_iter().chain(&self.by_name)
    }

    fn judge(&mut self, service: u32) -> Judgement {
        let names = self.by_name.iter_mut().map(|walk| walk.judge(service));
        both(self.sends.judge(service).or_by_names(names), self.receives.judge(service))
    }
}

/// Where the verdicts before and after differ.
pub(super) fn differences(before: &Plan, after: &Plan, [one, two]: &[Spans; 2]) -> Vec<Difference> {
    let (mut before, mut after) = (Walks::new(before, one), Walks::new(after, two));
    let firsts = before.all().chain(after.all()).flat_map(|walk| walk.intervals.iter().map(|it| it.first));
    let mut cuts: Vec<u32> = [0].into_iter().chain(firsts).collect();
    cuts.sort_unstable();
    cuts.dedup();
    let mut found = BTreeMap::<(Reason, Reason), Vec<(u32, u32)>>::new();
    for (nth, first) in cuts.iter().copied().enumerate() {
        let last = cuts.get(nth + 1).map_or(words::LAST, |next| next - 1);
        let (before, after) = (before.judge(first), after.judge(first));
        if before.verdict == after.verdict {
            continue;
        }
        let ranges = found.entry((Reason::of(before), Reason::of(after))).or_default();
        match ranges.last_mut().filter(|range| range.1 + 1 == first) {
            Some(range) => range.1 = last,
            None => ranges.push((first, last)),
        }
    }
    let difference = |((before, after), ranges)| Difference { before, after, ranges };
    found.into_iter().map(difference).collect()
}

/// What comes of both ends. As the kernel has it, but that of what nothing speaks against the rule is named which allows
/// it, if there is one.
pub(super) fn both(sends: Judgement, receives: Judgement) -> Judgement {
    let stricter = sends.and(receives);
    if stricter.verdict == VERDICT_ALLOW && sends.rule == RULE_NONE { receives } else { stricter }
}

impl Reason {
    pub(super) fn of(judgement: Judgement) -> Self {
        let Judgement { rule, verdict, why, direction, .. } = judgement;
        Self { verdict, why, direction, rule }
    }
}
