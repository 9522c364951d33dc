//! What one set of policies changes against another: who gets another verdict towards whom, at which ports, by which
//! rule. Pure.
//!
//! Nothing is tried port by port: of each pair the intervals of both plans are laid beside each other, so that the answer
//! is about all protocols and ports. Workloads that neither plan tells apart are looked at once.

mod differences;

mod parties;

mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cofferdam_common::policy::{EGRESS, Judgement, service, why};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::parties::{Group, Parties};
use self::{
    differences::{Difference, Reason, Spans, both, differences},
    parties::{Class, Classes},
    words::in_words,
};
use super::{
    Plan, RuleInfo, TooLarge,
    decide::verdict,
    explain::{End, Why},
    judge::{Party, judge_ends},
    model::Direction,
};
use crate::event::Verdict;

/// Most changes that are told.
pub const MOST_CHANGES: usize = 500;
/// Most pairs of classes that are looked at.
const MOST_PAIRS: usize = 500_000;
/// Most combinations of spans of which the differences are remembered.
const MOST_KNOWN: usize = 65_536;
/// Most changes of single pairs that are kept while they are folded.
const MOST_FOUND: usize = 500_000;

/// What changes.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Comparison {
    /// The changes: first what was seen on the map, then what becomes stricter.
    pub changes: Vec<Change>,
    /// Changes beyond [`MOST_CHANGES`].
    pub left_out: usize,
    /// Pairs of workloads, or of groups of those that no rule tells apart, that were not looked at: there are too many.
    pub not_compared: usize,
}

/// Some who get another verdict towards others.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Change {
    /// Who sends.
    pub source: Group,
    /// To whom.
    pub target: Group,
    /// At which protocols and ports of the target, in words: `tcp/5432`, `all but udp/53`.
    pub services: Vec<String>,
    /// How many more services there are.
    pub services_left_out: usize,
    /// What comes of it now.
    pub before: Decided,
    /// What would come of it.
    pub after: Decided,
    /// What was seen of it; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
}

/// A verdict, and where it is from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Decided {
    /// The verdict.
    pub verdict: Verdict,
    /// Why.
    pub why: Why,
    /// Of which end.
    pub direction: Direction,
    /// The rule that decides, where one does.
    pub rule: Option<RuleInfo>,
}

/// What was seen of an interaction.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Seen {
    /// How often it was begun, or denied.
    pub attempts: u64,
    /// When last.
    pub last: Timestamp,
}

/// An interaction of the map.
#[derive(Clone, Copy, Debug)]
pub struct Lane<'a> {
    /// Who began it.
    pub source: End<'a>,
    /// With whom.
    pub target: End<'a>,
    /// Protocol by its number in the IP header, and the server's port.
    pub service: (u8, u16),
    /// What was seen.
    pub seen: Seen,
}

