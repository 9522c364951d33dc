//! Who reached a workload for the first time, within an hour: a trap, or a server that took over a name, draws many.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::settings::HOUR;

/// Most that are kept.
const KEPT: usize = 64;

/// Workloads that were new to one, by when.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Callers {
    seen: BTreeMap<String, i64>,
}

impl Callers {
    /// One was new.
    pub(super) fn add(&mut self, name: &str, now: i64) {
        self.forget(now);
        if self.seen.len() < KEPT && !self.seen.contains_key(name) {
            self.seen.insert(name.to_owned(), now);
        }
    }

    /// Who was new within the last hour.
    pub(super) fn recent(&self, now: i64) -> impl Iterator<Item = &str> {
        self.seen.iter().filter(move |(_, at)| now - **at < HOUR).map(|(name, _)| name.as_str())
    }

    pub(super) fn forget(&mut self, now: i64) {
        self.seen.retain(|_, at| now - *at < HOUR);
    }

    pub(super) fn fits(&self) -> bool {
        self.seen.len() <= KEPT
    }
}
