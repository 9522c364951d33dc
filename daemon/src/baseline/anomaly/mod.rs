//! What is new or strange in who talks to whom: edges in, alerts out. No rules, no I/O: it learns what each workload does, and
//! warns of what it never did.
//!
//! A turn goes so: `gain` folds what came, `subject` counts it, `novelty`, `scan`, `amounts`, `regular` and `questions` judge it
//! against what is known, `book` keeps the alerts, and what is left is learned.

mod settings;

mod gain;

mod names;

mod words;

mod room;

mod subject;

mod hours;

mod tries;

mod callers;

mod rhythm;

mod questions;

mod novelty;

mod scan;

mod amounts;

mod regular;

mod odd;

mod book;

mod learn;

mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jiff::Timestamp;

use self::{
    book::{Book, Finding, Kept},
    gain::Gain,
    novelty::{Judged, World},
    settings::{DAY, HOUR},
    subject::{FORGET_EVERY, Subject},
};
pub use self::{
    settings::Settings,
    state::{KeptAlerts, Left, State, StateError},
};
use crate::{
    event::{Acknowledgement, Alert, AlertKind, DnsAnswer},
    interaction::Edge,
};

/// Workloads that are known. Of more, the one that was silent longest is forgotten.
const SUBJECTS: usize = 2_000;
/// Peers of all of them together.
const PEERS: usize = 10_000;

/// What has happened since the last turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn<'a> {
    /// When it is.
    pub now: Timestamp,
    /// What each edge gained since the last turn, and no more: attempts, flows, bytes, packets, failures, verdicts.
    pub gained: &'a [Edge],
    /// Answers of the DNS since the last turn.
    pub answers: &'a [DnsAnswer],
    /// Whether so much was lost meanwhile that nothing may be learned of what is left.
    pub lossy: bool,
}

/// Learns what is normal, and tells what is not.
#[derive(Debug, Default)]
pub struct Detector {
    settings: Settings,
    subjects: BTreeMap<String, Subject>,
    book: Book,
    /// When the last turn was, in seconds since the epoch. A clock that is set back stands still meanwhile.
    clock: i64,
    forgot: i64,
}

impl Detector {
    /// Knows nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Changes the settings, and keeps what is known.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Takes a turn in. What it returns is to be told: alerts that opened, that go on (not more often than each ten minutes),
    /// that got worse, and that are resolved.
    pub fn turn(&mut self, turn: &Turn<'_>) -> Vec<Alert> {
        let now = turn.now.as_second().max(self.clock);
        let length = if self.clock == 0 { 1 } else { (now - self.clock).clamp(1, HOUR) };
        self.clock = now;
        if !self.settings.enabled {
            return self.book.end_all(self.told_at(turn.now));
        }
        let gains = gain::fold(turn.gained);
        self.count(&gains, turn.answers, now, length);
        let (findings, judged) = self.judge(&gains, now, length);
        let told = self.tell(findings, turn.now);
        self.learn(&gains, &judged, turn.lossy);
        self.forget(now);
        told
    }

    /// All alerts that are kept: open, acknowledged, and those that were resolved within the last week.
    #[must_use]
    pub fn alerts(&self) -> Vec<Alert> {
        self.book.alerts()
    }

    /// What an alert is about is normal from now on. None if there is no such alert.
    pub fn acknowledge(&mut self, id: &str, ack: Acknowledgement) -> Option<Alert> {
        let kept = self.book.acknowledge(id, ack)?;
        self.accept(&kept);
        Some(kept.alert)
    }

