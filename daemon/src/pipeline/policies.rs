//! Keeps the policies in force: whoever comes to live on this host is known in the kernel at once, and what changes in the
//! folder counts.

use std::{
    convert::Infallible,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::trouble::Trouble;
use crate::{enforcement::Harm, sensor::Sensor, view::View};

/// Longest time until somebody new is noticed, should nobody say that something has changed; and at which the thread
/// notices that it shall stop.
const TICK: Duration = Duration::from_millis(250);
/// How often the folder is looked at, and what policies on trial deny.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long it is waited for who lives here, while an earlier daemon's programs still know: what is not known yet is held.
const KNOWN_WITHIN: Duration = Duration::from_secs(5);

/// Puts the policies in force once names are known as far as they can be (the sender of `names_known` is dropped), drops
/// `judging` when they are, and goes on until `cancel`. `follows` says whether an earlier daemon's programs judge meanwhile.
pub(super) fn keep(
    view: &View,
    follows: bool,
    names_known: oneshot::Receiver<Infallible>,
    judging: oneshot::Sender<Infallible>,
    cancel: &CancellationToken,
) {
    // An error is the sender's end.
    let _ = names_known.blocking_recv();
    let until = Instant::now() + KNOWN_WITHIN;
    while follows && !view.attribution.knows_everybody() && Instant::now() < until && !cancel.is_cancelled() {
        view.attribution.wait_for_change(TICK);
    }
    let mut unbelieved = Trouble::default();
    find_resolvers(view, &mut unbelieved);
    reload(view);
    drop(judging);
    let mut looked = Instant::now();
    let mut trouble = Trouble::default();
    let [mut stuck, mut harmful] = <[Trouble; 2]>::default();
    while !cancel.is_cancelled() {
        view.attribution.wait_for_change(TICK);
        take_back(view, &mut stuck);
        if looked.elapsed() >= LOOK_EVERY {
            looked = Instant::now();
            take_back_harmful(view, &mut harmful);
            find_resolvers(view, &mut unbelieved);
            if view.policies.changed() {
                reload(view);
            }
        }
        if let Some(trouble) = trouble.news(view.policies.turn(&view.attribution)) {
            tracing::error!("not all that lives here is known to the policies: {trouble}");
        }
    }
    // Nobody could confirm any more what is on trial, and what is enforced stays when the daemon ends.
    if let Err(error) = view.policies.end(Instant::now(), &view.attribution) {
        tracing::error!("policies that nobody confirmed stay in force: {error}");
    }
}

/// Finds out whose answers of the DNS are believed. `unbelieved` is why the kernel could not be told.
fn find_resolvers(view: &View, unbelieved: &mut Trouble) {
    if let Some(error) = unbelieved.news(view.policies.find_resolvers(&view.attribution)) {
        tracing::error!("not all resolvers that policies believe are known to the kernel: {error}");
    }
}

/// Takes back what nobody has confirmed in time. `stuck` is why that could not be done.
fn take_back(view: &View, stuck: &mut Trouble) {
    match view.policies.take_back_overdue(Instant::now(), &view.attribution) {
        // Nothing is overdue, or it is not tried again yet.
        Ok(false) => {}
        taken_back => {
            if taken_back.is_ok() {
                tracing::warn!(
                    "policies were not confirmed in time and were taken back: those before are in force"
                );
            }
            if let Some(error) = stuck.news(taken_back) {
                tracing::error!("policies that were not confirmed cannot be taken back yet: {error}");
            }
        }
    }
}

/// Takes back what denies too much of what was normal before. `stuck` is why that could not be done.
fn take_back_harmful(view: &View, stuck: &mut Trouble) {
    if !view.policies.is_guarded() {
        return;
    }
    let taken_back = view
        .edges()
        .and_then(|edges| Ok(view.policies.take_back_harmful(&edges, Instant::now(), &view.attribution)?));
    if let Ok(Some(Harm { denials, worst })) = &taken_back {
        tracing::warn!(
            denials,
            worst,
            "policies on trial denied what was normal before and were taken back: those before are in force"
        );
    }
    if let Some(error) = stuck.news(taken_back) {
        tracing::error!(
            "it cannot be told what policies on trial deny, or they cannot be taken back: {error}"
        );
    }
}

/// Reads the policies anew. What is wrong with them leaves those in force that were.
pub(super) fn reload(view: &View) {
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
        }
    }
}

/// Attaches what judges, and has it stay when the daemon ends; or lets both go.
pub(super) fn switch(sensor: &Sensor, judges: bool) {
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
