//! Keeps the ledger and the budgets: gives up flows that ended without saying so, moves rows of workloads that are gone
//! into the archive, sees to it that containers pay for what lies below them, and tells the loop what was shed or lost.
//! Keeps the kernel counting the system calls of what is selected.

use std::{
    collections::{HashMap, HashSet},
    sync::mpsc::{SendError, SyncSender},
    thread,
    time::{Duration, Instant},
};

use cofferdam_common::{
    ids::CgroupId,
    network::{Flow, FlowKey, end},
};
use tokio_util::sync::CancellationToken;

use super::Injected;
use crate::{
    sensor::{
        Sensor,
        budgets::{Budgets, Standing},
        clock::Clock,
        counts::Counts as _,
        ledger::Ledger,
        sweep,
    },
    view::View,
};

/// How often losses are looked for, and at which the thread notices that it shall stop.
const TICK: Duration = Duration::from_millis(250);
/// How often flows and rows are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// How often addresses are forgotten that were told by name.
const NAMES_EVERY: Duration = Duration::from_secs(30);
/// Packets of a cgroup that was removed may still be under way for a moment.
const GRACE: Duration = Duration::from_secs(10);

pub(super) fn keep(
    view: &View,
    sensor: &Sensor,
    ledger: &Ledger,
    budgets: Budgets,
    loop_: &SyncSender<Injected>,
    cancel: &CancellationToken,
) {
    let mut keeper = Keeper {
        budgets,
        missing: (0, 0),
        containers: HashSet::new(),
        dead: HashMap::new(),
        gone: HashMap::new(),
    };
    let (mut swept, mut forgot) = (Instant::now(), Instant::now());
    while !cancel.is_cancelled() {
        thread::sleep(TICK);
        count_syscalls(view, sensor);
        let result = keeper.mark_containers(view).and_then(|()| {
            keeper.report_missing(ledger, loop_)?;
            if swept.elapsed() < SWEEP_EVERY {
                return Ok(());
            }
            swept = Instant::now();
            keeper.settle_budgets(view)?;
            close_flows(ledger, loop_, sweep::ended)?;
            keeper.archive_gone(view, ledger, loop_)?;
            if forgot.elapsed() >= NAMES_EVERY {
                forgot = Instant::now();
                view.policies.forget_names(|| ledger.flows())?;
            }
            Ok(())
        });
        match result {
            Ok(()) => {}
            // The loop has ended, and so shall we.
            Err(error) if error.is::<SendError<Injected>>() => return,
            Err(error) => tracing::warn!("keeping the ledger failed: {error:#}"),
        }
    }
}

struct Keeper {
    budgets: Budgets,
    /// Records shed, and records lost, that were told.
    missing: (u64, u64),
    /// Containers' own cgroups, which pay for all below them.
    containers: HashSet<CgroupId>,
    /// Cgroups that have a budget and are not alive, and since when we know.
    dead: HashMap<CgroupId, Instant>,
    /// Cgroups that are gone, and since when we know.
    gone: HashMap<CgroupId, Instant>,
}

impl Keeper {
    /// Lets containers that are new pay for all below them.
    fn mark_containers(&mut self, view: &View) -> anyhow::Result<()> {
        let mut marked = HashSet::new();
        for cgroup in view.attribution.containers_own() {
            // Where no budget is free the shared one pays, until there is one.
            if self.containers.contains(&cgroup) || self.budgets.pay_for_all_below(cgroup)? {
                marked.insert(cgroup);
            }
        }
        self.containers = marked;
        Ok(())
    }

    fn report_missing(&mut self, ledger: &Ledger, loop_: &SyncSender<Injected>) -> anyhow::Result<()> {
        let missing = ledger.missing()?;
        if missing != self.missing {
            self.missing = missing;
            for missing in self.budgets.missing()? {
                loop_.send(Injected::Missing(missing))?;
            }
        }
        Ok(())
    }

    /// Takes back the budgets of cgroups that have been gone for a while. What they missed has been told just before.
    fn settle_budgets(&mut self, view: &View) -> anyhow::Result<()> {
        self.budgets.clear()?;
        let (attribution, mut dead) = (&view.attribution, HashMap::new());
        self.budgets.settle(|cgroup| {
            if attribution.is_live(cgroup) {
                return attribution.container_of(cgroup).map_or(Standing::Alone, Standing::Below);
            }
            let since = self.dead.get(&cgroup).copied().unwrap_or_else(Instant::now);
            if since.elapsed() >= GRACE {
                return Standing::Gone;
            }
            dead.insert(cgroup, since);
            Standing::Alone
        })?;
        self.dead = dead;
        Ok(())
    }

    /// Moves the rows of workloads that are gone for good out of the kernel, whose room is limited.
    ///
    /// Their flows go first: the other end may still send for a while, and would count into a row that is another's.
    fn archive_gone(
        &mut self,
        view: &View,
        ledger: &Ledger,
        loop_: &SyncSender<Injected>,
    ) -> anyhow::Result<()> {
        let known: HashSet<CgroupId> = view.attribution.gone().into_iter().collect();
        self.gone.retain(|cgroup, _| known.contains(cgroup));
        for cgroup in known {
            self.gone.entry(cgroup).or_insert_with(Instant::now);
        }
        let ripe = self.gone.iter().filter(|(_, since)| since.elapsed() >= GRACE);
        let ripe: HashSet<CgroupId> = ripe.map(|(cgroup, _)| *cgroup).collect();
        if ripe.is_empty() {
            return Ok(());
        }
        let touched = |flow: &Flow| ripe.contains(&flow.client) || ripe.contains(&flow.server);
        close_flows(ledger, loop_, |_, flow, _| touched(flow).then_some(end::GONE))?;
        view.archive(|rows| ledger.take(&ripe, rows))?;
        view.attribution.drop_gone(&ripe.iter().copied().collect::<Vec<_>>());
        self.gone.retain(|cgroup, _| !ripe.contains(cgroup));
        Ok(())
    }
}

/// Has the kernel count the calls of what is selected now, and of nothing else.
pub(super) fn count_syscalls(view: &View, sensor: &Sensor) {
    let attach = |needed| sensor.need("syscall", needed);
    if let Err(error) = view.syscalls.turn(&*view.attribution, attach, Instant::now()) {
        tracing::warn!("system calls are not counted as selected: {error:#}");
    }
}

/// Gives up the flows of which `ended` tells how they ended, by key, state and how long they have been silent.
fn close_flows(
    ledger: &Ledger,
    loop_: &SyncSender<Injected>,
    ended: impl Fn(&FlowKey, &Flow, Duration) -> Option<u8>,
) -> anyhow::Result<()> {
    let flows = ledger.flows()?;
    let clock = Clock::now();
    for (key, flow) in &flows {
        let idle = Duration::from_nanos(clock.age_of_monotonic(flow.last_seen));
        let Some(end) = ended(key, flow, idle) else { continue };
        if ledger.give_up(key, flow, end)?
            && let Some(record) = sweep::close_record(key, flow, end, clock.boot_time())
        {
            loop_.send(Injected::Close(Box::new(record)))?;
        }
    }
    Ok(())
}
