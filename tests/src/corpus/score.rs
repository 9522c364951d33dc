//! What came of it: which attacks were noticed, how soon, and which alerts no attack explains.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use cofferdam::event::{Alert, Severity};

use super::attacks::{Attack, Kind};

/// Minutes after an attack within which an alert is still of it.
const AFTER: i64 = 120;

/// Figures, of one corpus or of several.
#[derive(Debug, Default)]
pub struct Score {
    seed: u64,
    /// Per kind: attacks, noticed at all, noticed by name, and minutes until.
    kinds: BTreeMap<Kind, Of>,
    /// Alerts (warning or critical) that an attack explains, that none does, and that a deploy does.
    explained: usize,
    infos: usize,
    /// Days after the one on which all is learned.
    days: i64,
    /// Alerts that no attack explains: when, and their sentence.
    pub unexplained: Vec<String>,
    /// Attacks that were not noticed.
    pub missed: Vec<String>,
    open: BTreeSet<String>,
    /// What nobody has looked at yet and is of no attack.
    pending: BTreeSet<String>,
    /// Attacks of which there was an info.
    told: BTreeSet<usize>,
    /// When each attack was noticed first, at all and by name.
    noticed: BTreeMap<usize, (i64, Option<i64>)>,
}

#[derive(Debug, Default)]
struct Of {
    all: usize,
    noticed: usize,
    named: usize,
    until: Vec<i64>,
    until_named: Vec<i64>,
}

impl Score {
    pub(super) fn new(seed: u64, days: i64) -> Self {
        Self { seed, days: days - 1, ..Self::default() }
    }

    /// Takes an alert in that was told.
    pub(super) fn alert(&mut self, alert: &Alert, minute: i64, attacks: &[Attack]) {
        if !alert.is_open() {
            self.open.remove(&alert.id);
            return;
        }
        let opened = self.open.insert(alert.id.clone());
        let is_of = |attack: &Attack| {
            attack.source == alert.source.name && (attack.begin..=attack.end + AFTER).contains(&minute)
        };
        if alert.severity == Severity::Info {
            self.infos += usize::from(opened);
            let of = attacks.iter().enumerate().filter(|(_, attack)| opened && is_of(attack));
            self.told.extend(of.map(|(index, _)| index));
            return;
        }
        let mut explained = false;
        for (index, attack) in attacks.iter().enumerate().filter(|(_, attack)| is_of(attack)) {
            explained = true;
            // What was open before does not tell of it.
            if opened {
                let (_, named) = self.noticed.entry(index).or_insert((minute, None));
                if attack.kind.alerts().contains(&alert.kind) && named.is_none() {
                    *named = Some(minute);
                }
            }
        }
        if opened && explained {
            self.explained += 1;
        } else if opened {
            self.pending.insert(alert.id.clone());
            let (day, hour) = (minute / 1_440, minute / 60 % 24);
            let Alert { kind, severity, sentence, .. } = alert;
            let seed = self.seed;
            self.unexplained
                .push(format!("seed {seed}, day {day}, {hour} h: {kind}, {severity}: {sentence}"));
        }
    }

    /// What is of no attack and not acknowledged yet.
    pub(super) fn take_normal(&mut self) -> BTreeSet<String> {
        let pending = std::mem::take(&mut self.pending);
        self.open.retain(|id| !pending.contains(id));
        pending
    }

    /// Counts the attacks.
    pub(super) fn close(&mut self, attacks: &[Attack]) {
        for (index, attack) in attacks.iter().enumerate() {
            let of = self.kinds.entry(attack.kind).or_default();
            of.all += 1;
            if let Some((at, named)) = self.noticed.get(&index) {
                of.noticed += 1;
                of.until.push(at - attack.begin);
                if let Some(named) = named {
                    of.named += 1;
                    of.until_named.push(named - attack.begin);
                }
            } else {
                let Attack { kind, source, how, begin, end, .. } = attack;
                let (seed, lasts) = (self.seed, end - begin);
                let info = if self.told.contains(&index) { "; told as an info" } else { "" };
                self.missed
                    .push(format!("seed {seed}: {kind} of {source} {how}, {lasts} minutes long{info}"));
            }
        }
    }

    /// Adds another corpus.
    pub fn add(&mut self, other: Self) {
        for (kind, of) in other.kinds {
            let sum = self.kinds.entry(kind).or_default();
            sum.all += of.all;
            sum.noticed += of.noticed;
            sum.named += of.named;
            sum.until.extend(of.until);
            sum.until_named.extend(of.until_named);
        }
        self.explained += other.explained;
        self.infos += other.infos;
        self.days += other.days;
        self.unexplained.extend(other.unexplained);
        self.missed.extend(other.missed);
    }

    /// Which part of the attacks of a kind was noticed.
    #[must_use]
    pub fn recall(&self, kind: Kind) -> f64 {
        self.kinds.get(&kind).map_or(1.0, |of| part(of.noticed, of.all))
    }

    /// Alerts (warning or critical) on a host and day that no attack explains.
    #[must_use]
    pub fn false_alerts(&self) -> f64 {
        self.unexplained.len() as f64 / self.days.max(1) as f64
    }

    /// As a table in Markdown, with what it says below.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::from(
            "| attack | | count | noticed | by its name | noticed after | named after |\n| --- | --- | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for kind in Kind::ALL {
            let Some(of) = self.kinds.get(&kind) else { continue };
            let loud = if kind.is_loud() { "loud" } else { "quiet" };
            let (noticed, named) = (part(of.noticed, of.all), part(of.named, of.all));
            let (until, until_named) = (middle(&of.until), middle(&of.until_named));
            let _ = writeln!(
                text,
                "| {kind} | {loud} | {} | {noticed:.2} | {named:.2} | {until} | {until_named} |",
                of.all
            );
        }
        let all = self.explained + self.unexplained.len();
        let _ =
            writeln!(text, "\n{} false alerts per host and day ", rate(self.unexplained.len(), self.days));
        let _ = writeln!(
            text,
            "({} in {} days), and besides {} infos of deploys per host and day.",
            self.unexplained.len(),
            self.days,
            rate(self.infos, self.days)
        );
        let _ = writeln!(text, "Of {all} alerts, {:.2} are of an attack.", part(self.explained, all));
        text
    }
}

fn part(some: usize, all: usize) -> f64 {
    if all == 0 { 1.0 } else { some as f64 / all as f64 }
}

fn rate(count: usize, days: i64) -> String {
    format!("{:.2}", count as f64 / days.max(1) as f64)
}

/// Minutes in the middle, as people say them.
fn middle(minutes: &[i64]) -> String {
    let mut sorted = minutes.to_vec();
    sorted.sort_unstable();
    match sorted.get(sorted.len() / 2) {
        None => "-".to_owned(),
        Some(minutes) if *minutes < 120 => format!("{minutes} min"),
        Some(minutes) => format!("{:.1} h", *minutes as f64 / 60.0),
    }
}
