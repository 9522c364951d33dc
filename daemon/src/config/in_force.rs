//! The configuration that is in force, and what became of the last attempt to change it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Config, Problem, Source};

/// Keys whose values can change while the daemon runs. All that is below one of them can, but for [`MADE_ONCE`].
const RELOADED: [&str; 4] = ["anomalies", "outside", "policies", "syscalls"];

/// Sizes of maps that are made when the daemon starts.
const MADE_ONCE: &str = "policies.room.";

/// What the daemon works with. A broken file changes nothing of it.
#[derive(Debug)]
pub struct InForce {
    source: Source,
    /// As the daemon began; all but what [`is_reloaded`] stays like that.
    begun: Config,
    report: Mutex<Report>,
}

/// How the configuration stands: a part of `GET /v1/status`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The file.
    pub file: String,
    /// When what is in force was read.
    pub since: Timestamp,
    /// What was wrong with the file when it was last read; what was in force before stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Keys whose new value waits for a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs_restart: Vec<String>,
}

impl InForce {
    /// What the daemon begins with.
    #[must_use]
    pub fn new(source: Source, begun: Config) -> Self {
        let report = Report {
            file: source.path().display().to_string(),
            since: Timestamp::now(),
            problem: None,
            needs_restart: Vec::new(),
        };
        Self { source, begun, report: Mutex::new(report) }
    }

    /// How it stands.
    #[must_use]
    pub fn report(&self) -> Report {
        self.lock().clone()
    }

    /// Reads the file anew: what counts from now on, as far as it can change. Blocks.
    ///
    /// # Errors
    /// What is wrong with the file. Then nothing changes.
    pub fn reload(&self) -> Result<Config, Problem> {
        let loaded = self.source.load();
        let mut report = self.lock();
        match &loaded {
            Ok(config) => {
                report.since = Timestamp::now();
                report.problem = None;
                report.needs_restart = self.begun.differences(config);
                report.needs_restart.retain(|key| !is_reloaded(key));
            }
            Err(problem) => report.problem = Some(problem.line().to_owned()),
        }
        loaded
    }

    fn lock(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a key's value can change while the daemon runs.
fn is_reloaded(key: &str) -> bool {
    RELOADED.contains(&key.split('.').next().unwrap_or_default()) && !key.starts_with(MADE_ONCE)
}
