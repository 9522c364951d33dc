//! What was measured, raw: the report makes its figures from this, and so can others.

use std::collections::BTreeMap;

use cofferdam_tests::load::Workload;
use serde::{Deserialize, Serialize};

/// What one run on this machine's kernel found.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Measured {
    pub(crate) machine: Machine,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) hooks: Vec<Hook>,
    pub(crate) costs: Costs,
    pub(crate) crowds: Vec<Crowd>,
    pub(crate) beside_docker: Option<BesideDocker>,
}

/// The daemon beside real containers that do nothing.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct BesideDocker {
    pub(crate) containers: usize,
    pub(crate) memory: Memory,
}

/// Where and what.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) commit: String,
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) processors: usize,
    pub(crate) quick: bool,
}

/// Alternating measurements of one workload, with and without something.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Pair {
    /// What is on or off.
    pub(crate) subject: String,
    pub(crate) workload: Workload,
    /// How often the workload was done in each measurement.
    pub(crate) count: u64,
    pub(crate) blocks: Vec<Block>,
}

/// Nanoseconds each, in the order in which they were measured: off, on, on, off.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Block {
    pub(crate) off: [f64; 2],
    pub(crate) on: [f64; 2],
    /// CPU time that the subject's processes took for each.
    pub(crate) subject_cpu: Option<f64>,
}

/// Something that could not be measured, and why.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Refused {
    pub(crate) subject: String,
    pub(crate) reason: String,
}

/// One program in the kernel, while a workload ran.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Hook {
    pub(crate) workload: Workload,
    pub(crate) program: String,
    /// How often it ran for each.
    pub(crate) runs: f64,
    /// Nanoseconds of each run, the kernel's own clock reading included; instructions in the machine.
    pub(crate) nanoseconds: f64,
}

/// What the daemon takes for itself.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Costs {
    /// CPU seconds for a million events, with nobody who reads them.
    pub(crate) million_unread: Load,
    /// The same with `cofferdam events --json` reading all.
    pub(crate) million_read: Load,
    pub(crate) idle: Idle,
    pub(crate) latency: Latency,
}

/// Events, and what they cost the daemon.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Load {
    pub(crate) events: u64,
    pub(crate) per_second: f64,
    pub(crate) cpu_seconds_per_million: f64,
}

/// The daemon when nothing happens.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Idle {
    pub(crate) cpu_percent: f64,
    pub(crate) wake_ups_per_second: f64,
    pub(crate) memory: Memory,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Memory {
    /// `VmRSS`, in which the rings count twice.
    pub(crate) resident: u64,
    /// `Pss`.
    pub(crate) proportional: u64,
}

/// From the kernel's time stamp to the line that `cofferdam events --json` has printed. Seconds.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Latency {
    pub(crate) events: u64,
    pub(crate) per_second: f64,
    pub(crate) median: f64,
    pub(crate) p99: f64,
    pub(crate) longest: f64,
}

/// A measurement among so many containers.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Crowd {
    pub(crate) containers: usize,
    pub(crate) pair: Pair,
    pub(crate) memory: Memory,
    pub(crate) load: Load,
    pub(crate) idle_cpu_percent: f64,
}

/// What one run in the machine that counts instructions found.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Counted {
    pub(crate) kernel: String,
    pub(crate) runs: Vec<CountedRun>,
    /// Of Cofferdam.
    pub(crate) hooks: Vec<Hook>,
    pub(crate) refused: Vec<Refused>,
}

/// Instructions for each time that the workload was done.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct CountedRun {
    /// What was on; `off` when nothing was.
    pub(crate) subject: String,
    pub(crate) workload: Workload,
    /// All, of everything that ran: the machine has one CPU.
    pub(crate) instructions: Vec<f64>,
    /// Those of the subject's own processes, which are among them.
    pub(crate) of_process: Vec<f64>,
}

/// What judging by policies costs.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Judged {
    pub(crate) machine: Machine,
    /// Bytes of each map while no policy was ever there.
    pub(crate) maps_empty: BTreeMap<String, u64>,
    pub(crate) rows: Vec<Plans>,
    /// Bytes of each map with the most rules, in both slots.
    pub(crate) maps_full: BTreeMap<String, u64>,
    /// Bytes that a process holds for them.
    pub(crate) process: u64,
    pub(crate) changes: Vec<Change>,
}

/// Among so many rules and workloads.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Plans {
    pub(crate) rules: usize,
    pub(crate) workloads: usize,
    pub(crate) identities: usize,
    pub(crate) pairs: usize,
    pub(crate) intervals: usize,
    /// To how many packets went.
    pub(crate) targets: usize,
    /// Before and after they were in force.
    pub(crate) off: Vec<Price>,
    pub(crate) on: Vec<Price>,
    /// Until they were in force, once they were read.
    pub(crate) seconds: f64,
    pub(crate) map_bytes: u64,
}

/// Nanoseconds that a hook takes for a packet.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Price {
    /// To one target.
    pub(crate) same: f64,
    /// Each to another, with the two readings of the clock around it.
    pub(crate) each: f64,
}

/// Seconds until something is in force.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Change {
    pub(crate) what: String,
    /// The text.
    pub(crate) reading: f64,
    /// Alone, which is a part of the next.
    pub(crate) compiling: f64,
    /// Until the kernel judges by it.
    pub(crate) applying: f64,
}
