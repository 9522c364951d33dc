//! What is called unusual.

use serde::{Deserialize, Serialize};

use super::Whole;

/// What is called unusual in who talks to whom: docs/anomalies.md. The rest is learned.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Anomalies {
    /// Whether anything is looked for, and learned.
    pub enabled: bool,
    /// For how many hours from when it is first seen all that a workload does is learned.
    pub learn_hours: Whole<0, 720>,
    /// For how many hours after a workload's image changed what is new is its deploy's.
    pub deploy_hours: Whole<0, 168>,
    /// How many peers and ports that are new and fail within a day are a scan.
    pub fan_out: Whole<4, 10_000>,
    /// What was not seen for so many days is new again.
    pub forget_days: Whole<1, 365>,
    /// After how many minutes an alert that was not seen again is over.
    pub resolve_minutes: Whole<1, 10_080>,
}

impl Default for Anomalies {
    fn default() -> Self {
        Self {
            enabled: true,
            learn_hours: Whole(24),
            deploy_hours: Whole(4),
            fan_out: Whole(20),
            forget_days: Whole(30),
            resolve_minutes: Whole(60),
        }
    }
}
