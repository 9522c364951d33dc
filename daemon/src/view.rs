//! What api and metrics may look at while the loop runs.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cofferdam_common::{
    ids::CgroupId,
    network::{LedgerKey, LedgerRow},
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::{
    attribution::{Attribution, PublishedPort},
    baseline::Alerts,
    config::InForce,
    enforcement,
    event::Workload,
    history::{Gains, History, Past},
    interaction::{
        self, Archive, Edge, Graph,
        denials::Denials,
        proxy::{self, Published},
        recent::Recent,
    },
    metrics::Metrics,
    notify::Notify,
    sensor::{
        clock::Clock,
        counts::{Counters, Counts, Hooks, Use},
        features::Features,
    },
    sink::EventStream,
    syscall::accounts::{Accounts, Residents},
};

/// Shared, read-only from outside the loop. Cheap to clone.
#[derive(Clone)]
pub struct View {
    /// Names of what is on this host.
    pub attribution: Arc<Attribution>,
    /// The kernel's counts.
    pub counts: Arc<dyn Counts>,
    /// What workloads that are gone have done.
    pub archive: Arc<Mutex<Archive>>,
    /// What interactions had when the recorder looked last.
    pub gains: Arc<Mutex<Gains>>,
    /// The last denials.
    pub recent: Arc<Recent>,
    /// What is unusual.
    pub alerts: Arc<Alerts>,
    /// What has happened, on disk.
    pub history: Arc<History>,
    /// Whose system calls are counted, and the counts.
    pub syscalls: Arc<Accounts>,
    /// Hooks and whether they are attached.
    pub hooks: Hooks,
    /// What the kernel offers.
    pub features: Arc<Features>,
    /// Counters of the daemon.
    pub metrics: Arc<Metrics>,
    /// Where events can be listened to.
    pub events: EventStream,
    /// Whom alerts are sent to.
    pub notify: Notify,
    /// The configuration that is in force.
    pub config: Arc<InForce>,
    /// The policies that are in force.
    pub policies: Arc<enforcement::InForce>,
    /// When the daemon started.
    pub started: Instant,
    /// Set by the loop at each turn.
    pub heartbeat: Heartbeat,
    /// Cancelled by a client that wants the daemon to end.
    pub stop: CancellationToken,
}

impl View {
    /// The map: edges between workloads, folded by name. Interactions of a workload with itself are left out.
    ///
    /// # Errors
    /// When the kernel's maps cannot be read.
    pub fn edges(&self) -> anyhow::Result<Vec<Edge>> {
        Ok(self.edges_and_denials()?.0)
    }

    /// What the kernel's programs count, and how full their maps are.
    ///
    /// # Errors
    /// When the kernel's maps cannot be read.
    pub fn counters(&self) -> anyhow::Result<Counters> {
        let mut counters = self.counts.counters()?;
        let fill = self.policies.fill().into_iter().map(|(name, used, capacity)| Use {
            name: name.to_owned(),
            used: used as u64,
            capacity: capacity.into(),
        });
        counters.maps.extend(fill);
        Ok(counters)
    }

    /// The map, and what rules denied, of one reading.
    ///
    /// # Errors
    /// When the kernel's maps cannot be read.
    pub fn edges_and_denials(&self) -> anyhow::Result<(Vec<Edge>, Denials)> {
        // Held while the kernel is read: rows that are just moved into the archive are seen once, not twice.
        let archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = self.rows()?;
        let edges = proxy::join(archive.with(self.fold(&rows)), &self.published());
        Ok((edges, archive.denials_with(self.denials(&rows))))
    }

    /// The map before and after `change` renames workloads: of the same counts, so that what one lacks the other has.
    ///
    /// # Errors
    /// When the kernel's maps cannot be read. `change` was done then as well.
    pub fn renamed(&self, change: impl FnOnce()) -> anyhow::Result<(Vec<Edge>, Vec<Edge>)> {
        let archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = self.rows();
        let map = |rows: &[_]| proxy::join(archive.with(self.fold(rows)), &self.published());
        let before = rows.as_deref().map(map).unwrap_or_default();
        change();
        let after = map(&rows?);
        Ok((before, after))
    }

