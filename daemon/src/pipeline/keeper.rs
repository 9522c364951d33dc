//! Keeps the ledger: gives up flows that ended without saying so, moves rows of workloads that are gone into the
//! archive, and tells the loop what was lost.

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
    event::Lost,
    sensor::{clock::Clock, counts::Counts as _, ledger::Ledger, sweep},
    view::View,
};

/// How often losses are looked for, and at which the thread notices that it shall stop.
const TICK: Duration = Duration::from_millis(250);
/// How often flows and rows are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(2);
/// Packets of a cgroup that was removed may still be under way for a moment.
const GRACE: Duration = Duration::from_secs(10);

pub(super) fn keep(view: &View, ledger: &Ledger, loop_: &SyncSender<Injected>, cancel: &CancellationToken) {
    let mut keeper = Keeper { lost: HashMap::new(), gone: HashMap::new() };
    let mut swept = Instant::now();
    while !cancel.is_cancelled() {
        thread::sleep(TICK);
        let result = keeper.report_losses(ledger, loop_).and_then(|()| {
            if swept.elapsed() < SWEEP_EVERY {
                return Ok(());
            }
            swept = Instant::now();
            close_flows(ledger, loop_, sweep::ended)?;
            keeper.archive_gone(view, ledger, loop_)
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
    /// Losses that were told, by family.
    lost: HashMap<String, u64>,
    /// Cgroups that are gone, and since when we know.
    gone: HashMap<CgroupId, Instant>,
}

impl Keeper {
    fn report_losses(&mut self, ledger: &Ledger, loop_: &SyncSender<Injected>) -> anyhow::Result<()> {
        for family in ledger.families()? {
            let told = self.lost.entry(family.family.clone()).or_default();
            if family.lost > *told {
                loop_.send(Injected::Lost(Lost { family: family.family, records: family.lost - *told }))?;
                *told = family.lost;
            }
        }
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
