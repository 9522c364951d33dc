//! Keeps the policies in force: whoever comes to live on this host is known in the kernel at once, and what changes in the
//! folder counts.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::{sensor::Sensor, view::View};

/// Longest time until somebody new is noticed, should nobody say that something has changed; and at which the thread
/// notices that it shall stop.
const TICK: Duration = Duration::from_millis(250);
/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Puts the policies in force once names are known as far as they can be (the sender of `names_known` is dropped), drops
/// `judging` when they are, and goes on until `cancel`.
pub(super) fn keep(
    view: &View,
    sensor: &Sensor,
    names_known: oneshot::Receiver<Infallible>,
    judging: oneshot::Sender<Infallible>,
    cancel: &CancellationToken,
) {
    // An error is the sender's end.
    let _ = names_known.blocking_recv();
    reload(view, sensor);
    drop(judging);
    let mut looked = Instant::now();
    let mut told = None;
    while !cancel.is_cancelled() {
        view.attribution.wait_for_change(TICK);
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            if view.policies.changed() {
                reload(view, sensor);
            }
        }
        let trouble = view.policies.turn(&view.attribution).err().map(|error| format!("{error:#}"));
        if let Some(trouble) = trouble.as_ref().filter(|_| trouble != told) {
            tracing::error!("not all that lives here is known to the policies: {trouble}");
        }
        told = trouble;
    }
}

/// Reads the policies anew. What is wrong with them leaves those in force that were.
pub(super) fn reload(view: &View, sensor: &Sensor) {
    let result = view.policies.reload(&view.attribution);
    let report = view.policies.report();
    match result {
        Ok(()) if report.generation == 0 => tracing::info!(folder = report.folder, "no policy is in force"),
        Ok(()) => tracing::info!(
            generation = report.generation,
            enforced = report.enforced,
            audited = report.audited,
            rules = report.rules,
            "policies are in force"
        ),
        Err(problem) => {
            tracing::error!(
                "policies not loaded, generation {} stays in force: {problem}",
                report.generation
            );
            // What an earlier daemon has left in force stays as well.
            if report.generation == 0 {
                return;
            }
        }
    }
    let judges = report.generation != 0;
    if judges {
        sensor.need("policy", true);
    }
    if let Err(error) = sensor.stay(judges) {
        tracing::error!("what is enforced would end with the daemon: {error:#}");
    }
    if !judges {
        sensor.need("policy", false);
    }
}
