//! What an edge carried, hour by hour, for three weeks, and what is usual of that. One byte an hour.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::settings::HOUR;

/// Hours that are kept: three weeks, so that what recurs once a week was seen more than once.
const KEPT: usize = 21 * 24;
/// Steps of the logarithm to the base of two: an hour is kept to within 13 %.
const STEPS: f64 = 3.0;
/// Marks an hour of which nothing may be learned.
const TAINTED: u8 = 0x80;
/// Hours with traffic of which more than the largest can be said.
const ENOUGH: usize = 20;
/// Days with traffic before anything is said.
const DAYS: usize = 3;

/// Sums by the hour.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Hours {
    /// Which hour it is, counted from the epoch.
    hour: i64,
    /// What came within it until now.
    now: u64,
    tainted: bool,
    /// The hours before, each at its number modulo their count; empty until there is one with traffic.
    #[serde(serialize_with = "to_hex", deserialize_with = "from_hex")]
    past: Vec<u8>,
    /// What is usual at this hour: as `past` says, and made again when the hour is over.
    #[serde(skip)]
    usual: Option<Usual>,
}

/// What is usual.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Usual {
    /// The most that this hour has at times; none while too little is known.
    pub(super) hour: Option<u64>,
    /// What an hour has in the middle.
    pub(super) middle: u64,
    /// The most that a day has at times; none while too little is known.
    pub(super) day: Option<u64>,
    /// What a day has in the middle.
    pub(super) middle_day: u64,
    /// All that the last 23 full hours had, and the largest of them.
    before: u64,
    largest: u64,
}

impl Hours {
    /// Adds what came at a time. What is `tainted` is never usual.
    pub(super) fn add(&mut self, seconds: i64, amount: u64, tainted: bool) {
        let hour = seconds.div_euclid(HOUR);
        if hour > self.hour {
            self.close(hour);
        }
        if self.usual.is_none() {
            self.usual = Some(Usual::of(&self.past, self.hour));
        }
        self.now = self.now.saturating_add(amount);
        self.tainted |= tainted;
    }

    fn close(&mut self, hour: i64) {
        if self.now > 0 && self.past.is_empty() {
            self.past = vec![0; KEPT];
        }
        if !self.past.is_empty() {
            let mark = if self.tainted { TAINTED } else { 0 };
            self.past[place(self.hour)] = small(self.now) | mark;
            // What was three weeks ago is forgotten, and in the hours between nothing came.
            for between in (self.hour + 1..hour).take(KEPT) {
                self.past[place(between)] = 0;
            }
            self.past[place(hour)] = 0;
        }
        (self.hour, self.now, self.tainted, self.usual) = (hour, 0, false, None);
    }

    /// What came within this hour.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// What came within the last 24 hours, but for the largest of these: that is judged by itself.
    pub(super) fn day(&self) -> u64 {
        let Usual { before, largest, .. } = self.usual();
        self.now.saturating_add(before) - largest.max(self.now)
    }

    pub(super) fn usual(&self) -> Usual {
        self.usual.unwrap_or_default()
    }

    /// All of it was normal.
    pub(super) fn trust(&mut self) {
        self.tainted = false;
        for hour in &mut self.past {
            *hour &= !TAINTED;
        }
        self.usual = None;
    }
}

impl Usual {
    fn of(past: &[u8], hour: i64) -> Self {
        if past.is_empty() {
            return Self::default();
        }
        // From the hour before this one backwards.
        let back: Vec<u8> = (1..KEPT as i64).map(|ago| past[place(hour - ago)]).collect();
        let trusted = |byte: &u8| (*byte != 0 && *byte & TAINTED == 0).then_some(*byte);
        let mut all: Vec<u8> = back.iter().filter_map(trusted).collect();
        all.sort_unstable();
        let mut days: Vec<f64> = back[23..]
            .chunks_exact(24)
            .map(|day| day.iter().filter_map(trusted).map(large).sum::<f64>())
            .filter(|sum| *sum > 0.0)
            .collect();
        days.sort_by(f64::total_cmp);
        let last: Vec<u64> = back[..23].iter().map(|byte| large(byte & !TAINTED) as u64).collect();
        let mut usual = Self {
            before: last.iter().fold(0, |sum, hour| sum.saturating_add(*hour)),
            largest: last.iter().copied().max().unwrap_or_default(),
            middle: all.get(all.len() / 2).map_or(0, |middle| large(*middle) as u64),
            middle_day: days.get(days.len() / 2).map_or(0, |middle| *middle as u64),
            ..Self::default()
        };
        let (Some(most), true) = (days.last(), days.len() >= DAYS) else { return usual };
        // As far again above the largest day as that is above the middle: heavy tails get more room.
        let room = (most / days[days.len() / 2]).clamp(2.5, 12.0);
        usual.day = Some((most * room) as u64);
        let mut same: Vec<u8> = back
            .iter()
            .enumerate()
            .filter(|(index, _)| matches!((index + 1) % 24, 0 | 1 | 23))
            .filter_map(|(_, byte)| trusted(byte))
            .collect();
        same.sort_unstable();
        usual.hour = highest(&all, &same).map(|small| large_f(small) as u64);
        usual
    }
}

