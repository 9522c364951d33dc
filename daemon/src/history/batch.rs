//! What is to be written, until it is: also while the disk is full. Bounded. Pure.

use std::collections::{BTreeMap, btree_map::Entry};

use jiff::Timestamp;

use crate::{
    event::Event,
    interaction::{Edge, EdgeKey},
};

/// Seconds of a minute.
const MINUTE: i64 = 60;

/// What is to be written.
#[derive(Debug, Default)]
pub struct Batch {
    /// What each edge gained, by minute since 1970.
    pub(super) minutes: BTreeMap<(i64, EdgeKey), Edge>,
    pub(super) events: Vec<Event>,
}

impl Batch {
    /// Most rows of minutes that wait.
    pub const MOST_MINUTES: usize = 50_000;
    /// Most events that wait.
    pub const MOST_EVENTS: usize = 20_000;

    /// Adds what edges gained until `now`. Returns how many found no room.
    pub fn add(&mut self, gained: &[Edge], now: Timestamp) -> u64 {
        let minute = now.as_second().div_euclid(MINUTE);
        let mut lost = 0;
        for edge in gained {
            let is_full = self.minutes.len() >= Self::MOST_MINUTES;
            match self.minutes.entry((minute, edge.key())) {
                Entry::Occupied(mut known) => known.get_mut().merge(edge),
                Entry::Vacant(_) if is_full => lost += 1,
                Entry::Vacant(new) => drop(new.insert(edge.clone())),
            }
        }
        lost
    }

    /// Adds an event. Returns how many found no room.
    pub fn add_event(&mut self, event: Event) -> u64 {
        let has_room = self.events.len() < Self::MOST_EVENTS;
        if has_room {
            self.events.push(event);
        }
        u64::from(!has_room)
    }

    /// How many rows it makes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.minutes.len() + self.events.len()
    }

    /// Whether there is nothing to write.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{metrics::samples::edge, sink::samples};

    fn at(time: &str) -> Timestamp {
        time.parse().unwrap()
    }

    #[test]
    fn what_an_edge_gains_within_a_minute_is_one_row() {
        let mut batch = Batch::default();
        for time in ["2026-11-24T10:00:01Z", "2026-11-24T10:00:59Z", "2026-11-24T10:01:00Z"] {
            assert_eq!(batch.add(&[edge()], at(time)), 0);
        }
        let flows: Vec<_> = batch.minutes.values().map(|edge| edge.flows).collect();
        assert_eq!(flows, [824, 412]);
    }

    #[test]
    fn what_finds_no_room_is_counted_and_what_is_there_goes_on() {
        let mut batch = Batch::default();
        let now = at("2026-11-24T10:00:01Z");
        let edges: Vec<_> = (0..=u16::MAX).map(|port| Edge { port, ..edge() }).collect();
        let lost = edges.len() - Batch::MOST_MINUTES;
        assert_eq!(batch.add(&edges, now), lost as u64);
        assert_eq!(batch.add(&edges[..10], now), 0);
        let lost: u64 = (0..Batch::MOST_EVENTS + 3).map(|_| batch.add_event(samples::denial())).sum();
        assert_eq!(lost, 3);
    }
}
