//! A corpus of simulated traffic between containers, with labelled attacks, and what a detector makes of it.
//!
//! Everything is made of a seed: the same seed, the same three weeks. Nothing here knows how the detector decides, and the
//! detector knows no name of what is made here.

mod chance;

mod host;

mod layout;

mod traffic;

mod changes;

mod attacks;

mod score;

use cofferdam::{
    baseline::anomaly::{Detector, Settings, Turn},
    event::Acknowledgement,
};
use jiff::Timestamp;

use self::{attacks::Attacks, chance::Chance, changes::Changes, host::Host};
pub use self::{
    attacks::{Attack, Kind},
    score::Score,
};

/// Minutes of a day.
const DAY: i64 = 24 * 60;
/// A Monday, midnight.
const START: i64 = 1_772_409_600;

/// How large a corpus is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Projects of seven services each, besides those that all share.
    pub projects: usize,
    /// Days in all. Attacks happen in the last seven.
    pub days: i64,
    /// Attacks of each kind.
    pub attacks: usize,
}

impl Size {
    /// What figures are reported on: 48 services, three weeks.
    pub const WHOLE: Self = Self { projects: 6, days: 21, attacks: 4 };
    /// Enough for a test.
    pub const SMALL: Self = Self { projects: 2, days: 12, attacks: 1 };
}

/// Whether anybody looks at the alerts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operator {
    /// Each morning at nine; what is of no attack is acknowledged.
    Looks,
    /// Nobody does.
    Absent,
}

/// Makes the corpus of a seed, drives it through a detector turn by turn, and counts.
#[must_use]
pub fn evaluate(seed: u64, size: Size, settings: Settings, operator: Operator) -> Score {
    let mut chance = Chance::new(seed);
    let mut host = Host::new(&mut chance, size.projects);
    let mut changes = Changes::plan(&mut chance, &host, size.days);
    let mut attacks = Attacks::plan(&mut chance, &host, size);
    let mut detector = Detector::new(settings);
    let mut score = Score::new(seed, size.days);
    for minute in 0..size.days * DAY {
        let mut gained = host.minute(&mut chance, minute);
        changes.apply(&mut chance, &mut host, minute, &mut gained);
        attacks.minute(&mut chance, &host, minute, &mut gained);
        let now = at(minute);
        let turn = Turn { now, gained: &gained.edges, answers: &gained.answers, lossy: false };
        for alert in detector.turn(&turn) {
            score.alert(&alert, minute, &attacks.all);
        }
        if operator == Operator::Looks && minute % DAY == 9 * 60 {
            for id in score.take_normal() {
                let ack = Acknowledgement { by: 0, at: now, reason: "it is normal".to_owned() };
                detector.acknowledge(&id, ack);
            }
        }
    }
    score.close(&attacks.all);
    score
}

fn at(minute: i64) -> Timestamp {
    Timestamp::from_second(START + minute * 60).unwrap_or(Timestamp::MAX)
}
