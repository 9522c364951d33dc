//! What is kept of what has happened, and where.

use serde::{Deserialize, Serialize};

use super::{FullPath, Whole};

/// What is kept of what has happened, and where.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct History {
    /// Whether anything is.
    pub enabled: bool,
    /// The folder of its file. It is made where it does not exist.
    pub folder: FullPath,
    /// How often it is written. What is newer is lost when the daemon is killed.
    pub flush_seconds: Whole<1, 60>,
    /// How long it is kept.
    pub keep_days: Whole<1, 3_650>,
    /// How large the file may become, in units of 1,000,000 bytes. What is oldest goes when it is full.
    pub megabytes: Whole<8, 1_048_576>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            enabled: true,
            folder: FullPath::of("/var/lib/cofferdam"),
            flush_seconds: Whole(10),
            keep_days: Whole(30),
            megabytes: Whole(512),
        }
    }
}
