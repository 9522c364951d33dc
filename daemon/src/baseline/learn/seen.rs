//! What was seen, summed up over containers that come and go: interactions between sides.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

use super::{
    Options,
    side::{Side, Untold, is_group},
};
use crate::{
    baseline::words::counted,
    event::{Protocol, Workload, WorkloadKind},
    history::Past,
    interaction::Edge,
};

/// What was seen of something.
#[derive(Clone, Debug, Default)]
pub(super) struct Sum {
    /// How often it was begun, or denied; once where it only went on.
    pub(super) attempts: u64,
    /// Of these, those that were denied.
    denied: u64,
    /// Whether it ever opened.
    opened: bool,
    /// Most days on which one of those that it is made of was seen.
    days: u64,
    /// Days that are known: the first and the last of each.
    dates: BTreeSet<Date>,
    /// When it was seen first and last.
    span: Option<(Timestamp, Timestamp)>,
}

/// An interaction that is told of, with its port at the target.
pub(super) type Key = (Side, Side, Protocol, u16);

/// What was seen, and who is to be in rules.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) interactions: BTreeMap<Key, Sum>,
    /// Who goes by what he is called, for he is no side.
    pub(super) untold: BTreeMap<(String, String, String, Untold), Sum>,
    /// Whom rules are to be about.
    pub(super) subjects: BTreeSet<Side>,
}

impl Seen {
    /// Of what concerns those whom rules are to be about.
    pub(super) fn of(past: &[Past], options: &Options) -> Self {
        let mut seen = Self::default();
        for past in past {
            let Edge { source, target, protocol, port, .. } = &past.edge;
            let ends = [source, target];
            if !ends.into_iter().any(|end| options.is_about(end)) {
                continue;
            }
            let sides = ends.map(|end| Side::of(end));
            for (end, side) in ends.into_iter().zip(&sides) {
                if let Ok(side) = side
                    && options.is_about(end)
                {
                    seen.subjects.insert(side.clone());
                }
            }
            let service = match protocol.number() {
                None => Err(Untold::Many),
                // No rule can name it.
                Some(_) if protocol.has_ports() && *port == 0 => Err(Untold::Unsayable),
                Some(_) => Ok((*protocol, *port)),
            };
            let [source_side, target_side] = sides;
            let sum = match (source_side, target_side, service) {
                (Ok(source), Ok(target), Ok((protocol, port))) => {
                    seen.interactions.entry((source, target, protocol, port)).or_default()
                }
                (Err(why), ..) | (_, Err(why), _) | (.., Err(why)) => {
                    let key = (source.to_string(), target.to_string(), protocol.service(*port), why);
                    seen.untold.entry(key).or_default()
                }
            };
            sum.add(&Sum::of(past));
        }
        seen
    }
}

impl Options {
    /// Whether rules are to be about a workload: about containers, unless others were chosen. The host itself is left alone, so
    /// that nobody locks himself out.
    fn is_about(&self, workload: &Workload) -> bool {
        if self.of.is_empty() {
            return workload.kind == WorkloadKind::Container;
        }
        workload.kind != WorkloadKind::Host && self.of.iter().any(|selector| selector.selects(workload))
    }
}

impl Sum {
    pub(super) fn of(past: &Past) -> Self {
        let Past { edge, days, .. } = past;
        let date = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        Self {
            attempts: edge.attempts.saturating_add(edge.verdicts.deny).max(1),
            denied: edge.verdicts.deny,
            opened: is_open(edge),
            days: *days,
            dates: [date(edge.first_seen), date(edge.last_seen)].into(),
            span: Some((edge.first_seen, edge.last_seen)),
        }
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.attempts = self.attempts.saturating_add(more.attempts);
        self.denied = self.denied.saturating_add(more.denied);
        self.opened |= more.opened;
        self.days = self.days.max(more.days);
        self.dates.extend(&more.dates);
        self.span = match (self.span, more.span) {
            (Some(own), Some(other)) => Some((own.0.min(other.0), own.1.max(other.1))),
            (own, other) => own.or(other),
        };
    }

    /// Whether it ever opened.
    pub(super) fn is_open(&self) -> bool {
        self.opened
    }

    /// Whether nothing of it was let through.
    pub(super) fn is_denied(&self) -> bool {
        self.denied > 0 && self.denied == self.attempts
    }

    /// On how many days it was seen, at least: of several containers it is not known on which days each was.
    pub(super) fn days(&self) -> u64 {
        self.days.max(self.dates.len() as u64)
    }

    /// `seen 412 times on 3 days, first 2026-11-20, last 2026-11-26 10:02`, in UTC.
    pub(super) fn comment(&self) -> String {
        let times = counted(self.attempts, "time");
        let days = counted(self.days(), "day");
        let Some((first, last)) = self.span else { return format!("seen {times}") };
        let (first, last) = (first.strftime("%F"), last.strftime("%F %H:%M"));
        format!("seen {times} on {days}, first {first}, last {last}")
    }
}

/// Whether something ever came of it. What was open before is not begun any more, and goes on.
pub(in crate::baseline) fn is_open(edge: &Edge) -> bool {
    let goes_on =
        edge.attempts == 0 && edge.verdicts.deny == 0 && edge.packets_sent + edge.packets_received > 0;
    edge.flows > 0 || edge.bytes_received > 0 || goes_on || (edge.attempts > 0 && is_group(&edge.target))
}
