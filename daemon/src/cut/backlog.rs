//! Which connections that are denied are tried when, so that one that cannot be cut costs little. Pure.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use cofferdam_common::network::{Flow, FlowKey};

use super::{Outcome, silent::UNSEEN};

/// How long a connection must have been denied. Who somebody is becomes known bit by bit, and what is cut stays cut.
const CERTAIN: Duration = Duration::from_secs(2);
/// When a connection is tried again that is still there. The time doubles with each try.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest time between two tries.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// How long one is remembered that was tried and that no hook has seen, when it could be tried again: these are not looked
/// for each time.
const KEPT: Duration = Duration::from_mins(2);

/// Connections that are denied and still there.
#[derive(Default)]
pub(super) struct Backlog(HashMap<FlowKey, Known>);

struct Known {
    /// When it began: two connections one after the other may have the same ends.
    opened_at: u64,
    /// When it is to be tried.
    next: Instant,
    /// What came of it so far.
    tried: Option<Tried>,
}

struct Tried {
    pause: Duration,
    cut: bool,
}

impl Backlog {
    /// Those of which it is time. All others than `denied` are forgotten.
    pub(super) fn due(&mut self, denied: Vec<(FlowKey, Flow)>, now: Instant) -> Vec<(FlowKey, Flow)> {
        let begun: HashMap<_, _> = denied.iter().map(|(key, flow)| (*key, flow.opened_at)).collect();
        self.0.retain(|key, known| {
            let kept = known.opened_at == UNSEEN && known.tried.is_some() && now < known.next + KEPT;
            kept || begun.get(key) == Some(&known.opened_at)
        });
        denied.into_iter().filter(|(key, flow)| self.know(key, flow, now).next <= now).collect()
    }

    /// Whether it is not certain yet of some that they are denied.
    pub(super) fn waits(&self) -> bool {
        self.0.values().any(|known| known.tried.is_none())
    }

    fn know(&mut self, key: &FlowKey, flow: &Flow, now: Instant) -> &mut Known {
        let opened_at = flow.opened_at;
        self.0.entry(*key).or_insert(Known { opened_at, next: now + CERTAIN, tried: None })
    }

    /// What a try came to. Returns whether that is news: the first try of a connection, or the first that cut it.
    pub(super) fn tried(&mut self, key: &FlowKey, flow: &Flow, outcome: Outcome, now: Instant) -> bool {
        let cut = outcome.is_ok();
        let known = self.know(key, flow, now);
        let before = known.tried.as_ref();
        let pause = before.map_or(FIRST_PAUSE, |tried| (tried.pause * 2).min(LONGEST_PAUSE));
        let was_cut = before.is_some_and(|tried| tried.cut);
        let is_news = before.is_none() || cut && !was_cut;
        known.next = now + pause;
        known.tried = Some(Tried { pause, cut: cut || was_cut });
        is_news
    }
}

#[cfg(test)]
pub(super) mod tests {
    use cofferdam_common::{
        ids::{Address, CgroupId},
        network::{PROTOCOL_TCP, Volume},
        policy::Judgement,
    };

    use super::*;
    use crate::enforcement::Uncut;

    /// From 0.0.0.1:40000 to 0.0.0.2:5432, as the kernel would not have it.
    pub(in super::super) fn key() -> FlowKey {
        FlowKey {
            low: Address::mapped(1),
            high: Address::mapped(2),
            namespace: 0,
            low_port: 40_000,
            high_port: 5_432,
            protocol: PROTOCOL_TCP,
            asker: 0,
            padding: [0; 2],
        }
    }

    pub(in super::super) fn flow(flags: u64) -> Flow {
        Flow {
            flags,
            client: CgroupId::NONE,
            server: CgroupId::NONE,
            row: 0,
            other_end_port: 0,
            padding: 0,
            other_end: Address::NONE,
            opened_at: 1,
            last_seen: 0,
            volume: Volume::default(),
            client_owner: CgroupId::NONE,
            server_owner: CgroupId::NONE,
            judgement: Judgement::ALLOW,
            generation: 0,
            awaited: 0,
            audited: 0,
        }
    }

    #[test]
    fn what_cannot_be_cut_is_tried_ever_more_seldom_and_told_once() {
        let (mut backlog, mut now) = (Backlog::default(), Instant::now());
        let denied = || vec![(key(), flow(0))];
        let (mut tries, mut told) = (0, 0);
        for _ in 0..3600 {
            for (key, flow) in backlog.due(denied(), now) {
                tries += 1;
                told += u32::from(backlog.tried(&key, &flow, Err(Uncut::NotFound), now));
            }
            now += Duration::from_secs(1);
        }
        assert_eq!(told, 1);
        assert!((10..=20).contains(&tries), "{tries} tries in an hour");
    }

    #[test]
    fn one_that_is_cut_after_all_is_told_once_more() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let mut told = |outcome| backlog.tried(&key(), &flow(0), outcome, now);
        assert!(told(Err(Uncut::NotFound)));
        assert!(told(Ok(())));
        assert!(!told(Ok(())) && !told(Err(Uncut::NotFound)));
    }

    #[test]
    fn one_that_no_hook_has_seen_is_told_once_though_it_is_seldom_looked_for() {
        let (mut backlog, mut now) = (Backlog::default(), Instant::now());
        let unseen = Flow { opened_at: UNSEEN, ..flow(0) };
        let mut told = 0;
        backlog.due(vec![(key(), unseen)], now - CERTAIN);
        for minute in 0..60 {
            for (key, flow) in backlog.due(vec![(key(), unseen)], now) {
                told += u32::from(backlog.tried(&key, &flow, Err(Uncut::NotFound), now));
            }
            assert_eq!(told, 1, "after {minute} minutes");
            assert!(backlog.due(Vec::new(), now + Duration::from_secs(5)).is_empty());
            now += Duration::from_mins(1);
        }
        backlog.due(Vec::new(), now + Duration::from_mins(10));
        assert!(backlog.0.is_empty());
    }

    #[test]
    fn a_new_connection_between_the_same_ends_is_another() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        assert!(backlog.tried(&key(), &flow(0), Ok(()), now));
        assert!(backlog.due(vec![(key(), flow(0))], now).is_empty());
        let next = Flow { opened_at: 2, ..flow(0) };
        assert!(backlog.due(vec![(key(), next)], now).is_empty(), "it is not certain yet");
        assert_eq!(backlog.due(vec![(key(), next)], now + CERTAIN).len(), 1);
        assert!(backlog.tried(&key(), &next, Ok(()), now));
    }

    #[test]
    fn one_that_no_hook_has_seen_and_that_is_denied_no_more_is_not_waited_for() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        backlog.due(vec![(key(), Flow { opened_at: UNSEEN, ..flow(0) })], now);
        assert!(backlog.waits());
        backlog.due(Vec::new(), now + CERTAIN / 2);
        assert!(!backlog.waits());
    }

    #[test]
    fn what_is_denied_for_a_moment_only_is_not_tried() {
        let (mut backlog, now) = (Backlog::default(), Instant::now());
        let denied = || vec![(key(), flow(0))];
        assert!(backlog.due(denied(), now).is_empty());
        assert!(backlog.waits());
        assert!(backlog.due(Vec::new(), now + CERTAIN / 2).is_empty());
        assert!(!backlog.waits());
        assert!(backlog.due(denied(), now + CERTAIN).is_empty(), "it is looked at anew");
        assert_eq!(backlog.due(denied(), now + CERTAIN * 2).len(), 1);
    }
}
