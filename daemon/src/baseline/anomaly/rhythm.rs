//! When connections to a peer outside began, and how long they go on.

use serde::{Deserialize, Serialize};

use super::{
    gain::Gain,
    settings::{HOUR, MINUTE},
};

/// Intervals that are kept: an hour of the shortest.
const KEPT: usize = 128;
/// Intervals before anything is said.
const ENOUGH: usize = 12;
/// The shortest interval that is no mere conversation, in seconds.
const SHORTEST: i64 = 30;
/// More connections than this at once are no beacon.
const FEW: u64 = 4;
/// A connection that is silent for longer may be another one, in seconds.
const SILENT: i64 = 15 * MINUTE;
/// Turns in which it must have been alive.
const ALIVE: u32 = 12;

/// When connections to a peer began, and since when one goes on.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Rhythm {
    last_try: Option<i64>,
    /// Seconds between one beginning and the next.
    gaps: Vec<u32>,
    /// Since when packets come and nothing began.
    since: i64,
    /// When the last of these packets came.
    alive: i64,
    /// In how many turns they came.
    turns: u32,
}

/// Connections as regular as a clock.
#[derive(Debug, PartialEq)]
pub(super) struct Beat {
    /// Seconds from one to the next, in the middle.
    pub(super) every: i64,
    /// How far half of them are off at most, in seconds.
    pub(super) off: i64,
    /// Over how many seconds.
    pub(super) over: i64,
    pub(super) count: usize,
}

impl Rhythm {
    /// Counts what a turn brought.
    pub(super) fn count(&mut self, gain: &Gain, now: i64, turn: i64) {
        if gain.tries > 0 {
            (self.since, self.alive, self.turns) = (now, now, 0);
            self.began(now, gain.tries);
        } else if gain.packets > 0 && now > self.alive {
            if now - self.alive > SILENT.max(3 * turn) {
                (self.since, self.turns) = (now, 0);
            }
            (self.alive, self.turns) = (now, self.turns.saturating_add(1));
        }
    }

    fn began(&mut self, now: i64, tries: u64) {
        if tries > FEW {
            self.gaps.clear();
        }
        let gap = self.last_try.map_or(0, |last| now - last);
        self.last_try = Some(now);
        if gap > 0 {
            if self.gaps.len() >= KEPT {
                self.gaps.remove(0);
            }
            self.gaps.push(u32::try_from(gap).unwrap_or(u32::MAX));
        }
    }

    /// Whether connections begin as regularly as a clock, as far as turns of so many seconds can tell.
    pub(super) fn beats(&self, turn: i64) -> Option<Beat> {
        if self.gaps.len() < ENOUGH {
            return None;
        }
        let every = middle(self.gaps.iter().map(|gap| i64::from(*gap)));
        let off = middle(self.gaps.iter().map(|gap| (i64::from(*gap) - every).abs()));
        let far = self.gaps.iter().filter(|gap| (i64::from(**gap) - every).abs() * 2 > every).count();
        let over: i64 = self.gaps.iter().map(|gap| i64::from(*gap)).sum();
        let regular = off * 5 <= every && far * 4 <= self.gaps.len();
        (regular && over >= HOUR && every >= SHORTEST.max(4 * turn)).then_some(Beat {
            every,
            off,
            over,
            count: self.gaps.len() + 1,
        })
    }

    /// For how many seconds packets have come with nothing that began, where that is long.
    pub(super) fn lasts(&self) -> Option<i64> {
        let lasted = self.alive - self.since;
        (lasted >= HOUR && self.turns >= ALIVE).then_some(lasted)
    }

    pub(super) fn fits(&self) -> bool {
        self.gaps.len() <= KEPT
    }
}

fn middle(values: impl Iterator<Item = i64>) -> i64 {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn began(times: impl IntoIterator<Item = i64>) -> Rhythm {
        let mut rhythm = Rhythm::default();
        for time in times {
            rhythm.began(time, 1);
        }
        rhythm
    }

    #[test]
    fn a_clock_is_told_from_people() {
        let clock = began((0..20).map(|beat| beat * 300 + (beat * 7_919) % 60));
        let beat = clock.beats(10).unwrap();
        assert!((290..310).contains(&beat.every) && beat.count == 20, "{beat:?}");
        let people = began((0..20).map(|visit: i64| visit.pow(2) * 40 + (visit * 7_919) % 900));
        assert_eq!(people.beats(10), None);
    }

    #[test]
    fn what_each_turn_has_is_a_conversation() {
        assert_eq!(began((0..200).map(|turn| turn * 60)).beats(60), None);
        assert!(began((0..200).map(|turn| turn * 60)).beats(10).is_some());
    }
}
