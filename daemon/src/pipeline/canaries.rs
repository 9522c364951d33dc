//! Has two workloads of the daemon's own try what is enforced, soon after policies have come into force and from time to time.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::{canary::Canaries, sensor::Sensor, view::View};

/// At which the thread notices that policies have come into force, and that it shall stop.
const TICK: Duration = Duration::from_millis(250);
/// Longest time until it is tried again where something was wrong: what is mended meanwhile is soon known to be.
const AGAIN: Duration = Duration::from_secs(5);
/// What went wrong counts once it did so often in a row, with this between: policies may just have changed, or something be
/// under repair.
const TRIES: u32 = 3;
const BETWEEN: Duration = Duration::from_secs(1);
/// The same while they are new: it must first become known in the kernel who they are.
const TRIES_AT_FIRST: u32 = 10;
const BETWEEN_AT_FIRST: Duration = Duration::from_millis(500);

/// Has them try until `cancel`. `cgroup_root` is where the tree of cgroups is mounted.
pub(super) fn keep(
    view: &View,
    sensor: &Sensor,
    cgroup_root: &Path,
    tasks: &Handle,
    cancel: &CancellationToken,
) {
    let mut keeper = Keeper { view, sensor, cgroup_root, tasks, cancel, canaries: None, next: None };
    while !cancel.is_cancelled() {
        match view.policies.tries_every().filter(|_| !is_over(sensor, cancel)) {
            Some(every) => keeper.turn(every),
            None => keeper.rest(),
        }
        thread::sleep(TICK);
    }
    keeper.rest();
}

struct Keeper<'a> {
    view: &'a View,
    sensor: &'a Sensor,
    cgroup_root: &'a Path,
    tasks: &'a Handle,
    cancel: &'a CancellationToken,
    canaries: Option<Canaries>,
    next: Option<Instant>,
}

impl Keeper<'_> {
    fn turn(&mut self, every: Duration) {
        if self.next.is_some_and(|next| next > Instant::now()) {
            return;
        }
        let begun = Instant::now();
        let tried = self.try_all().map_err(|error| format!("{error:#}"));
        if tried.is_err() {
            // Others may answer.
            self.end();
        }
        if is_over(self.sensor, self.cancel) {
            self.end();
            return;
        }
        tracing::debug!(took = ?begun.elapsed(), ?tried, "canaries tried what is enforced");
        let is_wrong = matches!(&tried, Ok(faults) if !faults.is_empty());
        self.next = Some(begun + if is_wrong { every.min(AGAIN) } else { every });
        // What is to be said of it the verifier says, with all else.
        let untried = self.canaries.as_ref().and_then(Canaries::no_calls);
        self.view.policies.set_tried(Some(tried), untried);
    }

    /// There is nothing to try, or they are turned off.
    fn rest(&mut self) {
        if self.next.take().is_some() {
            self.end();
            self.view.policies.set_tried(None, None);
        }
    }

    fn end(&mut self) {
        self.canaries = None;
        self.view.attribution.set_canaries(Vec::new());
    }

    fn try_all(&mut self) -> anyhow::Result<Vec<String>> {
        let (sensor, cancel, is_new) = (self.sensor, self.cancel, self.canaries.is_none());
        let canaries = match &mut self.canaries {
            Some(canaries) => canaries,
            none => {
                let tell = |canaries| self.view.attribution.set_canaries(canaries);
                let canaries = Canaries::make(self.cgroup_root, self.tasks, sensor.judges_unread(), tell)?;
                if let Some(why) = canaries.no_ipv6() {
                    tracing::info!("canaries try nothing over IPv6: {why}");
                }
                none.insert(canaries)
            }
        };
        let (tries, between) = if is_new { (TRIES_AT_FIRST, BETWEEN_AT_FIRST) } else { (TRIES, BETWEEN) };
        let mut tried = canaries.try_all();
        for _ in 1..tries {
            if is_over(sensor, cancel) || !matches!(&tried, Ok(faults) if !faults.is_empty()) {
                break;
            }
            tracing::debug!(?tried, "canaries try again");
            thread::sleep(between);
            tried = canaries.try_all();
        }
        tried
    }
}

/// Whether nothing is enforced any more, or the daemon stops.
fn is_over(sensor: &Sensor, cancel: &CancellationToken) -> bool {
    cancel.is_cancelled() || !sensor.stays()
}