/// Compares what holds between all of `parties`, of which `lanes` were seen.
///
/// # Errors
/// The policies and these workloads are more than there is room for.
pub fn compare(
    before: &mut Plan,
    after: &mut Plan,
    parties: Parties,
    lanes: &[Lane<'_>],
) -> Result<Comparison, TooLarge> {
    compare_some(before, after, parties, lanes, MOST_PAIRS)
}

fn compare_some(
    before: &mut Plan,
    after: &mut Plan,
    parties: Parties,
    lanes: &[Lane<'_>],
    most_pairs: usize,
) -> Result<Comparison, TooLarge> {
    let classes = Classes::new(before, after, parties, lanes)?;
    let mut comparing =
        Comparing { before, after, known: HashMap::new(), differences: Vec::new(), numbers: HashMap::new() };
    let mut sources = BTreeMap::<(usize, usize), BTreeSet<usize>>::new();
    let mut seen = HashMap::<(usize, usize, usize), Seen>::new();
    let mut by_pair = BTreeMap::<(usize, usize), Vec<&Lane<'_>>>::new();
    for lane in lanes {
        if let Some(pair) = classes.of(&lane.source).zip(classes.of(&lane.target)) {
            by_pair.entry(pair).or_default().push(lane);
        }
    }
    let (mut looked_at, mut found) = (0, 0);
    let unseen = classes.pairs().filter(|pair| !by_pair.contains_key(pair));
    for pair in by_pair.keys().copied().chain(unseen).take(most_pairs) {
        if found > MOST_FOUND {
            break;
        }
        looked_at += 1;
        let (source, target) = (classes.get(pair.0), classes.get(pair.1));
        let lanes = by_pair.get(&pair).map_or(&[][..], |lanes| lanes);
        for difference in comparing.between(source, target) {
            found += 1;
            sources.entry((difference, pair.1)).or_default().insert(pair.0);
            for lane in lanes.iter().filter(|lane| comparing.is_about(difference, lane)) {
                let key = (difference, pair.0, pair.1);
                seen.entry(key).and_modify(|seen| seen.add(lane.seen)).or_insert(lane.seen);
            }
        }
    }
    // Those who change alike towards the same, and then those towards whom the same change alike.
    let mut folded = BTreeMap::<(usize, BTreeSet<usize>), BTreeSet<usize>>::new();
    for ((difference, target), sources) in sources {
        folded.entry((difference, sources)).or_default().insert(target);
    }
    let changes = folded.into_iter().map(|((difference, sources), targets)| {
        let pairs = sources.iter().flat_map(|source| targets.iter().map(|target| (*source, *target)));
        let all = pairs.filter_map(|(source, target)| seen.get(&(difference, source, target)).copied());
        let seen = all.reduce(|mut sum, more| {
            sum.add(more);
            sum
        });
        comparing.change(difference, classes.group(&sources), classes.group(&targets), seen)
    });
    let mut changes: Vec<_> = changes.collect();
    changes.sort_by_cached_key(Change::rank);
    let left_out = changes.len().saturating_sub(MOST_CHANGES);
    changes.truncate(MOST_CHANGES);
    // Who was seen only with himself is in no pair.
    let seen_alone = by_pair.keys().filter(|pair| !classes.is_pair(**pair)).count();
    let not_compared = (classes.count_of_pairs() + seen_alone).saturating_sub(looked_at);
    Ok(Comparison { changes, left_out, not_compared })
}

struct Comparing<'a> {
    before: &'a Plan,
    after: &'a Plan,
    /// Differences between what holds before and after. Equal spans are in one place.
    known: HashMap<[Spans; 2], Vec<usize>>,
    differences: Vec<Difference>,
    numbers: HashMap<Difference, usize>,
}

impl Comparing<'_> {
    /// Which differences there are between two classes.
    fn between(&mut self, source: &Class, target: &Class) -> Vec<usize> {
        let spans = [(self.before, 0), (self.after, 1)].map(|(plan, which): (&Plan, usize)| {
            Spans::between(plan, &source.parties[which], &target.parties[which])
        });
        if let Some(known) = self.known.get(&spans) {
            return known.clone();
        }
        let found = differences(self.before, self.after, &spans);
        let found: Vec<_> = found.into_iter().map(|difference| self.number(difference)).collect();
        if self.known.len() < MOST_KNOWN {
            self.known.insert(spans, found.clone());
        }
        found
    }

    fn number(&mut self, difference: Difference) -> usize {
        let Self { differences, numbers, .. } = self;
        *numbers.entry(difference).or_insert_with_key(|difference| {
            differences.push(difference.clone());
            differences.len() - 1
        })
    }

    fn is_about(&self, difference: usize, lane: &Lane<'_>) -> bool {
        let service = service(lane.service.0, lane.service.1);
        let ranges = self.differences.get(difference).map_or(&[][..], |difference| &difference.ranges);
        ranges.iter().any(|(first, last)| (*first..=*last).contains(&service))
    }

    fn change(&self, difference: usize, source: Group, target: Group, seen: Option<Seen>) -> Change {
        let Difference { before, after, ranges } = &self.differences[difference];
        let (services, services_left_out) = in_words(ranges);
        let (before, after) = (Decided::of(self.before, *before), Decided::of(self.after, *after));
        Change { source, target, services, services_left_out, before, after, seen }
    }
}

impl Decided {
    fn of(plan: &Plan, reason: Reason) -> Self {
        Self {
            verdict: verdict(reason.verdict),
            why: match reason.why {
                why::RULE => Why::Rule,
                why::NOT_ALLOWED => Why::NotAllowed,
                _ => Why::Default,
            },
            direction: if reason.direction == EGRESS { Direction::Egress } else { Direction::Ingress },
            rule: plan.rule(reason.rule),
        }
    }
}

/// What a plan decides of one interaction.
///
/// # Errors
/// There is no room for whoever is at one of its ends.
pub fn decide(
    plan: &mut Plan,
    source: End<'_>,
    target: End<'_>,
    packet: (u8, u16),
) -> Result<Decided, TooLarge> {
    let [sends, receives] = judge_both(plan, source, target, packet)?;
    Ok(Decided::of(plan, Reason::of(both(sends, receives))))
}

/// What a plan decides of one interaction at each of its ends: whether the source may send, and whether the target may receive.
///
/// # Errors
/// There is no room for whoever is at one of its ends.
pub fn decide_ends(
    plan: &mut Plan,
    source: End<'_>,
    target: End<'_>,
    packet: (u8, u16),
) -> Result<[Decided; 2], TooLarge> {
    let judgements = judge_both(plan, source, target, packet)?;
    Ok(judgements.map(|judgement| Decided::of(plan, Reason::of(judgement))))
}

fn judge_both(
    plan: &mut Plan,
    source: End<'_>,
    target: End<'_>,
    (protocol, port): (u8, u16),
) -> Result<[Judgement; 2], TooLarge> {
    let (source, target) = (Party::of(&source, plan)?, Party::of(&target, plan)?);
    Ok(judge_ends(plan, &source, &target, service(protocol, port)))
}

impl Change {
    /// What is to be told first.
    fn rank(&self) -> impl Ord + use<> {
        let stricter = self.after.verdict > self.before.verdict;
        (self.seen.is_none(), !stricter, self.source.label(), self.target.label())
    }
}

impl Seen {
    fn add(&mut self, more: Self) {
        self.attempts += more.attempts;
        self.last = self.last.max(more.last);
    }
}

#[cfg(test)]
mod tests;
