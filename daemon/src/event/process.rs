//! Family process: fork, exec, exit.

use std::{fmt, sync::Arc};

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

/// The process that called the kernel, and so tried something.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Caller {
    /// Which; with its executable where that agrees with what it calls itself.
    #[serde(flatten)]
    pub process: Process,
    /// What it calls itself, which may be anything (`/proc/PID/comm`).
    pub command: String,
    /// Real user id in the initial user namespace.
    pub uid: u32,
    /// Its parent, the parent of that one, and so on: those that still ran when it was told, four at most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Process>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { process, command, uid, ancestors } = self;
        write!(f, "pid {} {command}", process.pid)?;
        if let Some(executable) = &process.executable {
            write!(f, " ({executable})")?;
        }
        for ancestor in ancestors {
            write!(f, " ← {}", ancestor.executable.as_deref().unwrap_or("?"))?;
        }
        write!(f, ", user {uid}")
    }
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
