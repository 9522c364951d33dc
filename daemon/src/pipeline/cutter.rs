//! Has connections cut that are open and denied: as soon as other policies are in force, and from time to time, for some
//! are found to be denied by their next packet only.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use cofferdam_common::network::{Flow, FlowKey};
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use crate::{cut::Cutter, sensor::ledger::Ledger, view::View};

/// How often it is looked whether the policies in force have changed, and at which the thread notices that it shall stop.
const TICK: Duration = Duration::from_millis(100);
/// Shortest time between two looks through all flows, however often policies change.
const REST: Duration = Duration::from_millis(500);
/// Longest time between two looks while policies are in force.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Cuts what is denied until `cancel`.
pub(super) fn keep(view: &View, ledger: &Ledger, cancel: &CancellationToken) {
    let (mut cutter, mut trouble) = (Cutter::default(), Trouble::default());
    let mut looked: Option<(u32, Instant)> = None;
    while !cancel.is_cancelled() {
        thread::sleep(TICK);
        let Some(generation) = view.policies.cuts_by() else {
            looked = None;
            continue;
        };
        let rested = match looked {
            Some((before, at)) if before == generation => at.elapsed() >= LOOK_EVERY,
            Some((_, at)) => at.elapsed() >= REST,
            None => true,
        };
        if !rested {
            continue;
        }
        looked = Some((generation, Instant::now()));
        if let Some(error) = trouble.news(look(view, ledger, &mut cutter)) {
            tracing::warn!("connections that are denied are not cut: {error:#}");
        }
    }
}

/// Cuts all connections that are open and denied now.
fn look(view: &View, ledger: &Ledger, cutter: &mut Cutter) -> anyhow::Result<()> {
    let denied = view.policies.denied(ledger.flows()?);
    let due = cutter.due(denied, Instant::now());
    if due.is_empty() {
        return Ok(());
    }
    // Once more: the kernel may just have been writing when it was read first, and the policies may have changed.
    let begun: HashMap<FlowKey, u64> = due.iter().map(|(key, flow)| (*key, flow.opened_at)).collect();
    let same = |(key, flow): &(FlowKey, Flow)| begun.get(key) == Some(&flow.opened_at);
    let again = begun.keys().filter_map(|key| Some((*key, ledger.flow(key).ok()??))).filter(same);
    let due = view.policies.denied(again);
    let outcomes = cutter.cut(&due, |cgroup| view.attribution.home(cgroup));
    view.policies.count_cuts(&outcomes);
    let cut = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    match (cut, outcomes.len() - cut) {
        (0, 0) => {}
        (cut, 0) => tracing::info!(cut, "open connections that are denied were cut"),
        (cut, left) => tracing::warn!(cut, left, "not all open connections that are denied could be cut"),
    }
    Ok(())
}