    /// Moves the rows that `take` takes out of the kernel into the archive, also those that it took before it failed.
    ///
    /// # Errors
    /// Those of `take`.
    pub fn archive(
        &self,
        take: impl FnOnce(&mut Vec<(LedgerKey, LedgerRow)>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rows = Vec::new();
        let result = take(&mut rows);
        self.attribution.without_canaries(&mut rows);
        {
            let mut gains = self.gains.lock().unwrap_or_else(PoisonError::into_inner);
            let gained = self.fold(&gains.leave(&rows));
            self.history.lost(gains.keep_gone(gained) as u64, 0);
        }
        archive.add(self.fold(&rows));
        archive.add_denials(self.denials(&rows));
        result
    }

    /// What interactions gained since this was last asked, each with the name that it has now: for one who asks, the recorder.
    /// The halves of a connection through a proxy are apart.
    ///
    /// # Errors
    /// When the kernel's maps cannot be read. Then the next time tells of it.
    pub fn gained(&self) -> anyhow::Result<Vec<Edge>> {
        // Held while the kernel is read: rows that are just moved into the archive are told once, not twice.
        let _archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = self.rows()?;
        let mut gains = self.gains.lock().unwrap_or_else(PoisonError::into_inner);
        let mut graph = Graph::default();
        let gone = gains.take_gone();
        gone.into_iter().chain(self.fold(&gains.look(&rows))).for_each(|edge| graph.add(edge));
        Ok(graph.into_edges())
    }

    /// The map of a span of time that has passed, as far as it has been written.
    ///
    /// # Errors
    /// Those of [`Self::past`].
    pub fn edges_between(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<Edge>> {
        let edges = self.past(since, until)?.into_iter().map(|past| past.edge).collect();
        Ok(proxy::join(edges, &self.published()))
    }

    /// What interactions did in a span of time that has passed, as far as it has been written.
    ///
    /// # Errors
    /// There is no history, it cannot be read, or there is more than one answer can have: a part of it would pass for all.
    pub fn past(&self, since: Timestamp, until: Timestamp) -> anyhow::Result<Vec<Past>> {
        self.history.interactions(since, until)?.whole()
    }

    /// The ledger, but for what the daemon's own workloads do.
    fn rows(&self) -> anyhow::Result<Vec<(LedgerKey, LedgerRow)>> {
        let mut rows = self.counts.ledger()?;
        self.attribution.without_canaries(&mut rows);
        Ok(rows)
    }

    /// Ports of the host that lead to containers through a proxy.
    fn published(&self) -> Vec<Published> {
        let of = |(workload, port): (Arc<Workload>, PublishedPort)| Published {
            workload,
            port: port.container_port,
            host_port: port.host_port,
            protocol: port.protocol,
        };
        let mut published: Vec<_> = self.attribution.published().into_iter().map(of).collect();
        // The same port is published for each of the host's addresses.
        published.dedup_by(|a, b| {
            (a.host_port, a.protocol, a.port, &a.workload) == (b.host_port, b.protocol, b.port, &b.workload)
        });
        published
    }

    fn denials(&self, rows: &[(LedgerKey, LedgerRow)]) -> Denials {
        Denials::of(rows, |number| self.attribution.rule(number))
    }

    fn fold(&self, rows: &[(LedgerKey, LedgerRow)]) -> Vec<Edge> {
        interaction::edges(rows, &Clock::now(), |source, target| self.attribution.parties(source, target))
    }
}

impl Residents for Attribution {
    fn live(&self) -> Vec<(CgroupId, Arc<Workload>)> {
        Self::live(self)
    }

    fn resident(&self, cgroup: CgroupId) -> Option<Arc<Workload>> {
        Self::resident(self, cgroup)
    }
}

/// Shows that the loop turns.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    started: Instant,
    last: Arc<AtomicU64>,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { started: Instant::now(), last: Arc::default() }
    }
}

impl Heartbeat {
    /// The loop turned.
    pub fn beat(&self) {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// How long ago the loop last turned.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use crate::{api::samples, metrics::samples::hooks};

    #[test]
    fn rows_that_were_taken_before_something_failed_are_not_lost() {
        let view = samples::view(hooks());
        let failed = view.archive(|rows| {
            rows.push(samples::row(4));
            anyhow::bail!("a map cannot be written")
        });
        assert!(failed.is_err());
        // Three that the kernel has, and the four that it has no more.
        let flows: Vec<_> = view.edges().expect("edges").iter().map(|edge| edge.flows).collect();
        assert_eq!(flows, [7]);
    }
}
