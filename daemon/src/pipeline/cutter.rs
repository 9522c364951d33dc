//! Has connections cut that are open and denied: as soon as other policies are in force, and from time to time, for some
//! are found to be denied by their next packet only.

use std::{
    thread,
    time::{Duration, Instant},
};

use cofferdam_common::network::{Flow, FlowKey};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use crate::{
    cut::{self, Cutter},
    sensor::ledger::Ledger,
    view::View,
};

/// How often it is looked whether the policies in force have changed, and at which the thread notices that it shall stop.
const TICK: Duration = Duration::from_millis(100);
/// Shortest time between two looks through all flows, however often policies change.
const REST: Duration = Duration::from_millis(500);
/// Longest time between two looks while policies are in force.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The same for looks at connections that no hook has seen, which are looked for whenever policies are put in force.
const LOOK_FURTHER_EVERY: Duration = Duration::from_mins(1);

/// Cuts what is denied until `cancel`; nothing before each runtime has told who is here, or failed to.
pub(super) fn keep(view: &View, ledger: &Ledger, cancel: &CancellationToken) {
    let (mut cutter, mut looks, mut trouble) = (Cutter::default(), Looks::default(), Trouble::default());
    while !cancel.is_cancelled() {
        thread::sleep(TICK);
        if view.attribution.awaits_runtimes() {
            continue;
        }
        if let Some(further) = looks.due(view.policies.cuts_by(), cutter.waits(), Instant::now())
            && let Some(error) = trouble.news(look(view, ledger, &mut cutter, further))
        {
            tracing::warn!("connections that are denied are not cut: {error:#}");
        }
    }
}

/// When it was looked last, and what was in force then.
#[derive(Default)]
struct Looks {
    last: Option<(u32, Instant)>,
    further: Option<(Timestamp, Instant)>,
}

impl Looks {
    /// Whether it is time to look, and then whether also at what no hook has seen. `waits`: it was not certain of all that
    /// was looked at last.
    fn due(&mut self, in_force: Option<(u32, Timestamp)>, waits: bool, now: Instant) -> Option<bool> {
        let Some((generation, since)) = in_force else {
            *self = Self::default();
            return None;
        };
        let is_due = self.last.is_none_or(|(before, at)| {
            now.duration_since(at) >= if before == generation && !waits { LOOK_EVERY } else { REST }
        });
        if !is_due {
            return None;
        }
        self.last = Some((generation, now));
        let further = self.further.is_none_or(|(before, at)| {
            waits || before != since || now.duration_since(at) >= LOOK_FURTHER_EVERY
        });
        if further {
            self.further = Some((since, now));
        }
        Some(further)
    }
}

/// Cuts all connections that are open and denied now.
fn look(view: &View, ledger: &Ledger, cutter: &mut Cutter, further: bool) -> anyhow::Result<()> {
    let flows = ledger.flows()?;
    let unseen = if further {
        let (containers, owners) = (view.attribution.networked(), view.attribution.owners_of_addresses());
        cut::unseen(&containers, &owners, &flows)
    } else {
        Vec::new()
    };
    let due = cutter.due(view.policies.denied(flows.into_iter().chain(unseen)), Instant::now());
    if due.is_empty() {
        return Ok(());
    }
    // Once more: the kernel may just have been writing when it was read first, and the policies may have changed.
    let due = view.policies.denied(due.into_iter().filter_map(|(key, flow)| as_it_is(ledger, key, flow)));
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

/// A flow as it is now, unless it has ended. One that no hook has seen is as it was.
fn as_it_is(ledger: &Ledger, key: FlowKey, flow: Flow) -> Option<(FlowKey, Flow)> {
    if cut::is_unseen(&flow) {
        return Some((key, flow));
    }
    let now = ledger.flow(&key).ok()??;
    (now.opened_at == flow.opened_at).then_some((key, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_when_something_else_is_in_force_and_now_and_then() {
        let (mut looks, begun) = (Looks::default(), Instant::now());
        let mut due = |generation: u32, since: i64, millis: u64| {
            let since = Timestamp::from_second(since).unwrap();
            looks.due(Some((generation, since)), false, begun + Duration::from_millis(millis))
        };
        assert_eq!(due(1, 1, 0), Some(true), "the first policies");
        assert_eq!(due(1, 1, 4_900), None);
        assert_eq!(due(1, 1, 5_000), Some(false));
        assert_eq!(due(2, 1, 5_100), None, "it rests");
        assert_eq!(due(2, 1, 5_500), Some(false), "somebody has come");
        assert_eq!(due(3, 2, 6_000), Some(true), "other policies");
        assert_eq!(due(3, 2, 66_000), Some(true), "a minute later");
        let in_force = Some((3, Timestamp::from_second(2).unwrap()));
        let later = begun + Duration::from_millis(66_500);
        assert_eq!(looks.due(in_force, false, later), None);
        assert_eq!(looks.due(in_force, true, later), Some(true), "it was not certain");
        assert_eq!(looks.due(None, false, begun), None);
        assert_eq!(looks.due(in_force, false, begun), Some(true));
    }
}
