//! What is known of one workload: its images, its peers, and what it tried.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    callers::Callers,
    gain::{Gain, Service},
    hours::Hours,
    names,
    questions::Questions,
    rhythm::Rhythm,
    room::forget_lowest,
    settings::{DAY, HOUR, Settings},
    tries::Tries,
};
use crate::event::Workload;

/// Peers that are learned of one workload. Of more, the one that was silent longest is forgotten.
const PEERS: usize = 256;
/// Peers that are new to one workload and not learned.
const STRANGERS: usize = 64;
/// Services of one peer. A peer that has more is known for all.
const SERVICES: usize = 32;
/// Images of one workload.
const IMAGES: usize = 8;
/// Peers outside of which one more is nothing new.
const MANY: usize = 48;
/// Days of the last 14 with a peer outside that was new, from which on that is usual.
const OFTEN: u32 = 5;

/// What is known of one workload.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Subject {
    /// When it was first seen, in seconds since the epoch, as all times here.
    pub(super) since: i64,
    pub(super) last: i64,
    /// When each of its images was seen first and last.
    pub(super) images: BTreeMap<String, (i64, i64)>,
    /// By which name its image was last asked for.
    pub(super) image: Option<String>,
    /// Whom it belongs to.
    pub(super) project: Option<String>,
    pub(super) peers: BTreeMap<String, Peer>,
    /// All that it sent to the outside.
    pub(super) left: Hours,
    pub(super) tries: Tries,
    pub(super) callers: Callers,
    pub(super) questions: Questions,
    /// The last day on which a peer outside was new, and, bit by bit backwards from it, on which days before.
    novel: (i64, u16),
}

/// What is known of a workload and a peer of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Peer {
    pub(super) since: i64,
    pub(super) last: i64,
    /// Whether it is normal.
    pub(super) learned: bool,
    /// Whether a deploy brought it.
    pub(super) deployed: bool,
    /// Whether any service of it is.
    any: bool,
    /// Which services are normal, by when they were last used.
    services: BTreeMap<String, i64>,
    /// What was sent to a peer outside, or both ways between two inside.
    pub(super) bytes: Hours,
    pub(super) attempts: Hours,
    /// When connections to a peer outside began and went on.
    pub(super) rhythm: Option<Rhythm>,
}

impl Subject {
    pub(super) fn new(now: i64) -> Self {
        Self {
            since: now,
            last: now,
            images: BTreeMap::new(),
            image: None,
            project: None,
            peers: BTreeMap::new(),
            left: Hours::default(),
            tries: Tries::default(),
            callers: Callers::default(),
            questions: Questions::default(),
            novel: (0, 0),
        }
    }

    /// It was seen.
    pub(super) fn seen(&mut self, now: i64, workload: &Workload) {
        self.last = now;
        let note = |known: &mut Option<String>, told: Option<&str>| {
            if told.is_some() && known.as_deref() != told {
                *known = told.map(names::clip);
            }
        };
        note(&mut self.project, names::project(workload));
        note(&mut self.image, workload.image.as_deref());
        let Some(image) = names::image(workload) else { return };
        if let Some((_, last)) = self.images.get_mut(image) {
            *last = now;
            return;
        }
        if self.images.len() >= IMAGES {
            forget_lowest(&mut self.images, |_, (_, last)| *last);
        }
        self.images.insert(image.to_owned(), (now, now));
    }

    /// Whether all that it does is still learned.
    pub(super) fn is_young(&self, now: i64, settings: &Settings) -> bool {
        now - self.since < settings.learn()
    }

    /// For how long an image of it has been known, where that is one that came after it.
    pub(super) fn deployed(&self, image: &str, now: i64) -> Option<i64> {
        let (first, _) = self.images.get(image)?;
        (*first > self.since).then_some(now - first)
    }

    /// Whether it is made of the same as a workload, in the same project.
    pub(super) fn is_like(&self, workload: &Workload) -> bool {
        let (project, image) = (names::project(workload), workload.image.as_deref());
        let same = names::image(workload).is_some_and(|digest| self.images.contains_key(digest));
        project.is_some()
            && self.project.as_deref() == project
            && (same || (image.is_some() && self.image.as_deref() == image))
    }

    /// Whether new peers outside are usual for it, as for a crawler or a mail server.
    pub(super) fn roams(&self, now: i64) -> bool {
        let (day, days) = self.novel;
        let gone = (now.div_euclid(DAY) - day).clamp(0, 15) as u32;
        let recent = u32::from(days) & (0x3fff >> gone.min(14));
        let outside = || self.peers.values().filter(|peer| peer.rhythm.is_some() && peer.learned).count();
        recent.count_ones() >= OFTEN || outside() > MANY
    }

