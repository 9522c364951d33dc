//! What is counted, and what of it becomes normal.

use std::collections::BTreeMap;

use super::{Detector, book::Kept, gain::Gain, names, novelty::Judged, subject::Subject};
use crate::event::{AlertKind, DnsAnswer, number};

impl Detector {
    /// Counts what came, of everybody: before it is judged, so that this turn counts too.
    pub(super) fn count(
        &mut self,
        gains: &BTreeMap<String, Vec<Gain>>,
        answers: &[DnsAnswer],
        now: i64,
        turn: i64,
    ) {
        let settings = self.settings;
        for (name, gains) in gains {
            for gain in gains {
                if names::is_subject(&gain.target) {
                    self.subject(&gain.peer, now).seen(now, &gain.target);
                }
                let subject = self.subject(name, now);
                subject.seen(now, &gain.source);
                subject.count(gain, now, turn, &settings);
            }
        }
        let mut asked = BTreeMap::<String, Vec<&DnsAnswer>>::new();
        for answer in answers.iter().filter(|answer| names::is_subject(&answer.workload)) {
            asked.entry(names::subject(&answer.workload)).or_default().push(answer);
        }
        for (name, mut answers) in asked {
            answers.sort_by(|a, b| (&a.name, &a.record_type).cmp(&(&b.name, &b.record_type)));
            let questions = &mut self.subject(&name, now).questions;
            answers.into_iter().for_each(|answer| questions.count(answer, now));
        }
    }

    fn subject(&mut self, name: &str, now: i64) -> &mut Subject {
        self.subjects.entry(name.to_owned()).or_insert_with(|| Subject::new(now))
    }

    /// Notes what was tried and is new, with whoever tried it and whom it reached.
    pub(super) fn note_tries(
        &mut self,
        gains: &BTreeMap<String, Vec<Gain>>,
        judged: &BTreeMap<String, Vec<Judged>>,
        now: i64,
    ) {
        for (name, gains) in gains {
            let each = judged.get(name).into_iter().flatten();
            for (gain, _) in gains.iter().zip(each).filter(|(_, judged)| judged.tried) {
                let inside = (!gain.is_outside()).then(|| number([gain.peer.as_str()]));
                if let Some(subject) = self.subjects.get_mut(name) {
                    subject.tries.add(gain.pair(), inside, gain.is_failing(), now);
                }
                let target = self.subjects.get_mut(&gain.peer).filter(|_| inside.is_some());
                if let Some(target) = target {
                    target.callers.add(name, now);
                }
            }
        }
    }

    /// Learns what is not strange, of whom nothing is open.
    pub(super) fn learn(
        &mut self,
        gains: &BTreeMap<String, Vec<Gain>>,
        judged: &BTreeMap<String, Vec<Judged>>,
        lossy: bool,
    ) {
        let now = self.clock;
        let suspects = self.book.suspects();
        for (name, subject) in &mut self.subjects {
            if lossy || suspects.contains(name) {
                subject.taint(now);
                continue;
            }
            let (Some(gains), Some(each)) = (gains.get(name), judged.get(name)) else { continue };
            for (gain, judged) in gains.iter().zip(each).filter(|(_, judged)| judged.learn) {
                subject.learn(&gain.peer, gain.service, now, judged.brought);
            }
        }
    }

    /// Learns what somebody said is normal.
    pub(super) fn accept(&mut self, kept: &Kept) {
        let (now, alert) = (self.clock, &kept.alert);
        if alert.kind == AlertKind::FanIn {
            for subject in self.subjects.values_mut() {
                subject.accept(&kept.subject, None, now);
            }
            return;
        }
        let Some(subject) = self.subjects.get_mut(&kept.subject) else { return };
        let service = alert.protocol.zip(alert.port);
        match alert.kind {
            AlertKind::NewEdge
            | AlertKind::NewService
            | AlertKind::NewDestination
            | AlertKind::Beacon
            | AlertKind::LongLived => subject.accept(&kept.about, service, now),
            AlertKind::FanOut => subject.tries.clear(),
            AlertKind::OddDns => subject.questions.trust(&kept.about, kept.level as usize, now),
            AlertKind::Volume | AlertKind::Exfiltration | AlertKind::FanIn => subject.trust(),
        }
    }
}
