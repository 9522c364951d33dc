//! Beacons, and connections to the outside that go on for long: where the peer is not normal yet.

use super::{book::Finding, gain::Gain, novelty::World, subject::Subject, words};
use crate::event::{AlertKind, Severity};

impl World<'_> {
    /// What is as regular as a clock, or goes on, between a workload and a peer outside.
    pub(super) fn regular(&self, name: &str, subject: &Subject, gain: &Gain) -> Vec<Finding> {
        let Some(peer) = subject.peers.get(&gain.peer) else { return Vec::new() };
        let Some(rhythm) = &peer.rhythm else { return Vec::new() };
        if peer.is_old(self.now) || subject.is_young(self.now, self.settings) {
            return Vec::new();
        }
        let severity = match (peer.learned, subject.roams(self.now)) {
            (true, _) => Severity::Info,
            (false, true) => Severity::Warning,
            (false, false) => Severity::Critical,
        };
        let (source, target) = (&gain.source, &gain.target);
        let new = format!("which is new to it since {}", words::span(self.now - peer.since));
        let beat = rhythm.beats(self.turn).filter(|_| gain.tries > 0).map(|beat| {
            let (count, every) = (words::times(beat.count as u64), words::span(beat.every));
            let (off, over) = (words::span(beat.off), words::span(beat.over));
            let when = format!("{count} in {over}, every {every}, to within {off}");
            (
                AlertKind::Beacon,
                format!("{source} connects to {target}, {new}, as regularly as a clock: {when}"),
            )
        });
        let lasting = rhythm.lasts().filter(|_| gain.tries == 0).map(|lasted| {
            let lasted = words::span(lasted);
            (AlertKind::LongLived, format!("{source} has held a connection to {target}, {new}, for {lasted}"))
        });
        beat.into_iter()
            .chain(lasting)
            .map(|(kind, sentence)| Finding {
                subject: name.to_owned(),
                kind,
                severity,
                source: source.clone(),
                target: Some(target.clone()),
                service: Some(gain.service),
                about: gain.peer.clone(),
                level: 0,
                sentence,
            })
            .collect()
    }
}
