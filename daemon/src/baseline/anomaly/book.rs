//! The alerts that are kept: one for each cause, however often it comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    gain::Service,
    room::forget_lowest,
    settings::{DAY, MINUTE, Settings},
};
use crate::event::{Acknowledgement, Alert, AlertKind, AlertState, Severity, Workload, id};

/// Alerts that are kept. Of more, resolved ones go first, and of those the oldest.
pub(super) const KEPT: usize = 1_000;
/// For how long resolved ones are kept, in seconds.
const RESOLVED: i64 = 7 * DAY;
/// One that goes on is told of again after so many seconds.
const AGAIN: i64 = 10 * MINUTE;
/// What is new is resolved after so many seconds of silence at the least: it may be done once a day.
const SILENT: i64 = DAY;
/// What was acknowledged is news again when it is so many times as much.
const MORE: u64 = 4;

/// Something anomalous within a turn.
#[derive(Debug)]
pub(super) struct Finding {
    /// What the workload that it is about is learned as: of it nothing is learned meanwhile.
    pub(super) subject: String,
    pub(super) kind: AlertKind,
    pub(super) severity: Severity,
    pub(super) source: Arc<Workload>,
    pub(super) target: Option<Arc<Workload>>,
    pub(super) service: Option<Service>,
    /// What the peer is learned as, or which domain or measure it is about.
    pub(super) about: String,
    /// How much, where that counts; else zero.
    pub(super) level: u64,
    pub(super) sentence: String,
}

/// An alert, and what it is about.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Kept {
    pub(super) alert: Alert,
    pub(super) subject: String,
    pub(super) about: String,
    pub(super) level: u64,
    /// When it was last told of, or acknowledged, in seconds.
    told: i64,
}

/// The alerts, by their id.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Book {
    kept: BTreeMap<String, Kept>,
}

impl Finding {
    /// The same whenever it comes.
    fn id(&self) -> String {
        let service = self.service.map(|(protocol, port)| protocol.service(port)).unwrap_or_default();
        id([self.kind.name(), &self.subject, &self.about, &service])
    }
}

impl Book {
    /// Takes a finding in; what is to be told of it, and of one that had to go for it.
    pub(super) fn raise(&mut self, finding: Finding, at: Timestamp) -> Vec<Alert> {
        let id = finding.id();
        let Some(kept) = self.kept.get_mut(&id) else {
            let gone = self.make_room();
            let kept = Kept::new(id.clone(), finding, at);
            let alert = kept.alert.clone();
            self.kept.insert(id, kept);
            return gone.into_iter().chain([alert]).collect();
        };
        kept.again(finding, at).into_iter().collect()
    }

    /// Resolves what was not seen for long, and forgets what was resolved long ago.
    pub(super) fn resolve(&mut self, at: Timestamp, settings: &Settings) -> Vec<Alert> {
        let age = |kept: &Kept| at.as_second() - kept.alert.last_seen.as_second();
        let mut resolved = Vec::new();
        for kept in self.kept.values_mut() {
            if kept.alert.is_open() && age(kept) >= kept.lasts(settings) {
                resolved.push(kept.end(at));
            }
        }
        self.kept.retain(|_, kept| match kept.alert.state {
            AlertState::Open => true,
            AlertState::Acknowledged => age(kept) < settings.forget(),
            AlertState::Resolved => age(kept) < RESOLVED,
        });
        resolved
    }

    /// Resolves open ones that are part of another one.
    pub(super) fn fold(&mut self, at: Timestamp, is_part: impl Fn(&Kept) -> bool) -> Vec<Alert> {
        let open = self.kept.values_mut().filter(|kept| kept.alert.is_open());
        open.filter(|kept| is_part(kept)).map(|kept| kept.end(at)).collect()
    }

    /// Resolves all that are open, as nobody looks whether they go on; they say so.
    pub(super) fn end_all(&mut self, at: Timestamp) -> Vec<Alert> {
        let open = self.kept.values_mut().filter(|kept| kept.alert.is_open());
        let ended = open.map(|kept| {
            kept.alert.sentence += "; anomalies are not looked for any more";
            kept.end(at)
        });
        ended.collect()
    }

    /// Of whom nothing may be learned: what is only worth to know stops nobody.
    pub(super) fn suspects(&self) -> BTreeSet<String> {
        let open = self.kept.values().filter(|kept| kept.alert.is_open());
        open.filter(|kept| kept.alert.severity > Severity::Info).map(|kept| kept.subject.clone()).collect()
    }

    /// Whom an open alert of a kind is about.
    pub(super) fn open(&self, kind: AlertKind) -> BTreeSet<String> {
        let open = self.kept.values().filter(|kept| kept.alert.is_open());
        open.filter(|kept| kept.alert.kind == kind).map(|kept| kept.subject.clone()).collect()
    }

