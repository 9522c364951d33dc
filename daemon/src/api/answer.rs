//! What the API answers, as the server writes it and the clients read it.

use serde::{Deserialize, Serialize};

use crate::{
    attribution::{ContainerState, RuntimeStatus},
    config::Report,
    enforcement::{self, Verified},
    history,
    notify::ReceiverStatus,
    sensor::{
        counts::{Counters, HookStatus},
        features::Features,
    },
    syscall::Syscall,
    view::View,
};

/// The version of the API's answers; raised when a field is removed or changes its meaning.
pub const API_VERSION: u32 = 1;

/// Whether the daemon does its work.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Hooks are attached and the pipeline turns.
    Observing,
    /// No hook is attached.
    Blind,
    /// The pipeline has not turned for longer than it may.
    Stalled,
}

/// How the daemon is, in numbers: `GET /v1/status`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Status {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// The daemon's version.
    pub version: String,
    /// Whether it does its work.
    pub state: State,
    /// How long it has been up.
    pub uptime_seconds: u64,
    /// How long ago the pipeline turned.
    pub heartbeat_age_seconds: f64,
    /// `uname -r`.
    pub kernel: String,
    /// Container runtimes.
    pub runtimes: Vec<RuntimeStatus>,
    /// Containers that are there now.
    pub containers: u64,
    /// Those of them that are privileged.
    pub privileged_containers: u64,
    /// Edges of the map.
    pub interactions: u64,
    /// Records that found no room in a ring.
    pub records_lost: u64,
    /// Records over the budget of who had to pay for them.
    #[serde(default)]
    pub records_shed: u64,
    /// Records that could not be read.
    pub records_undecoded: u64,
    /// Events that readers of the stream were too slow for.
    pub events_dropped: u64,
    /// Events with a workload of this host that nothing could be learned about.
    pub unattributed: u64,
    /// The configuration.
    pub config: Report,
    /// The policies.
    #[serde(default)]
    pub policies: enforcement::Report,
    /// Hooks that are attached.
    pub hooks_attached: u64,
    /// Hooks that could not be, but for those that a host may do without.
    pub hooks_refused: u64,
    /// Hooks that nothing needs, and that are off.
    #[serde(default)]
    pub hooks_off: u64,
    /// The history.
    #[serde(default)]
    pub history: history::Report,
    /// Alerts that are open.
    #[serde(default)]
    pub open_alerts: u64,
    /// Whom alerts are sent to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub receivers: Vec<ReceiverStatus>,
    /// Workloads whose system calls are counted; absent while none are selected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub syscall_workloads: Option<u64>,
}

/// System calls of what is selected: `GET /v1/syscalls`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Syscalls {
    /// Whether calls are counted now.
    pub counting: bool,
    /// Why they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Workloads whose calls are counted now.
    pub workloads: u64,
    /// What was counted, also of workloads that are gone or no longer selected.
    pub calls: Vec<Syscall>,
}

/// What works and what does not, and why: `GET /v1/doctor`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Health {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// The daemon's version.
    pub version: String,
    /// Whether it does its work.
    pub state: State,
    /// How long it has been up.
    pub uptime_seconds: u64,
    /// What the kernel offers.
    pub features: Features,
    /// Hooks, attached or refused and why.
    pub hooks: Vec<HookStatus>,
    /// Container runtimes.
    pub runtimes: Vec<RuntimeStatus>,
    /// Whether the policies in force are really enforced; absent while nothing is judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enforcement: Option<Verified>,
    /// The history.
    #[serde(default)]
    pub history: history::Report,
    /// The kernel's counters; absent where they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counters: Option<Counters>,
}

/// An answer that is none.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// What is wrong, in one sentence.
    pub error: String,
}

impl State {
    /// The state at this moment.
    #[must_use]
    pub fn of(view: &View) -> Self {
        if view.heartbeat.age() > super::STALLED_AFTER {
            Self::Stalled
        } else if !view.hooks.list().iter().any(HookStatus::attached) {
            Self::Blind
        } else {
            Self::Observing
        }
    }
}

impl Status {
    /// The status at this moment.
    ///
    /// # Errors
    /// When the kernel's maps cannot be read.
    pub fn of(view: &View) -> anyhow::Result<Self> {
        let mut containers = view.attribution.containers();
        containers.retain(|container| container.state != ContainerState::Exited);
        let (records_shed, records_lost) = view.counts.missing()?;
        let hooks = view.hooks.list();
        Ok(Self {
            schema_version: API_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: State::of(view),
            uptime_seconds: view.started.elapsed().as_secs(),
            heartbeat_age_seconds: view.heartbeat.age().as_secs_f64(),
            kernel: view.features.kernel.clone(),
            runtimes: view.attribution.runtimes(),
            privileged_containers: count(containers.iter().filter(|container| container.privileged)),
            containers: count(containers.iter()),
            interactions: count(view.edges()?.iter()),
            records_lost,
            records_shed,
            records_undecoded: view.metrics.records_undecoded(),
            events_dropped: view.events.dropped(),
            unattributed: view.attribution.unattributed(),
            config: view.config.report(),
            policies: view.policies.report(),
            hooks_attached: count(hooks.iter().filter(|hook| hook.attached())),
            hooks_refused: count(hooks.iter().filter(|hook| hook.is_missing())),
            hooks_off: count(hooks.iter().filter(|hook| hook.off.is_some())),
            history: view.history.report(),
            open_alerts: count(view.alerts.open().iter()),
            receivers: view.notify.receivers(),
            syscall_workloads: view.syscalls.counting().map(|workloads| workloads as u64),
        })
    }
}

impl Syscalls {
    /// What was counted until this moment, of all workloads or of those that are called so.
    ///
    /// # Errors
    /// When the kernel's map cannot be read.
    pub fn of(view: &View, workload: Option<&str>) -> anyhow::Result<Self> {
        let mut calls = view.syscalls.list()?;
        calls.retain(|call| workload.is_none_or(|name| call.workload.is_called(name)));
        let hooks = view.hooks.list();
        let hook = hooks.iter().find(|hook| hook.family == "syscall");
        Ok(Self {
            counting: hook.is_some_and(HookStatus::attached),
            reason: hook.and_then(|hook| hook.refused.clone().or_else(|| hook.off.clone())),
            workloads: view.syscalls.counting().unwrap_or_default() as u64,
            calls,
        })
    }
}

impl Health {
    /// The health at this moment.
    #[must_use]
    pub fn of(view: &View) -> Self {
        Self {
            schema_version: API_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: State::of(view),
            uptime_seconds: view.started.elapsed().as_secs(),
            features: (*view.features).clone(),
            hooks: view.hooks.list(),
            runtimes: view.attribution.runtimes(),
            enforcement: view.policies.verified(),
            history: view.history.report(),
            counters: view.counters().ok(),
        }
    }
}

fn count(items: impl Iterator) -> u64 {
    items.count() as u64
}
