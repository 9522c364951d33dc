//! Looks from time to time whether what is in force is really enforced, mends what is not, and says so.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use crate::{
    enforcement::{Finding, Look, Verified},
    sensor::Sensor,
    view::View,
};

/// How long after policies have come into force it is first looked: what an earlier daemon has left is gone then.
const FIRST: Duration = Duration::from_secs(2);
/// At which the thread notices that policies have come into force, and that it shall stop.
const TICK: Duration = Duration::from_millis(250);
/// Entries of each map that are looked at each time, if there are so many: some ten milliseconds for all maps. Those of both
/// slots of a full map of 400,000 have all been looked at after eight minutes, and where one is wrong, all are at once.
const ENTRIES: usize = 16_384;

/// Looks until `cancel`.
pub(super) fn keep(view: &View, sensor: &Sensor, cancel: &CancellationToken) {
    let (mut next, mut told) = (None, Told::default());
    while !cancel.is_cancelled() {
        thread::sleep(TICK);
        if !sensor.stays() {
            if next.take().is_some() {
                view.policies.set_verified(None);
                told = Told::default();
            }
            continue;
        }
        let now = Instant::now();
        if *next.get_or_insert(now + FIRST) > now {
            continue;
        }
        next = Some(now + view.policies.verifies_every());
        let look = Look::take(|| look(view, sensor));
        tracing::debug!(took = ?now.elapsed(), "looked whether policies are enforced");
        let mended = look.mended.clone();
        if let Some(verified) = view.policies.set_verified(Some(look)) {
            told.tell(&mended, &verified);
        }
    }
}

/// All that is looked at, each by whoever can mend it.
fn look(view: &View, sensor: &Sensor) -> Vec<Finding> {
    let maps = view.policies.verify_maps(ENTRIES);
    [sensor.verify_hooks(), sensor.verify_links(), maps, view.policies.tried_findings()].concat()
}

/// What was said last, of each kind.
#[derive(Default)]
struct Told {
    mended: Trouble,
    problem: Trouble,
    noted: Trouble,
}

impl Told {
    fn tell(&mut self, mended: &[Finding], verified: &Verified) {
        if let Some(mended) = self.mended.news(none(mended)) {
            tracing::warn!("what enforces policies was tampered with, and is mended: {mended}");
        }
        let problem = verified.problem();
        if let Some(problem) = self.problem.news(problem.map_or(Ok(()), Err)) {
            tracing::error!("policies are not enforced as they say: {problem}");
        }
        let noted: Vec<_> = verified.noted().cloned().collect();
        if let Some(noted) = self.noted.news(none(&noted)) {
            tracing::warn!("beside what enforces policies: {noted}");
        }
    }
}

/// An error that names these findings, if there are any.
fn none(findings: &[Finding]) -> Result<(), String> {
    let texts: Vec<_> = findings.iter().map(|finding| finding.text.as_str()).collect();
    if texts.is_empty() { Ok(()) } else { Err(texts.join("; ")) }
}