    /// Whether it is open of somebody that much leaves, and to whom.
    pub(super) fn tells_whither(&self, subject: &str) -> bool {
        self.kept.values().any(|kept| {
            kept.alert.is_open()
                && kept.alert.kind == AlertKind::Exfiltration
                && kept.subject == subject
                && !kept.about.is_empty()
        })
    }

    /// Somebody has looked at it.
    pub(super) fn acknowledge(&mut self, id: &str, ack: Acknowledgement) -> Option<Kept> {
        let kept = self.kept.get_mut(id)?;
        kept.told = ack.at.as_second();
        kept.alert.state = AlertState::Acknowledged;
        kept.alert.acknowledged = Some(ack);
        Some(kept.clone())
    }

    pub(super) fn alerts(&self) -> Vec<Alert> {
        self.kept.values().map(|kept| kept.alert.clone()).collect()
    }

    pub(super) fn fits(&self) -> bool {
        self.kept.len() <= KEPT
    }

    /// Takes over those of an older book that are not here, as far as there is room. What is to be told of them: those that had
    /// to go, or were told since a time and may be heard of by nobody; and the others that are open.
    pub(super) fn take_over(&mut self, mut older: Self, since: i64) -> (Vec<Alert>, Vec<Alert>) {
        older.kept.retain(|id, _| !self.kept.contains_key(id));
        let mut unheard = Vec::new();
        while !older.kept.is_empty() && older.kept.len() + self.kept.len() > KEPT {
            unheard.extend(older.forget_one());
        }
        let (late, early): (Vec<_>, Vec<_>) = older.kept.values().partition(|kept| kept.told >= since);
        let alert = |kept: &Kept| kept.alert.clone();
        unheard.extend(late.into_iter().map(alert));
        let open = early.into_iter().map(alert).filter(Alert::is_open).collect();
        self.kept.append(&mut older.kept);
        (unheard, open)
    }

    fn make_room(&mut self) -> Option<Alert> {
        if self.kept.len() < KEPT { None } else { self.forget_one() }
    }

    /// One that is open is over for whoever was told of it, as nobody will tell him more; and it says why.
    fn forget_one(&mut self) -> Option<Alert> {
        let rank = |kept: &Kept| match kept.alert.state {
            AlertState::Resolved => 0,
            AlertState::Open => 1,
            AlertState::Acknowledged => 2,
        };
        let gone =
            forget_lowest(&mut self.kept, |_, kept| (rank(kept), kept.alert.severity, kept.alert.last_seen));
        let mut alert = gone?.alert;
        if !alert.is_open() {
            return None;
        }
        alert.state = AlertState::Resolved;
        alert.sentence += &format!("; forgotten, as there are more than {KEPT} alerts");
        Some(alert)
    }
}

impl Kept {
    fn new(id: String, finding: Finding, at: Timestamp) -> Self {
        let Finding { subject, kind, severity, source, target, service, about, level, sentence } = finding;
        let (protocol, port) = service.unzip();
        let alert = Alert {
            id,
            kind,
            severity,
            source,
            target,
            protocol,
            port,
            sentence,
            began: at,
            last_seen: at,
            count: 1,
            state: AlertState::Open,
            acknowledged: None,
        };
        Self { alert, subject, about, level, told: at.as_second() }
    }

    /// For how many seconds it must not be seen to be resolved. What is new is not over because it is silent, nor is what
    /// leaves within a day.
    fn lasts(&self, settings: &Settings) -> i64 {
        match self.alert.kind {
            AlertKind::NewEdge
            | AlertKind::NewService
            | AlertKind::NewDestination
            | AlertKind::Exfiltration => SILENT.max(settings.resolve()),
            _ => settings.resolve(),
        }
    }

    fn end(&mut self, at: Timestamp) -> Alert {
        self.alert.state = AlertState::Resolved;
        self.told = at.as_second();
        self.alert.clone()
    }

    fn again(&mut self, finding: Finding, at: Timestamp) -> Option<Alert> {
        let alert = &mut self.alert;
        let news = match alert.state {
            AlertState::Acknowledged if self.level > 0 && finding.level / MORE >= self.level => true,
            AlertState::Acknowledged => {
                alert.last_seen = at;
                return None;
            }
            AlertState::Resolved => true,
            AlertState::Open => finding.severity > alert.severity || at.as_second() - self.told >= AGAIN,
        };
        // What is worse stays so while it is open; what came again is as bad as it is now.
        let worse = !alert.is_open() || finding.severity >= alert.severity;
        if worse {
            (alert.severity, alert.sentence) = (finding.severity, finding.sentence);
        }
        if alert.state == AlertState::Acknowledged {
            alert.acknowledged = None;
        }
        (alert.state, alert.last_seen) = (AlertState::Open, at);
        alert.count = alert.count.saturating_add(1);
        self.level = self.level.max(finding.level);
        news.then(|| {
            self.told = at.as_second();
            self.alert.clone()
        })
    }
}
