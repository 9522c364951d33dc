//! Every metric: what the loop counts as events pass, and what is read from the kernel when Prometheus asks.
//!
//! `definitions` is the list. Nothing here waits for anything but a short lock that is never held over I/O.

mod anomalies;
mod bounded;
mod daemon;
mod definitions;
mod edges;
mod history;
mod kernel;
mod labels;
mod page;
mod policies;
mod series;
mod syscalls;

use std::{
    array,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use cofferdam_common::record::family;

use self::{
    bounded::Bounded,
    definitions as metric,
    edges::EdgeSeries,
    page::Page,
    policies::{RuleSeries, ShadowSeries},
    syscalls::SyscallSeries,
};
use crate::{
    attribution::{ContainerState, DNS_OUTCOMES, Overflows, RuntimeState, RuntimeStatus},
    config::Report,
    enforcement,
    event::{Alert, CgroupChange, CgroupEvent, Event, EventKind, Lost, Workload, WorkloadKind},
    interaction::Edge,
    notify::ReceiverStatus,
    sensor::counts::{Counters, HookStatus},
    sink::KINDS,
    syscall::Syscall,
    view::View,
};

/// The media type of [`Metrics::scrape`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Parts of a scrape that can fail by themselves.
const PARTS: [&str; 4] = ["ledger", "counters", "process", "syscalls"];

/// Counters of the daemon, and what was shown of the kernel's.
#[derive(Debug)]
pub struct Metrics {
    events: [AtomicU64; KINDS.len()],
    delivered: [AtomicU64; family::COUNT as usize],
    undecoded: AtomicU64,
    starts: [AtomicU64; labels::RUNTIMES.len()],
    stops: [AtomicU64; labels::RUNTIMES.len()],
    execs: Mutex<Bounded<String>>,
    /// Records that did not come through, by workload, family and why.
    missing: Mutex<Bounded<[String; 3]>>,
    edges: Mutex<EdgeSeries>,
    rules: Mutex<RuleSeries>,
    shadow: Mutex<ShadowSeries>,
    syscalls: Mutex<SyscallSeries>,
    info_folded: AtomicU64,
    scrape_failures: [AtomicU64; PARTS.len()],
}

/// What a scrape is made of.
#[derive(Debug, Default)]
struct Readings {
    /// `None` where they could not be read.
    counters: Option<Counters>,
    /// `None` where they could not be read.
    syscalls: Option<Vec<Syscall>>,
    hooks: Vec<HookStatus>,
    containers: Vec<Arc<Workload>>,
    runtimes: Vec<RuntimeStatus>,
    unattributed: u64,
    unclaimed: u64,
    overflows: Overflows,
    dns_answers: [u64; DNS_OUTCOMES.len()],
    dns_names: usize,
    archive_folded: u64,
    events_dropped: u64,
    receivers: Vec<ReceiverStatus>,
    heartbeat_age: f64,
    config: Option<Report>,
    policies: enforcement::Report,
    history: crate::history::Report,
    alerts: Vec<Alert>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All counters at zero.
    #[must_use]
    pub fn new() -> Self {
        Self {
            events: array::from_fn(|_| AtomicU64::new(0)),
            delivered: array::from_fn(|_| AtomicU64::new(0)),
            undecoded: AtomicU64::new(0),
            starts: array::from_fn(|_| AtomicU64::new(0)),
            stops: array::from_fn(|_| AtomicU64::new(0)),
            execs: Mutex::default(),
            missing: Mutex::default(),
            edges: Mutex::new(EdgeSeries::new(metric::FLOWS.limit)),
            rules: Mutex::new(RuleSeries::new()),
            shadow: Mutex::new(ShadowSeries::new()),
            syscalls: Mutex::new(SyscallSeries::new()),
            info_folded: AtomicU64::new(0),
            scrape_failures: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Counts an event as it passes.
    pub fn observe(&self, event: &Event) {
        if let Some(counter) = position(&KINDS, event.kind.name()).and_then(|at| self.events.get(at)) {
            increment(counter);
        }
        match &event.kind {
            EventKind::ProcessExec(exec) => {
                let workload = labels::workload(&exec.workload).into_owned();
                let other = |_| labels::OTHER.to_owned();
                lock(&self.execs).add(workload, other, metric::PROCESS_EXECS.limit, 1);
            }
            EventKind::Lost(lost) => self.count_missing(lost),
            EventKind::Cgroup(cgroup) if is_containers_own(cgroup) => match cgroup.change {
                CgroupChange::Made => count_runtime(&self.starts, &cgroup.workload),
                CgroupChange::Removed => count_runtime(&self.stops, &cgroup.workload),
                CgroupChange::Attached => {}
            },
            _ => {}
        }
    }

    fn count_missing(&self, lost: &Lost) {
        let workload = lost.workload.as_deref().map_or(labels::OTHER.into(), labels::workload);
        for (reason, count) in [("shed", lost.shed), ("lost", lost.records)] {
            if count > 0 {
                let of = |workload: &str| [workload, &lost.family, reason].map(str::to_owned);
                let limit = metric::RECORDS_MISSING.limit;
                lock(&self.missing).add(of(&workload), |_| of(labels::OTHER), limit, count);
            }
        }
    }

    /// Counts a record that came out of a ring, by its family ([`family`]).
    pub fn delivered(&self, family: u32) {
        if let Some(counter) = self.delivered.get(family as usize) {
            increment(counter);
        }
    }

    /// Counts a record that could not be read.
    pub fn undecoded(&self) {
        increment(&self.undecoded);
    }

    /// How many records could not be read.
    #[must_use]
    pub fn records_undecoded(&self) -> u64 {
        self.undecoded.load(Ordering::Relaxed)
    }

    /// The answer to a scrape, in the text format 0.0.4 ([`CONTENT_TYPE`]). Reads the kernel's maps: milliseconds,
    /// so not for an async task.
    #[must_use]
    pub fn scrape(&self, view: &View) -> String {
        let begun = Instant::now();
        let mut denials = None;
        let read = || {
            let (edges, by_rule) = view.edges_and_denials()?;
            denials = Some(by_rule);
            lock(&self.shadow).update(view.policies.shadowed(&edges).as_ref(), begun);
            Ok(edges)
        };
        self.count_edges(read, begun);
        if let Some(denials) = denials {
            lock(&self.rules).update(&denials, begun);
        }
        let readings = Readings {
            counters: self.part(1, view.counters()),
            syscalls: self.part(3, view.syscalls.list()),
            hooks: view.hooks.list(),
            containers: view
                .attribution
                .containers()
                .into_iter()
                .filter(|container| container.state != ContainerState::Exited)
                .map(|container| container.workload)
                .collect(),
            runtimes: view.attribution.runtimes(),
            unattributed: view.attribution.unattributed(),
            unclaimed: view.attribution.unclaimed(),
            overflows: view.attribution.overflows(),
            dns_answers: view.attribution.dns_answers(),
            dns_names: view.attribution.dns_names(),
            archive_folded: lock(&view.archive).folded() + view.syscalls.folded(),
            events_dropped: view.events.dropped(),
            receivers: view.notify.receivers(),
            heartbeat_age: view.heartbeat.age().as_secs_f64(),
            config: Some(view.config.report()),
            policies: view.policies.report(),
            history: view.history.report(),
            alerts: view.alerts.list(),
        };
        self.render(&readings, begun)
    }

    /// Lets `change` rename workloads. Series of interactions go on from where they are. Blocks, as [`Self::scrape`].
    pub fn across_renaming(&self, view: &View, change: impl FnOnce()) {
        let mut series = lock(&self.edges);
        if let Some((before, after)) = self.part(0, view.renamed(change)) {
            let now = Instant::now();
            series.update(&before, now);
            series.rename(&after, now);
        }
    }

    /// The series are held while the map is read, so that nobody renames a workload in between.
    fn count_edges(&self, read: impl FnOnce() -> anyhow::Result<Vec<Edge>>, now: Instant) {
        let mut series = lock(&self.edges);
        if let Some(edges) = self.part(0, read()) {
            series.update(&edges, now);
        }
    }

    fn part<T>(&self, part: usize, result: anyhow::Result<T>) -> Option<T> {
        result
            .inspect_err(|error| {
                self.scrape_failures.get(part).map(increment);
                tracing::warn!("a scrape is incomplete: {error:#}");
            })
            .ok()
    }

    fn render(&self, readings: &Readings, begun: Instant) -> String {
        let mut page = Page::default();
        self.write_edges(&mut page);
        lock(&self.rules).write(&mut page);
        lock(&self.shadow).write(&mut page);
        self.write_syscalls(&mut page, readings.syscalls.as_deref(), begun);
        self.write_containers(&mut page, readings);
        self.write_events(&mut page, readings);
        kernel::write(&mut page, readings);
        self.part(2, daemon::write(&mut page).map_err(anyhow::Error::from));
        for (part, failures) in PARTS.iter().zip(&self.scrape_failures) {
            page.count(&metric::SCRAPE_FAILURES, &[part], failures.load(Ordering::Relaxed));
        }
        let revision = option_env!("COFFERDAM_REVISION").unwrap_or("unknown");
        let rustc = option_env!("COFFERDAM_RUSTC").unwrap_or("unknown");
        page.count(&metric::BUILD_INFO, &[env!("CARGO_PKG_VERSION"), revision, rustc], 1);
        if let Some(config) = &readings.config {
            page.count(&metric::CONFIG_RELOADED, &[], config.problem.is_none().into());
            page.add(&metric::CONFIG_RELOAD_TIME, &[], config.since.as_duration().as_secs_f64());
        }
        policies::write(&mut page, &readings.policies);
        history::write(&mut page, &readings.history);
        anomalies::write(&mut page, &readings.alerts);
        page.add(&metric::HEARTBEAT_AGE, &[], readings.heartbeat_age);
        page.add(&metric::SCRAPE_DURATION, &[], begun.elapsed().as_secs_f64());
        page.text().unwrap_or_else(|error| {
            tracing::error!(%error, "the metrics could not be written");
            String::new()
        })
    }

    fn write_edges(&self, page: &mut Page) {
        let series = lock(&self.edges);
        series.write(page);
        for name in [&metric::FLOWS, &metric::FLOW_ATTEMPTS, &metric::FLOW_BYTES, &metric::DENIALS] {
            page.count(&metric::SERIES_FOLDED, &[name.name], series.folded());
        }
    }

    fn write_syscalls(&self, page: &mut Page, counted: Option<&[Syscall]>, now: Instant) {
        let mut series = lock(&self.syscalls);
        if let Some(counted) = counted {
            series.update(counted, now);
        }
        series.write(page);
    }

    fn write_containers(&self, page: &mut Page, readings: &Readings) {
        for (at, runtime) in labels::RUNTIMES.iter().enumerate() {
            let here = readings.containers.iter().filter(|w| labels::runtime(w.runtime) == *runtime).count();
            page.count(&metric::CONTAINERS, &[runtime], here as u64);
            for (definition, counters) in
                [(&metric::CONTAINER_STARTS, &self.starts), (&metric::CONTAINER_STOPS, &self.stops)]
            {
                let value = counters.get(at).map_or(0, |counter| counter.load(Ordering::Relaxed));
                page.count(definition, &[runtime], value);
            }
        }
        // Replicas share a name and therefore a series: joins on `workload` must find one partner.
        let named: BTreeMap<_, _> = readings.containers.iter().map(|w| (labels::workload(w), w)).collect();
        let folded = named.len().saturating_sub(metric::WORKLOAD_INFO.limit) as u64;
        let folded = self.info_folded.fetch_add(folded, Ordering::Relaxed) + folded;
        page.count(&metric::SERIES_FOLDED, &[metric::WORKLOAD_INFO.name], folded);
        for (name, workload) in named.iter().take(metric::WORKLOAD_INFO.limit) {
            let runtime = labels::runtime(workload.runtime);
            let image = workload.image.as_deref().unwrap_or_default();
            page.count(&metric::WORKLOAD_INFO, &[name, workload.kind.name(), runtime, image], 1);
        }
        let mut runtimes = BTreeMap::<&str, bool>::new();
        for status in &readings.runtimes {
            let up = status.state == RuntimeState::Connected;
            *runtimes.entry(labels::runtime(Some(status.runtime))).or_default() |= up;
        }
        for (runtime, up) in runtimes {
            page.count(&metric::RUNTIME_UP, &[runtime], up.into());
        }
    }

    fn write_events(&self, page: &mut Page, readings: &Readings) {
        for (kind, counter) in KINDS.iter().zip(&self.events) {
            page.count(&metric::EVENTS, &[kind], counter.load(Ordering::Relaxed));
        }
        page.count(&metric::EVENTS_DROPPED, &["stream"], readings.events_dropped);
        for receiver in &readings.receivers {
            page.count(&metric::ALERTS_SENT, &[&receiver.name], receiver.sent);
            page.count(&metric::ALERT_FAILURES, &[&receiver.name], receiver.failed);
            page.count(&metric::ALERTS_DROPPED, &[&receiver.name], receiver.dropped);
        }
        for (name, counter) in family::NAMES.into_iter().zip(&self.delivered) {
            page.count(&metric::RECORDS_DELIVERED, &[name], counter.load(Ordering::Relaxed));
        }
        page.count(&metric::RECORDS_UNDECODED, &[], self.records_undecoded());
        page.count(&metric::UNATTRIBUTED, &[], readings.unattributed);
        page.count(&metric::UNCLAIMED_CGROUPS, &[], readings.unclaimed);
        let Overflows { workloads, processes, labels, names } = readings.overflows;
        for (table, count) in
            [("workloads", workloads), ("processes", processes), ("labels", labels), ("dns_names", names)]
        {
            page.count(&metric::ATTRIBUTION_OVERFLOWS, &[table], count);
        }
        for (outcome, count) in DNS_OUTCOMES.iter().zip(readings.dns_answers) {
            page.count(&metric::DNS_ANSWERS, &[outcome], count);
        }
        page.count(&metric::DNS_NAMES, &[], readings.dns_names as u64);
        page.count(&metric::ARCHIVE_FOLDED, &[], readings.archive_folded);
        // Copied, so that the loop never waits for the writing.
        let execs = lock(&self.execs).clone();
        page.count(&metric::SERIES_FOLDED, &[metric::PROCESS_EXECS.name], execs.folded);
        for (workload, count) in &execs.counts {
            page.count(&metric::PROCESS_EXECS, &[workload], *count);
        }
        let missing = lock(&self.missing).clone();
        page.count(&metric::SERIES_FOLDED, &[metric::RECORDS_MISSING.name], missing.folded);
        for (labels, count) in &missing.counts {
            page.count(&metric::RECORDS_MISSING, &labels.each_ref().map(String::as_str), *count);
        }
    }
}

/// Whether it is the container's own cgroup, not one that was made inside it.
fn is_containers_own(cgroup: &CgroupEvent) -> bool {
    let last = cgroup.path.as_ref().and_then(|path| path.rsplit('/').next());
    let own = match (&cgroup.workload.id, last) {
        (Some(id), Some(last)) => last.contains(id.as_str()),
        _ => true,
    };
    cgroup.workload.kind == WorkloadKind::Container && own
}

fn count_runtime(counters: &[AtomicU64; labels::RUNTIMES.len()], workload: &Workload) {
    if let Some(counter) =
        position(&labels::RUNTIMES, labels::runtime(workload.runtime)).and_then(|at| counters.get(at))
    {
        increment(counter);
    }
}

fn position(names: &[&str], name: &str) -> Option<usize> {
    names.iter().position(|known| *known == name)
}

fn increment(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A thread that panicked left counters that are still counters.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests;
