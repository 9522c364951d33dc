//! How much an edge carries against its own history, and how much leaves to the outside.

use super::{
    book::Finding,
    gain::Gain,
    hours::Hours,
    novelty::World,
    subject::{Peer, Subject},
    words,
};
use crate::event::{AlertKind, Severity};

/// Fewer bytes than this within an hour are never much between two workloads.
const BYTES: u64 = 100_000_000;
/// Nor are fewer connections.
const ATTEMPTS: u64 = 1_000;
/// Nor fewer bytes to the outside within an hour, or within a day.
const LEAVING: u64 = 20_000_000;

/// More than is usual: how much, over which span, and how much is usual in the middle.
struct Much {
    amount: u64,
    span: &'static str,
    middle: u64,
}

fn hourly(hours: &Hours, least: u64) -> Option<Much> {
    let (now, usual) = (hours.now(), hours.usual());
    let most = usual.hour?.max(least);
    (now > most).then_some(Much { amount: now, span: "hour", middle: usual.middle })
}

fn daily(hours: &Hours, least: u64) -> Option<Much> {
    let (day, usual) = (hours.day(), hours.usual());
    let most = usual.day?.max(least);
    (day > most).then_some(Much { amount: day, span: "day", middle: usual.middle_day })
}

/// What goes to a peer that is not normal has no history: it is much by itself.
fn strange(hours: &Hours) -> Option<Much> {
    let (now, day) = (hours.now(), hours.day());
    if now > LEAVING {
        return Some(Much { amount: now, span: "hour", middle: 0 });
    }
    (day > LEAVING).then_some(Much { amount: day, span: "day", middle: 0 })
}

impl World<'_> {
    /// What is far more than usual between a workload and a peer.
    pub(super) fn amounts(&self, name: &str, subject: &Subject, gain: &Gain) -> Vec<Finding> {
        let Some(peer) = subject.peers.get(&gain.peer) else { return Vec::new() };
        if subject.is_young(self.now, self.settings) {
            return Vec::new();
        }
        let volume = if gain.is_outside() {
            self.leaving(name, subject, peer, gain)
        } else {
            hourly(&peer.bytes, BYTES).filter(|_| peer.learned).map(|much| {
                let what = format!("{} and {} exchanged", gain.source, gain.target);
                self.much(name, gain, "bytes", &much, &what, words::bytes)
            })
        };
        let attempts = hourly(&peer.attempts, ATTEMPTS).filter(|_| peer.learned).map(|much| {
            let what = format!("{} tried to connect to {}", gain.source, gain.target);
            self.much(name, gain, "attempts", &much, &what, words::times)
        });
        volume.into_iter().chain(attempts).collect()
    }

    fn much(
        &self,
        name: &str,
        gain: &Gain,
        measure: &str,
        much: &Much,
        what: &str,
        say: fn(u64) -> String,
    ) -> Finding {
        let Much { amount, span, middle } = much;
        Finding {
            subject: name.to_owned(),
            kind: AlertKind::Volume,
            severity: Severity::Warning,
            source: gain.source.clone(),
            target: Some(gain.target.clone()),
            service: None,
            about: format!("{} {measure}", gain.peer),
            level: *amount,
            sentence: format!("{what} {} within an {span}; {} are usual", say(*amount), say(*middle)),
        }
    }

    fn leaving(&self, name: &str, subject: &Subject, peer: &Peer, gain: &Gain) -> Option<Finding> {
        // A roamer sends a little to many: all of it together is what may be much.
        let (much, to, severity) = if peer.learned {
            let much = hourly(&peer.bytes, LEAVING).or_else(|| daily(&peer.bytes, LEAVING));
            (much, Some(gain), Severity::Warning)
        } else {
            (strange(&peer.bytes), Some(gain), Severity::Critical)
        };
        let all = || hourly(&subject.left, LEAVING).or_else(|| daily(&subject.left, LEAVING));
        let (much, to, severity) = match much {
            Some(much) => (much, to, severity),
            None => (all()?, None, Severity::Warning),
        };
        let whom = to.map_or_else(|| "the outside".to_owned(), |gain| gain.target.to_string());
        let usual = match (much.middle, peer.learned) {
            (0, false) => "it was never normal that it talks there".to_owned(),
            (middle, _) => format!("{} are usual", words::bytes(middle)),
        };
        Some(Finding {
            subject: name.to_owned(),
            kind: AlertKind::Exfiltration,
            severity,
            source: gain.source.clone(),
            target: to.map(|gain| gain.target.clone()),
            service: None,
            about: to.map_or_else(String::new, |gain| gain.peer.clone()),
            level: much.amount,
            sentence: format!(
                "{} sent {} to {whom} within {} {}; {usual}",
                gain.source,
                words::bytes(much.amount),
                if much.span == "hour" { "an" } else { "a" },
                much.span
            ),
        })
    }
}
