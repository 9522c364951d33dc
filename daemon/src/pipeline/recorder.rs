//! Looks every few seconds what interactions have gained: has it looked through for what is unusual, and writes it down together
//! with denials, alerts and losses. Nobody waits for the disk but this thread.

use std::{
    collections::BTreeMap,
    sync::mpsc::SyncSender,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;

use super::{Injected, trouble::Trouble};
use crate::{
    baseline::anomaly::Turn,
    config,
    event::{DnsAnswer, EventKind},
    history::{self, Batch, Bounds, Missed, Outlet, Store, is_kept},
    interaction::Edge,
    view::View,
};

/// How often events are taken over, and at which the thread notices that it shall stop.
const TICK: Duration = Duration::from_millis(250);
/// How often it is looked for what is too old or too much.
const PRUNE_EVERY: Duration = Duration::from_mins(1);
/// How often what was learned is written down, which is some megabytes on a host with many workloads.
const LEARNED_EVERY: Duration = Duration::from_mins(10);
/// Answers of the DNS that are looked through in one turn; of more, nothing is learned in that turn.
const MOST_ANSWERS: usize = 20_000;
/// Under which name the history keeps what was learned.
const LEARNED: &str = "learned";
/// And the alerts, which are few and may not be lost by a kill.
const ALERTS: &str = "alerts";

/// Records until `cancel`, and what is there then.
pub(super) fn keep(
    view: &View,
    settings: &config::History,
    outlet: &Outlet,
    loop_: &SyncSender<Injected>,
    cancel: &CancellationToken,
) {
    let mut recorder = Recorder::new(view, settings, loop_);
    // A file is looked through when it is opened, which may take seconds.
    recorder.begin();
    let every = Duration::from_secs(settings.flush_seconds.get().into());
    let mut next = Instant::now() + every;
    loop {
        let is_last = cancel.is_cancelled();
        recorder.take(outlet);
        if is_last || Instant::now() >= next {
            next = Instant::now() + every;
            recorder.turn(is_last);
        }
        if is_last {
            return;
        }
        thread::sleep(TICK);
    }
}

struct Recorder<'a> {
    view: &'a View,
    settings: &'a config::History,
    loop_: &'a SyncSender<Injected>,
    /// None while it cannot be opened, or nothing is to be kept.
    store: Option<Store>,
    batch: Batch,
    /// What was answered to questions of the DNS since the last turn.
    answers: Vec<DnsAnswer>,
    /// Records that were lost until the last turn. What one sheds that is over its budget is no loss of the others.
    lost: u64,
    /// Whether something is missing since the last turn.
    lossy: bool,
    /// Whether it goes on with what an earlier daemon knew: before, nothing may be written in its place.
    recalled: bool,
    /// Whether alerts have changed that are not written.
    unkept: bool,
    pruned: Instant,
    learned: Instant,
    trouble: Trouble,
    /// Of each text that has to outlive the daemon.
    troubles: BTreeMap<&'static str, Trouble>,
}

impl<'a> Recorder<'a> {
    fn new(view: &'a View, settings: &'a config::History, loop_: &'a SyncSender<Injected>) -> Self {
        Self {
            view,
            settings,
            loop_,
            store: None,
            batch: Batch::default(),
            answers: Vec::new(),
            lost: 0,
            lossy: false,
            recalled: false,
            unkept: false,
            pruned: Instant::now(),
            learned: Instant::now(),
            trouble: Trouble::default(),
            troubles: BTreeMap::new(),
        }
    }

    /// Opens the history, and goes on with what an earlier daemon knew.
    fn begin(&mut self) {
        if !self.settings.enabled {
            return;
        }
        // It is tried again, and told, when there is something to write.
        if let Err(error) = self.open() {
            self.failed(&error);
        }
    }

    /// Has the history open. Goes on with what an earlier daemon knew, the first time that it can be read.
    fn open(&mut self) -> anyhow::Result<()> {
        if self.store.is_none() {
            self.store = Some(self.opened()?);
            // It may be a new one.
            self.unkept = true;
        }
        let Some(store) = self.store.as_ref().filter(|_| !self.recalled) else { return Ok(()) };
        let (learned, alerts) = (store.state(LEARNED)?, store.state(ALERTS)?);
        self.recalled = true;
        self.recall(learned.as_deref(), alerts.as_deref());
        Ok(())
    }

