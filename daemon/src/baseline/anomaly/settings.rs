//! What an operator can choose.

use serde::{Deserialize, Serialize};

/// What an operator can choose of what is called anomalous. Few on purpose: the rest is learned.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether anything is looked for, and learned, at all.
    pub enabled: bool,
    /// For so many hours from when it is first seen, all that a workload does is learned.
    pub learn_hours: u32,
    /// What is new within so many hours after a workload's image changed, its deploy brought along.
    pub deploy_hours: u32,
    /// So many peers and ports that are new and fail, within a day, are a scan. Half as many within ten minutes are one
    /// too, and half as many workloads that one reaches, or that reach one, for the first time within an hour.
    pub fan_out: u32,
    /// What was not seen for so many days is new again.
    pub forget_days: u32,
    /// An alert that was not seen for so many minutes is resolved.
    pub resolve_minutes: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            learn_hours: 24,
            deploy_hours: 4,
            fan_out: 20,
            forget_days: 30,
            resolve_minutes: 60,
        }
    }
}

impl Settings {
    pub(super) fn learn(&self) -> i64 {
        i64::from(self.learn_hours) * HOUR
    }

    pub(super) fn deploy(&self) -> i64 {
        i64::from(self.deploy_hours) * HOUR
    }

    pub(super) fn forget(&self) -> i64 {
        i64::from(self.forget_days.max(1)) * DAY
    }

    pub(super) fn resolve(&self) -> i64 {
        i64::from(self.resolve_minutes.max(1)) * MINUTE
    }

    /// How many new ones that fail within a day are a scan.
    pub(super) fn many(&self) -> usize {
        self.fan_out.max(4) as usize
    }

    /// How many at once are one.
    pub(super) fn burst(&self) -> usize {
        self.many() / 2
    }
}

/// Seconds.
pub(super) const MINUTE: i64 = 60;
/// Seconds.
pub(super) const HOUR: i64 = 3_600;
/// Seconds.
pub(super) const DAY: i64 = 24 * HOUR;