    /// Judges what each workload gained, in the order of their names.
    fn judge(
        &mut self,
        gains: &BTreeMap<String, Vec<Gain>>,
        now: i64,
        turn: i64,
    ) -> (Vec<Finding>, BTreeMap<String, Vec<Judged>>) {
        let settings = self.settings;
        let mut findings = Vec::new();
        let mut judged = BTreeMap::new();
        let world = World { subjects: &self.subjects, settings: &settings, now, turn };
        for (name, gains) in gains {
            let Some(subject) = world.subjects.get(name) else { continue };
            let mut each: Vec<Judged> = gains.iter().map(|gain| world.judge(name, subject, gain)).collect();
            findings.extend(each.iter_mut().filter_map(|judged| judged.finding.take()));
            for gain in gains {
                findings.extend(world.amounts(name, subject, gain));
                findings.extend(world.regular(name, subject, gain));
            }
            judged.insert(name.clone(), each);
        }
        self.note_tries(gains, &judged, now);
        let world = World { subjects: &self.subjects, settings: &settings, now, turn };
        for (name, gains) in gains {
            let (Some(subject), Some(each)) = (world.subjects.get(name), judged.get(name)) else { continue };
            let tried = || gains.iter().zip(each).filter(|(_, judged)| judged.tried).map(|(gain, _)| gain);
            let failing = tried().any(Gain::is_failing);
            findings.extend(tried().next().and_then(|gain| world.fan_out(name, subject, gain, failing)));
            findings.extend(tried().filter(|gain| !gain.is_outside()).filter_map(|gain| world.fan_in(gain)));
        }
        findings.extend(world.odd_questions());
        (findings, judged)
    }

    /// Keeps what was found; what is to be told of it. What is part of a scan is told as the scan.
    fn tell(&mut self, findings: Vec<Finding>, at: Timestamp) -> Vec<Alert> {
        let at = self.told_at(at);
        let (wide, single): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|one| matches!(one.kind, AlertKind::FanOut | AlertKind::FanIn));
        let mut told = Vec::new();
        for finding in wide {
            told.extend(self.book.raise(finding, at));
        }
        let (from, to) = (self.book.open(AlertKind::FanOut), self.book.open(AlertKind::FanIn));
        let is_part = |kind: AlertKind, subject: &str, about: &str| {
            let one = matches!(kind, AlertKind::NewEdge | AlertKind::NewService);
            one && (from.contains(subject) || to.contains(about))
        };
        told.extend(self.book.fold(at, |kept: &Kept| {
            let recent = at.as_second() - kept.alert.began.as_second() < DAY;
            recent && is_part(kept.alert.kind, &kept.subject, &kept.about)
        }));
        for finding in single {
            let told_already = finding.kind == AlertKind::Exfiltration
                && finding.about.is_empty()
                && self.book.tells_whither(&finding.subject);
            if !told_already && !is_part(finding.kind, &finding.subject, &finding.about) {
                told.extend(self.book.raise(finding, at));
            }
        }
        told.extend(self.book.resolve(at, &self.settings));
        told
    }

    /// The time of what is told: as the clock, never back.
    fn told_at(&self, now: Timestamp) -> Timestamp {
        now.max(Timestamp::from_second(self.clock).unwrap_or(now))
    }

    fn forget(&mut self, now: i64) {
        if now - self.forgot < FORGET_EVERY && self.subjects.len() <= SUBJECTS {
            return;
        }
        self.forgot = now;
        let forget = self.settings.forget();
        self.subjects.retain(|_, subject| now - subject.last < forget);
        for subject in self.subjects.values_mut() {
            subject.forget(now, &self.settings);
        }
        self.shrink();
    }

    /// Forgets who was silent longest, where there are too many.
    fn shrink(&mut self) {
        if self.subjects.len() > SUBJECTS {
            let mut all: Vec<_> = self.subjects.iter().map(|(name, one)| (one.last, name.clone())).collect();
            all.sort_unstable();
            for (_, name) in all.iter().take(self.subjects.len() - SUBJECTS) {
                self.subjects.remove(name);
            }
        }
        let count: usize = self.subjects.values().map(|subject| subject.peers.len()).sum();
        if count > PEERS {
            let of = |(name, one): (&String, &Subject)| -> Vec<(i64, String, String)> {
                one.peers.iter().map(|(peer, known)| (known.last, name.clone(), peer.clone())).collect()
            };
            let mut all: Vec<_> = self.subjects.iter().flat_map(of).collect();
            all.sort_unstable();
            for (_, name, peer) in all.into_iter().take(count - PEERS) {
                self.subjects.get_mut(&name).map(|subject| subject.peers.remove(&peer));
            }
        }
    }
}
