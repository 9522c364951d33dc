//! Family process: fork, exec, exit.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Workload;

/// A process: number and start time together are its identity.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Process {
    /// Process id in the initial pid namespace (the kernel's tgid).
    pub pid: u32,
    /// When it started, nanoseconds since boot.
    pub start_time: u64,
    /// Path of its executable, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
}

/// A process made another.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Fork {
    /// Where.
    pub workload: Arc<Workload>,
    /// The new process.
    pub process: Process,
    /// Who made it.
    pub parent: Process,
}

/// A process began another program.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Exec {
    /// Where.
    pub workload: Arc<Workload>,
    /// The process, with its new executable.
    pub process: Process,
    /// Its parent.
    pub parent: Process,
    /// The arguments, from `argv[0]`; bytes that are no UTF-8 are replaced.
    pub args: Vec<String>,
    /// Whether arguments were left out because they are longer than the stated limit.
    pub args_truncated: bool,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Real group id in the initial user namespace.
    pub gid: u32,
}

/// A process ended.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Exit {
    /// Where.
    pub workload: Arc<Workload>,
    /// The process.
    pub process: Process,
    /// Exit code, when it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// Number of the signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
}
