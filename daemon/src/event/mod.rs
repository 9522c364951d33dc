//! What sinks and rules speak: a record with its process and its workloads. No I/O.
//!
//! One JSON object per event; `docs/events.md` describes it. Fields are only ever added within a schema version.

mod alert;
mod container;
mod id;
mod network;
mod pod;
mod policy;
mod process;
mod protocol;
mod text;
mod workload;

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

pub(crate) use self::workload::of_user;
pub use self::{
    alert::{Acknowledgement, Alert, AlertKind, AlertState, Severity},
    container::{CgroupChange, CgroupEvent},
    network::{DnsAnswer, Endpoint, FlowEnd, FlowEvent, Verdict},
    policy::{Denial, Direction, Reason, RuleName},
    process::{Caller, Exec, Exit, Fork, Process},
    protocol::{Protocol, UnknownProtocol},
    text::is_hostile,
    workload::{Kubernetes, Runtime, Scope, Workload, WorkloadKind},
};
pub(crate) use self::{
    id::{id, number},
    pod::{is_random, of_controller},
};

/// The version of the JSON schema; raised when a field is removed or changes its meaning.
pub const SCHEMA_VERSION: u32 = 1;

/// One event.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Event {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Place in this daemon's stream, from 1 without gaps: a reader can prove what it missed.
    pub seq: u64,
    /// When it happened, RFC 3339 with nanoseconds, UTC.
    pub time: jiff::Timestamp,
    /// One sentence for people.
    pub message: String,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened, by family.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    /// A process made another.
    ProcessFork(Fork),
    /// A process began another program.
    ProcessExec(Exec),
    /// A process ended.
    ProcessExit(Exit),
    /// A flow opened.
    FlowOpen(FlowEvent),
    /// A flow closed, or an attempt failed.
    FlowClose(FlowEvent),
    /// An answer of the DNS arrived.
    DnsAnswer(DnsAnswer),
    /// A cgroup was made, removed or joined.
    Cgroup(CgroupEvent),
    /// A policy denied an interaction, or would have.
    Denial(Denial),
    /// Something unusual began, came again, or is over.
    Alert(Box<Alert>),
    /// Records were shed or lost before they could become events.
    Lost(Lost),
}

/// What is missing since the last such event.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Lost {
    /// The family they belonged to.
    pub family: String,
    /// Records, or events of a reader, that found no room.
    pub records: u64,
    /// Records that were over the budget of the workload.
    #[serde(default)]
    pub shed: u64,
    /// Whose records they were; absent where nobody can tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<Arc<Workload>>,
}

impl Lost {
    /// So many found no room, of nobody in particular.
    #[must_use]
    pub fn of(family: &str, records: u64) -> Self {
        Self { family: family.to_owned(), records, shed: 0, workload: None }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, records, shed, workload } = self;
        if let Some(workload) = workload {
            write!(f, "{workload}: ")?;
        }
        match (shed, records) {
            (0, lost) => write!(f, "{lost} records of family {family} were lost"),
            (shed, 0) => write!(f, "{shed} records of family {family} were shed"),
            (shed, lost) => write!(f, "{shed} records of family {family} were shed, {lost} lost"),
        }
    }
}

impl EventKind {
    /// The name of the kind, as JSON has it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ProcessFork(_) => "process_fork",
            Self::ProcessExec(_) => "process_exec",
            Self::ProcessExit(_) => "process_exit",
            Self::FlowOpen(_) => "flow_open",
            Self::FlowClose(_) => "flow_close",
            Self::DnsAnswer(_) => "dns_answer",
            Self::Cgroup(_) => "cgroup",
            Self::Denial(_) => "denial",
            Self::Alert(_) => "alert",
            Self::Lost(_) => "lost",
        }
    }

    /// The workloads that it is about: who did it, and to whom.
    #[must_use]
    pub fn workloads(&self) -> Vec<&Workload> {
        match self {
            Self::ProcessFork(Fork { workload, .. })
            | Self::ProcessExec(Exec { workload, .. })
            | Self::ProcessExit(Exit { workload, .. })
            | Self::Cgroup(CgroupEvent { workload, .. }) => vec![workload],
            Self::FlowOpen(flow) | Self::FlowClose(flow) => {
                vec![&flow.source.workload, &flow.target.workload]
            }
            Self::DnsAnswer(answer) => vec![&answer.workload, &answer.resolver.workload],
            Self::Denial(denial) => vec![&denial.source.workload, &denial.target.workload],
            Self::Alert(alert) => alert.workloads(),
            Self::Lost(lost) => lost.workload.as_deref().into_iter().collect(),
        }
    }

    /// Whether it tells of one of the daemon's own workloads. That something of theirs was lost is told all the same.
    #[must_use]
    pub fn is_of_canary(&self) -> bool {
        !matches!(self, Self::Lost(_))
            && self.workloads().iter().any(|workload| workload.kind == WorkloadKind::Canary)
    }
}