    fn recall(&self, learned: Option<&str>, alerts: Option<&str>) {
        let of = &self.view.alerts;
        if let Err(error) = read(learned).and_then(|state| state.map_or(Ok(()), |state| of.restore(state))) {
            tracing::warn!("what was learned before does not fit, so it is learned anew: {error:#}");
        }
        match read(alerts).and_then(|kept| kept.map(|kept| of.restore_kept(kept)).transpose()) {
            Ok(left) => {
                let left = left.unwrap_or_default();
                left.unheard.iter().for_each(|alert| self.view.notify.send(alert));
                // Whoever is told again and again of what is open goes on being told.
                left.open.iter().for_each(|alert| self.view.notify.resume(alert));
            }
            Err(error) => {
                tracing::warn!("the alerts of before do not fit, so they are forgotten: {error:#}");
            }
        }
    }

    /// Takes over what the loop handed out.
    fn take(&mut self, outlet: &Outlet) {
        let Missed { kept: mut lost, answers } = outlet.missed();
        self.lossy |= answers > 0;
        for event in outlet.take() {
            match event.kind {
                EventKind::DnsAnswer(answer) if self.answers.len() < MOST_ANSWERS => {
                    self.answers.push(answer);
                }
                EventKind::DnsAnswer(_) => self.lossy = true,
                ref kind if is_kept(kind) => lost += self.batch.add_event(event),
                _ => {}
            }
        }
        self.view.history.lost(0, lost);
    }

    /// Looks what interactions gained, and writes all that is there.
    fn turn(&mut self, is_last: bool) {
        let now = Timestamp::now();
        match self.view.gained() {
            Ok(gained) => {
                self.look_through(&gained, now);
                self.view.history.lost(self.batch.add(&gained, now), 0);
            }
            Err(error) => tracing::warn!("what interactions gained cannot be told: {error:#}"),
        }
        if !self.settings.enabled {
            self.batch = Batch::default();
            return;
        }
        let written = self.write(now);
        if let Err(error) = &written {
            self.failed(error);
        }
        if let Some(news) = self.trouble.news(written) {
            tracing::error!("the history is not written, which is tried again: {news}");
        }
        self.keep_known(is_last);
    }

    fn failed(&mut self, error: &anyhow::Error) {
        self.view.history.failed(format!("{error:#}"));
        if history::is_damage(error) {
            // The next turn sets it aside and begins a new one.
            self.store = None;
        }
    }

    /// Writes the alerts, if they have changed, and from time to time what was learned.
    fn keep_known(&mut self, is_last: bool) {
        let is_due = is_last || self.learned.elapsed() >= LEARNED_EVERY;
        if self.unkept || is_due {
            self.unkept = !self.keep(ALERTS, &self.view.alerts.kept());
        }
        if is_due {
            self.learned = Instant::now();
            self.keep(LEARNED, &self.view.alerts.state());
        }
    }

    /// Writes what has to outlive the daemon. Whether that went well.
    fn keep(&mut self, name: &'static str, known: &impl Serialize) -> bool {
        let Some(store) = self.store.as_mut().filter(|_| self.recalled) else { return false };
        let json = serde_json::to_string(known).map_err(anyhow::Error::new);
        let kept = json.and_then(|json| store.set_state(name, &json));
        let is_kept = kept.is_ok();
        if let Err(error) = &kept {
            self.failed(error);
        }
        if let Some(news) = self.troubles.entry(name).or_default().news(kept) {
            tracing::error!("what outlives the daemon ({name}) is not written, which is tried again: {news}");
        }
        is_kept
    }

    /// Looks for what is unusual. Alerts go to the loop, which makes events of them.
    fn look_through(&mut self, gained: &[Edge], now: Timestamp) {
        let lost = self.view.counts.missing().map_or(self.lost, |(_, lost)| lost);
        let lossy = self.lossy || lost > self.lost;
        let answers = std::mem::take(&mut self.answers);
        (self.lost, self.lossy) = (lost, false);
        for alert in self.view.alerts.turn(&Turn { now, gained, answers: &answers, lossy }) {
            self.unkept = true;
            if alert.is_open() && alert.count == 1 {
                tracing::warn!(alert = alert.id, severity = %alert.severity, "{}", alert.sentence);
            }
            self.view.notify.send(&alert);
            // Once the loop has ended it makes no events any more.
            let _ = self.loop_.send(Injected::Alert(Box::new(alert)));
        }
    }

    fn write(&mut self, now: Timestamp) -> anyhow::Result<()> {
        self.open()?;
        let Some(store) = &mut self.store else { return Ok(()) };
        store.write(&self.batch)?;
        self.view.history.wrote(self.batch.len(), now, store);
        self.batch = Batch::default();
        if self.pruned.elapsed() >= PRUNE_EVERY {
            self.pruned = Instant::now();
            store.prune(now)?;
        }
        Ok(())
    }