    /// Counts what it exchanged with a peer. What is `tainted` is not learned.
    pub(super) fn count(&mut self, gain: &Gain, now: i64, turn: i64, settings: &Settings) {
        if !self.peers.contains_key(&gain.peer) {
            if gain.is_outside() && gain.succeeded() && !self.is_young(now, settings) {
                self.novelty(now);
            }
            self.make_room(false);
        }
        let peer = self.peers.entry(gain.peer.clone()).or_insert_with(|| Peer::new(now, gain.is_outside()));
        peer.last = now;
        let (protocol, port) = gain.service;
        if let Some(last) = peer.services.get_mut(&protocol.service(port)) {
            *last = now;
        }
        peer.attempts.add(now, gain.tries, false);
        if gain.is_outside() {
            self.left.add(now, gain.sent, false);
            peer.bytes.add(now, gain.sent, false);
        } else {
            peer.bytes.add(now, gain.sent.saturating_add(gain.received), false);
        }
        if let Some(rhythm) = &mut peer.rhythm {
            rhythm.count(gain, now, turn);
        }
    }

    fn novelty(&mut self, now: i64) {
        let today = now.div_euclid(DAY);
        let (day, days) = self.novel;
        let shifted = u32::try_from(today - day).ok().and_then(|gone| days.checked_shl(gone)).unwrap_or(0);
        self.novel = (today, shifted | 1);
    }

    /// Forgets whoever was silent longest, where there is no room for one more.
    fn make_room(&mut self, learned: bool) {
        let room = if learned { PEERS } else { STRANGERS };
        if self.peers.values().filter(|peer| peer.learned == learned).count() >= room {
            forget_lowest(&mut self.peers, |_, peer| (peer.learned != learned, peer.last));
        }
    }

    /// A peer and a service of it are normal.
    pub(super) fn learn(&mut self, name: &str, service: Service, now: i64, deployed: bool) {
        if self.peers.get(name).is_some_and(|peer| !peer.learned) {
            self.make_room(true);
        }
        let Some(peer) = self.peers.get_mut(name) else { return };
        if !peer.learned {
            (peer.learned, peer.deployed) = (true, deployed);
        }
        if peer.services.len() < SERVICES {
            let (protocol, port) = service;
            peer.services.insert(protocol.service(port), now);
        }
    }

    /// A peer is normal, whatever service of it is used.
    fn learn_any(&mut self, name: &str) {
        if self.peers.get(name).is_some_and(|peer| !peer.learned) {
            self.make_room(true);
        }
        if let Some(peer) = self.peers.get_mut(name) {
            (peer.learned, peer.any) = (true, true);
        }
    }

    /// Somebody said that a peer, and a service of it or those that it has, are normal.
    pub(super) fn accept(&mut self, name: &str, service: Option<Service>, now: i64) {
        match service {
            Some(service) => self.learn(name, service, now, false),
            None => self.learn_any(name),
        }
        if let Some(peer) = self.peers.get_mut(name) {
            peer.deployed = false;
        }
    }

    /// All that was exchanged was normal.
    pub(super) fn trust(&mut self) {
        self.left.trust();
        for peer in self.peers.values_mut() {
            peer.bytes.trust();
            peer.attempts.trust();
        }
    }

    /// Nothing of this hour is to be learned.
    pub(super) fn taint(&mut self, now: i64) {
        self.left.add(now, 0, true);
        self.questions.taint();
        for peer in self.peers.values_mut() {
            peer.bytes.add(now, 0, true);
            peer.attempts.add(now, 0, true);
        }
    }

    /// Forgets what was long not seen.
    pub(super) fn forget(&mut self, now: i64, settings: &Settings) {
        let forget = settings.forget();
        self.peers.retain(|_, peer| now - peer.last < forget);
        for peer in self.peers.values_mut() {
            peer.services.retain(|_, last| now - *last < forget);
        }
        self.tries.forget(now);
        self.callers.forget(now);
        self.questions.forget(now, forget);
    }

    /// Whether it has no more than it may, as it comes from a file.
    pub(super) fn fits(&self) -> bool {
        let learned = self.peers.values().filter(|peer| peer.learned).count();
        learned <= PEERS
            && self.peers.len() - learned <= STRANGERS
            && self.images.len() <= IMAGES
            && self.peers.values().all(Peer::fits)
            && self.tries.fits()
            && self.callers.fits()
            && self.questions.fits()
    }
}

impl Peer {
    fn new(now: i64, outside: bool) -> Self {
        Self {
            since: now,
            last: now,
            learned: false,
            deployed: false,
            any: false,
            services: BTreeMap::new(),
            bytes: Hours::default(),
            attempts: Hours::default(),
            rhythm: outside.then(Rhythm::default),
        }
    }

    /// Whether a service of it is normal.
    pub(super) fn knows(&self, service: Service) -> bool {
        let (protocol, port) = service;
        self.learned
            && (self.any
                || self.services.len() >= SERVICES
                || self.services.contains_key(&protocol.service(port)))
    }

    /// Whether it is known, by another service.
    pub(super) fn services(&self) -> Vec<&str> {
        self.services.keys().map(String::as_str).collect()
    }

    /// Whether it has been normal for so long that how it is talked to is normal too.
    pub(super) fn is_old(&self, now: i64) -> bool {
        self.learned && (!self.deployed || now - self.since > 7 * DAY)
    }

    fn fits(&self) -> bool {
        self.services.len() <= SERVICES && self.rhythm.as_ref().is_none_or(Rhythm::fits)
    }
}

/// How often what is long not seen is forgotten, in seconds.
pub(super) const FORGET_EVERY: i64 = HOUR;
