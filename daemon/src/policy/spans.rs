//! Spans: what entries say of services, as intervals; equal spans are kept once.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map::Entry},
    hash::{BuildHasher, RandomState},
    ops::RangeInclusive,
};

use cofferdam_common::{
    network::{PROTOCOL_ICMP, PROTOCOL_ICMPV6},
    policy::{Interval, RULE_NONE, Span, service},
};

use super::{
    decide::{Matches, Stand},
    limits::{Limit, TooLarge},
    model::{Protocol, Services},
    rules::Rules,
};

/// The greatest service that there is.
const LAST: u32 = service(u8::MAX, u16::MAX);

/// All intervals of a plan.
#[derive(Debug, Default)]
pub(super) struct Spans {
    intervals: Vec<Interval>,
    /// Spans by the hash of their intervals. Of those with one hash each has another second number.
    known: HashMap<(u64, u32), Span>,
    hasher: RandomState,
    /// What was added since [`Spans::begin`].
    added: Vec<(u64, u32)>,
}

impl Spans {
    pub(super) fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    /// How many different ones there are.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// What is added from here on can be taken back.
    pub(super) fn begin(&mut self) {
        self.added.clear();
    }

    /// Takes back what was added since [`Spans::begin`].
    pub(super) fn take_back(&mut self) {
        for key in self.added.drain(..).rev() {
            if let Some(span) = self.known.remove(&key) {
                self.intervals.truncate(span.start as usize);
            }
        }
    }

    /// Where these intervals are; they are added if they are nowhere yet, and there is `room` for so many of all spans.
    pub(super) fn place(&mut self, intervals: &[Interval], room: usize) -> Result<Span, TooLarge> {
        if intervals.is_empty() {
            return Ok(Span::default());
        }
        Limit::SpanIntervals.check(intervals.len())?;
        let hash = self.hasher.hash_one(intervals);
        for collision in 0.. {
            match self.known.entry((hash, collision)) {
                Entry::Occupied(known) => {
                    let Span { start, length } = *known.get();
                    if &self.intervals[start as usize..][..length as usize] == intervals {
                        return Ok(*known.get());
                    }
                }
                Entry::Vacant(vacant) => {
                    Limit::Intervals.within(room, self.intervals.len() + intervals.len())?;
                    let span = Span { start: self.intervals.len() as u32, length: intervals.len() as u32 };
                    self.intervals.extend_from_slice(intervals);
                    self.added.push((hash, collision));
                    return Ok(*vacant.insert(span));
                }
            }
        }
        // More than four thousand million spans with one hash.
        Err(TooLarge::new(Limit::Intervals, usize::MAX))
    }
}

/// Services that an entry is about.
struct Claim {
    first: u32,
    last: u32,
    /// Where in [`Matches`] it counts.
    at: (usize, usize),
    rule: u32,
}

/// What holds for a subject towards a peer that these entries are about. Nothing where all is allowed and no rule says
/// so.
pub(super) fn intervals(rules: &Rules, stand: &Stand, entries: impl Iterator<Item = u32>) -> Vec<Interval> {
    if stand.is_free() {
        return Vec::new();
    }
    let mut claims = Vec::new();
    for entry in entries {
        let rule = rules.entry(entry).rule;
        let at = (rules.rule(rule).mode as usize, rules.entry(entry).verdict as usize);
        let services = rules.written_entry(entry).services.iter();
        claims.extend(services.flat_map(ranges).map(|range| Claim {
            first: *range.start(),
            last: *range.end(),
            at,
            rule,
        }));
    }
    claims.sort_unstable_by_key(|claim| claim.first);
    let ends = claims.iter().filter(|claim| claim.last < LAST).map(|claim| claim.last + 1);
    let mut cuts: Vec<u32> =
        [0].into_iter().chain(claims.iter().map(|claim| claim.first)).chain(ends).collect();
    cuts.sort_unstable();
    cuts.dedup();

    // The claims that hold at a cut, and some that ended before: those go when they come up.
    let mut open = [const { [const { BinaryHeap::<Reverse<(u32, u32)>>::new() }; 3] }; 2];
    let mut waiting = claims.into_iter().peekable();
    let mut found = Vec::<Interval>::new();
    for cut in cuts {
        while let Some(Claim { last, at: (mode, verdict), rule, .. }) =
            waiting.next_if(|claim| claim.first <= cut)
        {
            open[mode][verdict].push(Reverse((rule, last)));
        }
        let matches: Matches = open.each_mut().map(|by_verdict| {
            by_verdict.each_mut().map(|heap| {
                while heap.peek().is_some_and(|Reverse((_, last))| *last < cut) {
                    heap.pop();
                }
                heap.peek().map(|Reverse((rule, _))| *rule)
            })
        });
        let decision = stand.decide(&matches);
        let rule = decision.rule.map_or(RULE_NONE, |index| rules.rule(index).number);
        let interval =
            Interval { first: cut, rule, verdict: decision.verdict, why: decision.why, padding: 0 };
        if found.last().is_none_or(|last| Interval { first: cut, ..*last } != interval) {
            found.push(interval);
        }
    }
    found
}

