//! What a workload tried that was new to it, within a day: a scan tries much.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{room::forget_lowest, settings::DAY};

/// Most that are kept. More is a scan in any case.
const KEPT: usize = 512;

/// Pairs of host and port that were tried and new.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Tries {
    seen: BTreeMap<u64, Try>,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Try {
    /// When it was first tried.
    at: i64,
    /// Whether nothing came of it.
    failed: bool,
    /// Which workload of this host it was, as a number; none for what is outside.
    inside: Option<u64>,
}

impl Tries {
    /// Something new was tried.
    pub(super) fn add(&mut self, pair: u64, inside: Option<u64>, failed: bool, now: i64) {
        if let Some(known) = self.seen.get_mut(&pair) {
            known.failed &= failed;
            return;
        }
        if self.seen.len() >= KEPT {
            forget_lowest(&mut self.seen, |_, one| one.at);
        }
        self.seen.insert(pair, Try { at: now, failed, inside });
    }

    /// How many failed since a time.
    pub(super) fn failed(&self, since: i64) -> usize {
        self.seen.values().filter(|one| one.failed && one.at >= since).count()
    }

    /// How many workloads of this host were new since a time.
    pub(super) fn reached(&self, since: i64) -> usize {
        let recent = self.seen.values().filter(|one| one.at >= since);
        recent.filter_map(|one| one.inside).collect::<BTreeSet<_>>().len()
    }

    /// All of it is normal.
    pub(super) fn clear(&mut self) {
        self.seen.clear();
    }

    pub(super) fn forget(&mut self, now: i64) {
        self.seen.retain(|_, one| now - one.at < DAY);
    }

    pub(super) fn fits(&self) -> bool {
        self.seen.len() <= KEPT
    }
}