    fn opened(&self) -> anyhow::Result<Store> {
        let bounds = Bounds {
            bytes: u64::from(self.settings.megabytes.get()) * 1_000_000,
            days: self.settings.keep_days.get(),
        };
        let (store, set_aside) = Store::open(self.settings.folder.path(), bounds)?;
        if let Some(aside) = &set_aside {
            let path = store.path().display();
            tracing::error!(
                "{path} was damaged: it is set aside as {}, and a new one begun",
                aside.display()
            );
        }
        self.view.history.opened(&store, set_aside);
        Ok(store)
    }
}

/// What was written down, where something was.
fn read<T: DeserializeOwned>(json: Option<&str>) -> anyhow::Result<Option<T>> {
    Ok(json.map(serde_json::from_str).transpose()?)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        path::PathBuf,
        sync::{atomic::AtomicU32, atomic::Ordering::Relaxed, mpsc::sync_channel},
    };

    use super::*;
    use crate::{
        api::samples::view,
        config::FullPath,
        event::{Acknowledgement, AlertState},
        metrics::samples::edge,
    };

    /// A place for a folder of its own, removed when dropped.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let name = format!("cofferdam-recorder-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
            Self(std::env::temp_dir().join(name))
        }

        fn settings(&self) -> config::History {
            config::History { folder: FullPath::of(self.0.to_str().unwrap()), ..config::History::default() }
        }

        /// All that lies in it now, in another: as a kill leaves it.
        fn copied(&self) -> Self {
            let copy = Self::new();
            copy.fill_from(self);
            copy
        }

        fn fill_from(&self, other: &Self) {
            fs::create_dir_all(&self.0).unwrap();
            for entry in fs::read_dir(&other.0).unwrap().map(Result::unwrap) {
                fs::copy(entry.path(), self.0.join(entry.file_name())).unwrap();
            }
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// A daemon that began at a place.
    fn with_recorder<T>(view: &View, place: &Place, then: impl FnOnce(&mut Recorder<'_>) -> T) -> T {
        let (settings, loop_) = (place.settings(), sync_channel(100).0);
        let mut recorder = Recorder::new(view, &settings, &loop_);
        recorder.begin();
        then(&mut recorder)
    }

    /// Who is known, and since when.
    fn learned(view: &View) -> Vec<(String, i64)> {
        let state = serde_json::to_value(view.alerts.state()).unwrap();
        let subjects = state["subjects"].as_object().unwrap().clone();
        subjects.into_iter().map(|(name, subject)| (name, subject["since"].as_i64().unwrap())).collect()
    }

    /// Looks at an hour of a time ago, in which one talked to twenty others that refused.
    fn scan(view: &View, hours_ago: i64) {
        let now = Timestamp::now() - jiff::SignedDuration::from_hours(hours_ago);
        let refused = |port| {
            let mut edge = Edge { port, flows: 0, bytes_sent: 0, bytes_received: 0, ..edge() };
            (edge.attempts, edge.failed.refused) = (1, 1);
            edge
        };
        let gained = Vec::from_iter((1..200).map(refused));
        view.alerts.turn(&Turn { now, gained: &gained, answers: &[], lossy: false });
    }

    #[test]
    fn what_an_earlier_daemon_learned_is_kept_by_one_that_could_open_the_history_only_later() {
        let (before, place) = (Place::new(), Place::new());
        let earlier = view(Vec::new());
        scan(&earlier, 2);
        with_recorder(&earlier, &before, |recorder| recorder.turn(true));
        let (known, alerts) = (learned(&earlier), earlier.alerts.list());
        assert!(!known.is_empty() && !alerts.is_empty());

        fs::write(&place.0, "no folder").unwrap();
        let later = view(Vec::new());
        with_recorder(&later, &place, |recorder| {
            recorder.turn(false);
            assert!(learned(&later).is_empty());
            fs::remove_file(&place.0).unwrap();
            place.fill_from(&before);
            recorder.turn(true);
        });
        assert_eq!((learned(&later), later.alerts.list()), (known.clone(), alerts.clone()));
        let last = view(Vec::new());
        with_recorder(&last, &place, |_| ());
        assert_eq!((learned(&last), last.alerts.list()), (known, alerts));
    }

    #[test]
    fn a_kill_loses_no_alert_and_no_word_about_it() {
        let place = Place::new();
        let daemon = view(Vec::new());
        with_recorder(&daemon, &place, |recorder| {
            recorder.turn(false);
            scan(&daemon, 0);
            let alert = daemon.alerts.list().remove(0);
            let by = Acknowledgement { by: 0, at: Timestamp::now(), reason: "a test".to_owned() };
            daemon.alerts.acknowledge(&alert.id, by).unwrap();
            recorder.turn(false);
            let (killed, next) = (place.copied(), view(Vec::new()));
            with_recorder(&next, &killed, |_| ());
            assert_eq!(next.alerts.list(), daemon.alerts.list());
            assert_eq!(next.alerts.list()[0].state, AlertState::Acknowledged);
        });
    }
}