/// The services, as ranges of [`service`].
pub(super) fn ranges(services: &Services) -> impl Iterator<Item = RangeInclusive<u32>> {
    let (first, last) = services.ports;
    let protocols: Vec<RangeInclusive<u8>> = match services.protocol {
        // One range, since the ports of a protocol come right after those of the one before it.
        Protocol::Any if services.ports == (0, u16::MAX) => vec![0..=u8::MAX],
        Protocol::Any => (0..=u8::MAX).map(|protocol| protocol..=protocol).collect(),
        Protocol::Icmp => vec![PROTOCOL_ICMP..=PROTOCOL_ICMP, PROTOCOL_ICMPV6..=PROTOCOL_ICMPV6],
        Protocol::Number(protocol) => vec![protocol..=protocol],
    };
    protocols.into_iter().map(move |some| service(*some.start(), first)..=service(*some.end(), last))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 10_000;

    #[test]
    fn equal_spans_are_kept_once_and_an_empty_one_nowhere() {
        let mut spans = Spans::default();
        let one = [Interval { verdict: 1, ..Interval::default() }];
        let two = [one[0], Interval { first: 80, verdict: 3, ..Interval::default() }];
        assert_eq!(spans.place(&[], ROOM), Ok(Span::default()));
        assert_eq!(spans.place(&one, ROOM), Ok(Span { start: 0, length: 1 }));
        assert_eq!(spans.place(&two, ROOM), Ok(Span { start: 1, length: 2 }));
        assert_eq!(spans.place(&one, ROOM), Ok(Span { start: 0, length: 1 }));
        assert_eq!((spans.len(), spans.intervals().len()), (2, 3));
    }

    #[test]
    fn what_is_taken_back_takes_no_room_and_what_was_there_before_stays() {
        let mut spans = Spans::default();
        let of = |rule| [Interval { rule, ..Interval::default() }];
        let kept = spans.place(&of(1), ROOM).unwrap();
        spans.begin();
        spans.place(&of(2), ROOM).unwrap();
        spans.place(&of(1), ROOM).unwrap();
        let full = spans.place(&of(3), 2).unwrap_err();
        assert_eq!((full.limit, full.needed, full.room), (Limit::Intervals, 3, 2));
        spans.take_back();
        assert_eq!((spans.len(), spans.intervals().len()), (1, 1));
        assert_eq!(spans.place(&of(1), ROOM), Ok(kept));
        assert_eq!(spans.place(&of(3), 2), Ok(Span { start: 1, length: 1 }));
    }

    #[test]
    fn a_span_that_is_too_long_is_refused_with_the_figures() {
        let intervals = vec![Interval::default(); 4_097];
        let error = Spans::default().place(&intervals, ROOM).unwrap_err();
        assert_eq!(
            error.to_string(),
            "there can be room for 4096 intervals of ports between two identities, and the policies need 4097 or more"
        );
    }

    #[test]
    fn everything_is_one_range_and_a_port_of_all_protocols_is_one_for_each() {
        assert_eq!(ranges(&Services::ALL).collect::<Vec<_>>(), [0..=LAST]);
        assert_eq!(ranges(&Services { protocol: Protocol::Any, ports: (53, 53) }).count(), 256);
        let icmp = Services { protocol: Protocol::Icmp, ports: (0, u16::MAX) };
        assert_eq!(ranges(&icmp).collect::<Vec<_>>(), [0x1_0000..=0x1_ffff, 0x3a_0000..=0x3a_ffff]);
    }
}
