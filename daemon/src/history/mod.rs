//! What has happened, on disk: interactions by the minute, denials, alerts. The only user of rusqlite.
//!
//! ```text
//! ledger -> Gains -> Batch -> Store (pipeline::recorder) -> history.db -> read -> api
//! ```

mod batch;

mod gains;

mod inlet;

mod past;

mod read;

mod rows;

mod store;

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests;

use std::{
    path::PathBuf,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::{
    batch::Batch,
    gains::Gains,
    inlet::{Inlet, KEPT_KINDS, Missed, Outlet, inlet, is_kept},
    past::{Past, Totals},
    read::{Events, Interactions, MOST_EVENTS, MOST_PAST},
    store::{Bounds, FILE_NAME, Store, is_damage},
};
use crate::{
    event::{Event, Workload},
    sink::Filter,
};

/// How the history stands, and what can be asked of it. Shared.
#[derive(Debug, Default)]
pub struct History {
    report: Mutex<Report>,
    written: AtomicU64,
    failures: AtomicU64,
    lost_minutes: AtomicU64,
    lost_events: AtomicU64,
}

/// How it stands: a part of `GET /v1/status`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The file; absent where there is none, or none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Bytes of it that are in use.
    #[serde(default)]
    pub bytes: u64,
    /// Until when all is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_at: Option<Timestamp>,
    /// Why nothing is written now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// A file that was damaged, where it was set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<PathBuf>,
    /// What was lost, for there was no room for it in memory while it could not be written: rows of minutes, and events.
    #[serde(default)]
    pub lost_minutes: u64,
    /// See `lost_minutes`.
    #[serde(default)]
    pub lost_events: u64,
    /// Rows that were written.
    #[serde(default)]
    pub written: u64,
    /// Times that writing failed.
    #[serde(default)]
    pub failures: u64,
}

impl History {
    /// How it stands.
    #[must_use]
    pub fn report(&self) -> Report {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Report {
            lost_minutes: load(&self.lost_minutes),
            lost_events: load(&self.lost_events),
            written: load(&self.written),
            failures: load(&self.failures),
            ..self.lock().clone()
        }
    }

    /// What interactions did in the minutes from `since` to `until`, as far as it has been written. Blocks.
    ///
    /// # Errors
    /// There is no history, or it cannot be read.
    pub fn interactions(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Interactions> {
        read::interactions(&self.file()?, since, until)
    }

    /// Events of that time which this lets through. Blocks.
    ///
    /// # Errors
    /// There is no history, or it cannot be read.
    pub fn events(&self, since: Timestamp, until: Timestamp, filter: &Filter) -> anyhow::Result<Events> {
        read::events(&self.file()?, since, until, filter)
    }

    /// All that is known of a pair of workloads by their names, by service, the last seen first. Blocks.
    ///
    /// # Errors
    /// There is no history, or it cannot be read.
    pub fn totals(&self, source: &str, target: &str) -> anyhow::Result<Vec<Totals>> {
        read::totals(&self.file()?, source, target)
    }

    /// Who was called so, the last known first, 256 at most. Blocks.
    ///
    /// # Errors
    /// There is no history, or it cannot be read.
    pub fn called(&self, name: &str) -> anyhow::Result<Vec<Workload>> {
        read::called(&self.file()?, name)
    }

    /// The denial whose id begins so, as it was told last, and when. Blocks.
    ///
    /// # Errors
    /// There is no history, or it cannot be read.
    pub fn denial(&self, id: &str) -> anyhow::Result<Option<Event>> {
        read::denial(&self.file()?, id)
    }

    /// When the first minute begins of which it tells; `None` while it tells of none. Blocks.
    ///
    /// # Errors
    /// There is no history, or it cannot be read.
    pub fn begins(&self) -> anyhow::Result<Option<Timestamp>> {
        read::begins(&self.file()?)
    }

    /// It is open, and a damaged one was set aside.
    pub fn opened(&self, store: &Store, set_aside: Option<PathBuf>) {
        let mut report = self.lock();
        report.file = Some(store.path().to_owned());
        report.bytes = store.used().unwrap_or_default();
        report.set_aside = set_aside.or(report.set_aside.take());
    }

    /// So many rows were written, of all until this time.
    pub fn wrote(&self, rows: usize, until: Timestamp, store: &Store) {
        self.written.fetch_add(rows as u64, Ordering::Relaxed);
        let bytes = store.used().unwrap_or_default();
        let mut report = self.lock();
        report.bytes = bytes;
        report.written_at = Some(until);
        report.problem = None;
    }

    /// Nothing could be written.
    pub fn failed(&self, problem: String) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.lock().problem = Some(problem);
    }

    /// So many rows of minutes, or events, found no room.
    pub fn lost(&self, minutes: u64, events: u64) {
        self.lost_minutes.fetch_add(minutes, Ordering::Relaxed);
        self.lost_events.fetch_add(events, Ordering::Relaxed);
    }

    fn file(&self) -> anyhow::Result<PathBuf> {
        let report = self.lock();
        report.file.clone().ok_or_else(|| match &report.problem {
            Some(problem) => anyhow::anyhow!("there is no history: {problem}"),
            None => anyhow::anyhow!("there is no history: it is turned off, or has not been opened yet"),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
