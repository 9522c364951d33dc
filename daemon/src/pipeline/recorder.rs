//! Looks every few seconds what interactions have gained: has it looked through for what is unusual, and writes it down together
//! with denials, alerts and losses. Nobody waits for the disk but this thread.

use std::{
    sync::mpsc::SyncSender,
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{Injected, trouble::Trouble};
use crate::{
    baseline::anomaly::{State, Turn},
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

/// Records until `cancel`, and what is there then.
pub(super) fn keep(
    view: &View,
    settings: &config::History,
    outlet: &Outlet,
    loop_: &SyncSender<Injected>,
    cancel: &CancellationToken,
) {
    let mut recorder = Recorder {
        view,
        settings,
        loop_,
        store: None,
        batch: Batch::default(),
        answers: Vec::new(),
        missed: 0,
        lossy: false,
        pruned: Instant::now(),
        learned: Instant::now(),
        trouble: Trouble::default(),
    };
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
    /// Records that were shed or lost until the last turn.
    missed: u64,
    /// Whether something is missing since the last turn.
    lossy: bool,
    pruned: Instant,
    learned: Instant,
    trouble: Trouble,
}

impl Recorder<'_> {
    /// Opens the history, and goes on with what an earlier daemon has learned.
    fn begin(&mut self) {
        if !self.settings.enabled {
            return;
        }
        let learned = self.opened().and_then(|store| {
            let learned = store.state(LEARNED)?;
            self.store = Some(store);
            Ok(learned)
        });
        match learned {
            Ok(None) => {}
            Ok(Some(json)) => {
                let state = serde_json::from_str::<State>(&json).map_err(anyhow::Error::new);
                if let Err(error) = state.and_then(|state| self.view.alerts.restore(state)) {
                    tracing::warn!("what was learned before does not fit, so it is learned anew: {error:#}");
                }
                // Whoever is told again and again of what is open goes on being told.
                self.view.alerts.open().iter().for_each(|alert| self.view.notify.send(alert));
            }
            // It is tried again, and told, when there is something to write.
            Err(error) => self.view.history.failed(format!("{error:#}")),
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
        if is_last || self.learned.elapsed() >= LEARNED_EVERY {
            self.learned = Instant::now();
            match serde_json::to_string(&self.view.alerts.state()) {
                Ok(json) => self.batch.set_state(LEARNED, json),
                Err(error) => tracing::error!(%error, "what was learned cannot be written down"),
            }
        }
        let written = self.write(now);
        if let Err(error) = &written {
            self.view.history.failed(format!("{error:#}"));
            if history::is_damage(error) {
                // The next turn sets it aside and begins a new one.
                self.store = None;
            }
        }
        if let Some(news) = self.trouble.news(written) {
            tracing::error!("the history is not written, which is tried again: {news}");
        }
    }

    /// Looks for what is unusual. Alerts go to the loop, which makes events of them.
    fn look_through(&mut self, gained: &[Edge], now: Timestamp) {
        let missed = self.view.counts.missing().map_or(self.missed, |(shed, lost)| shed + lost);
        let lossy = self.lossy || missed > self.missed;
        let answers = std::mem::take(&mut self.answers);
        (self.missed, self.lossy) = (missed, false);
        for alert in self.view.alerts.turn(&Turn { now, gained, answers: &answers, lossy }) {
            if alert.is_open() && alert.count == 1 {
                tracing::warn!(alert = alert.id, severity = %alert.severity, "{}", alert.sentence);
            }
            self.view.notify.send(&alert);
            // Once the loop has ended it makes no events any more.
            let _ = self.loop_.send(Injected::Alert(Box::new(alert)));
        }
    }

    fn write(&mut self, now: Timestamp) -> anyhow::Result<()> {
        if self.store.is_none() {
            self.store = Some(self.opened()?);
        }
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
