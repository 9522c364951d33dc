//! Whether whom a workload talks to is new to it, and whether a deploy explains that.

use std::collections::BTreeMap;

use super::{
    book::Finding,
    gain::Gain,
    names,
    settings::{DAY, Settings},
    subject::{Peer, Subject},
    words,
};
use crate::{
    alert::{AlertKind, Severity},
    event::WorkloadKind,
};

/// For how long an image must have done without an edge, that the edge is beyond doubt.
const SURE: i64 = 3 * DAY;

/// All that is known, as it was before the turn is learned.
pub(super) struct World<'a> {
    pub(super) subjects: &'a BTreeMap<String, Subject>,
    pub(super) settings: &'a Settings,
    pub(super) now: i64,
    /// How long turns are, in seconds.
    pub(super) turn: i64,
}

/// What is to be done with what a turn brought.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Whether it is learned, unless something else forbids it.
    pub(super) learn: bool,
    /// Whether a deploy brought it.
    pub(super) brought: bool,
    /// Whether it counts among what was tried and is new.
    pub(super) tried: bool,
    pub(super) finding: Option<Finding>,
}

/// Why something new is no wonder.
enum Reason {
    /// The workload's own image, or that of the target, changed so many seconds ago.
    Deployed(i64),
    /// The target is new itself.
    NewTarget,
    /// Another workload of the same image is known for just that.
    StandsIn(String),
}

impl World<'_> {
    /// Judges what a workload exchanged with a peer.
    pub(super) fn judge(&self, name: &str, subject: &Subject, gain: &Gain) -> Judged {
        let peer = subject.peers.get(&gain.peer);
        let known = peer.is_some_and(|peer| peer.knows(gain.service));
        // A known network that is tried address by address is a scan too.
        let nameless = gain.is_outside() && gain.target.dns_name.is_none() && gain.is_failing();
        let tried = (!known || nameless) && gain.tries > 0;
        if known || subject.is_young(self.now, self.settings) {
            return Judged { learn: true, tried, ..Judged::default() };
        }
        let nobody_there = gain.is_outside() && !gain.succeeded() && gain.denied == 0;
        let learned = peer.is_some_and(|peer| peer.learned);
        if nobody_there || (gain.is_outside() && !learned && subject.roams(self.now)) {
            return Judged { tried, ..Judged::default() };
        }
        let reason = self.reason(name, subject, gain, learned);
        let brought = reason.is_some() && gain.denied == 0;
        let finding = self.finding(name, subject, gain, peer, reason);
        Judged {
            learn: brought,
            brought,
            tried: tried && (!brought || gain.is_failing()),
            finding: Some(finding),
        }
    }

    fn reason(&self, name: &str, subject: &Subject, gain: &Gain, learned: bool) -> Option<Reason> {
        let fresh = |subject: &Subject, image: Option<&str>| {
            let age = subject.deployed(image?, self.now)?;
            (age < self.settings.deploy()).then_some(Reason::Deployed(age))
        };
        if let Some(reason) = fresh(subject, names::image(&gain.source)) {
            return Some(reason);
        }
        let target = self.subjects.get(&gain.peer).filter(|_| !gain.is_outside())?;
        if target.is_young(self.now, self.settings) {
            return Some(Reason::NewTarget);
        }
        let image = names::image(&gain.target);
        if let Some(reason) = fresh(target, image).filter(|_| learned) {
            return Some(reason);
        }
        self.stands_in(name, subject, target, gain).map(|other| Reason::StandsIn(other.to_owned()))
    }

    /// Who is known for just that, of the same image and project: another target or another source, as after a failover;
    /// or the target, the other way round.
    fn stands_in<'a>(
        &'a self,
        name: &str,
        subject: &'a Subject,
        target: &Subject,
        gain: &'a Gain,
    ) -> Option<&'a str> {
        let knows =
            |one: &Subject, peer: &str| one.peers.get(peer).is_some_and(|peer| peer.knows(gain.service));
        if target.is_like(&gain.source) && knows(target, name) {
            return Some(&gain.peer);
        }
        let mut targets = subject.peers.keys().filter(|peer| **peer != gain.peer && knows(subject, peer));
        let other =
            |peer: &&String| self.subjects.get(*peer).is_some_and(|other| other.is_like(&gain.target));
        if let Some(other) = targets.find(other) {
            return Some(other);
        }
        let does = |(other, known): &(&String, &Subject)| {
            *other != name && known.is_like(&gain.source) && knows(known, &gain.peer)
        };
        self.subjects.iter().find(does).map(|(other, _)| other.as_str())
    }

    fn finding(
        &self,
        name: &str,
        subject: &Subject,
        gain: &Gain,
        peer: Option<&Peer>,
        reason: Option<Reason>,
    ) -> Finding {
        let learned = peer.filter(|peer| peer.learned);
        let kind = match (learned, gain.is_outside()) {
            (Some(_), _) => AlertKind::NewService,
            (None, true) => AlertKind::NewDestination,
            (None, false) => AlertKind::NewEdge,
        };
        let image = names::image(&gain.source);
        let sure = image
            .and_then(|image| subject.images.get(image))
            .is_some_and(|(first, _)| self.now - first >= SURE);
        let severity = match (&reason, gain.denied) {
            (Some(_), 0) => Severity::Info,
            (None, _) if sure && !gain.is_outside() && gain.source.kind == WorkloadKind::Container => {
                Severity::Critical
            }
            _ => Severity::Warning,
        };
        let sentence = self.sentence(subject, gain, learned, reason);
        Finding {
            subject: name.to_owned(),
            kind,
            severity,
            source: gain.source.clone(),
            target: Some(gain.target.clone()),
            service: Some(gain.service),
            about: gain.peer.clone(),
            level: 0,
            sentence,
        }
    }

    fn sentence(
        &self,
        subject: &Subject,
        gain: &Gain,
        peer: Option<&Peer>,
        reason: Option<Reason>,
    ) -> String {
        let (protocol, port) = gain.service;
        let (service, known) = (protocol.service(port), words::span(self.now - subject.since));
        let (source, target) = (&gain.source, &gain.target);
        let what = match peer {
            Some(peer) => {
                let services = peer.services();
                let shown = services.iter().take(3).copied().collect::<Vec<_>>().join(", ");
                let more = if services.len() > 3 { ", …" } else { "" };
                format!("{source} has talked to {target} only at {shown}{more} in {known}")
            }
            None => format!("{source} has never talked to {target} in {known}"),
        };
        let denied = if gain.denied > 0 { " (denied)" } else { "" };
        let now = format!("now {service}, {}{denied}", words::times(gain.tries.max(1)));
        let image = names::image(source).map(words::digest);
        let why = match (reason, image) {
            (Some(Reason::Deployed(age)), _) => {
                format!(", {} after an image changed: a deploy brought it", words::span(age))
            }
            (Some(Reason::NewTarget), _) => ", and the target is new itself: a deploy brought it".to_owned(),
            (Some(Reason::StandsIn(other)), _) => format!(", as {other} of the same image is known for"),
            (None, Some(image)) => format!(", from the same image ({image}): likely a compromise"),
            (None, None) => String::new(),
        };
        format!("{what}; {now}{why}")
    }
}