/// The most that is usual of an hour, in steps, by all hours and by those of this time of the day.
fn highest(all: &[u8], same: &[u8]) -> Option<f64> {
    let most = f64::from(*all.last()?);
    if all.len() < ENOUGH {
        // What comes rarely may be of any size: sixteen times the largest.
        return Some(most + 4.0 * STEPS);
    }
    let room = |sorted: &[u8]| {
        let largest = f64::from(sorted[sorted.len() - 1]);
        let high = f64::from(sorted[sorted.len() * 9 / 10]);
        // At least four times the largest; where the tail is heavy, as far again as the last tenth reaches.
        largest + (largest - high).clamp(2.0 * STEPS, 7.0 * STEPS)
    };
    if same.len() < ENOUGH {
        return Some(room(all));
    }
    let middle = f64::from(same[same.len() / 2]);
    let mut off: Vec<f64> = same.iter().map(|value| (f64::from(*value) - middle).abs()).collect();
    off.sort_by(f64::total_cmp);
    // Six robust standard deviations. What a busier hour of the day has is not far out either.
    Some((middle + 6.0 * 1.4826 * off[off.len() / 2]).max(room(same)).max(most - STEPS))
}

fn place(hour: i64) -> usize {
    hour.rem_euclid(KEPT as i64) as usize
}

fn small(amount: u64) -> u8 {
    let steps = (STEPS * (amount as f64 + 1.0).log2()).round();
    if amount == 0 { 0 } else { steps.clamp(1.0, 127.0) as u8 }
}

fn large(steps: u8) -> f64 {
    large_f(f64::from(steps))
}

fn large_f(steps: f64) -> f64 {
    (steps / STEPS).exp2() - 1.0
}

fn to_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or('0');
    let text: String = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect();
    serializer.serialize_str(&text)
}

fn from_hex<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let digits = digits.ok_or_else(|| Error::custom("hours are hexadecimal"))?;
    if !digits.is_empty() && digits.len() != 2 * KEPT {
        return Err(Error::custom(format!("{KEPT} hours are kept, or none")));
    }
    Ok(digits.chunks_exact(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn after(days: i64, amount: impl Fn(i64) -> u64) -> Hours {
        let mut hours = Hours::default();
        for hour in 0..days * 24 {
            hours.add(hour * HOUR, amount(hour), false);
        }
        hours.add(days * 24 * HOUR, 0, false);
        hours
    }

    #[test]
    fn nothing_is_usual_before_three_days() {
        assert_eq!(after(2, |_| 1_000).usual().hour, None);
        assert!(after(5, |_| 1_000).usual().hour.is_some());
    }

    #[test]
    fn an_even_flow_has_four_times_its_size_as_room() {
        let usual = after(14, |_| 1_000_000).usual();
        let room = usual.hour.unwrap();
        assert!((3_500_000..4_800_000).contains(&room), "{room}");
        assert!((55_000_000..70_000_000).contains(&usual.day.unwrap()), "{usual:?}");
    }

    #[test]
    fn what_is_busy_at_night_may_be_so_at_night() {
        let backup = |hour: i64| if hour % 24 == 2 { 8_000_000_000 } else { 1_000 };
        let mut hours = after(14, backup);
        hours.add((14 * 24 + 2) * HOUR, 0, false);
        assert!(hours.usual().hour.unwrap() > 16_000_000_000);
    }

    #[test]
    fn what_is_tainted_is_not_usual_until_it_is_trusted() {
        let mut hours = Hours::default();
        for hour in 0..240 {
            hours.add(hour * HOUR, if hour < 120 { 1_000 } else { 1_000_000 }, hour >= 120);
        }
        hours.add(240 * HOUR, 0, false);
        assert!(hours.usual().hour.unwrap() < 10_000);
        hours.trust();
        hours.add(240 * HOUR, 0, false);
        assert!(hours.usual().hour.unwrap() > 1_000_000);
    }

    proptest! {
        #[test]
        fn no_order_of_times_and_no_amount_panics(steps in proptest::collection::vec((any::<i64>(), any::<u64>(), any::<bool>()), 0..60)) {
            let mut hours = Hours::default();
            for (time, amount, tainted) in steps {
                hours.add(time, amount, tainted);
                let _ = (hours.usual(), hours.day());
            }
        }

        #[test]
        fn hours_survive_json(amounts in proptest::collection::vec(0u64..1 << 40, 0..100)) {
            let hours = after(4, |hour| amounts.get(hour as usize).copied().unwrap_or_default());
            let text = serde_json::to_string(&hours).unwrap();
            let mut again: Hours = serde_json::from_str(&text).unwrap();
            again.add(4 * 24 * HOUR, 0, false);
            prop_assert_eq!(again.usual(), hours.usual());
        }
    }
}
