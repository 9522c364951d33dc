//! Serves both sockets, speaks with the service manager, and waits for the signal to stop.

use std::{convert::Infallible, time::Duration};

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::{
    net::{TcpListener, UnixListener},
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::reload;
use crate::{
    api,
    attribution::{Container, ContainerState},
    view::View,
};

/// How often the line that `systemctl status` shows is written anew.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// Longest that readiness waits for names from disk and from runtimes that are well. What happens meanwhile is
/// counted all the same, and a name that comes later is a right one as well.
const NAMES_WITHIN: Duration = Duration::from_millis(500);

/// What comes before readiness. Nothing is ever sent: that the other end is dropped says it.
pub(super) struct Start {
    /// Names were looked for on disk.
    pub(super) looked: oneshot::Receiver<Infallible>,
    /// To be dropped once names are known as far as they can be.
    pub(super) named: oneshot::Sender<Infallible>,
    /// The policies are in force, and the links of containers covered.
    pub(super) covered: oneshot::Receiver<Infallible>,
}

/// Tells the service manager that the hooks are attached and the policies in force, and serves until SIGTERM, SIGINT,
/// or a client ends it.
pub(super) async fn serve(
    view: View,
    local: UnixListener,
    web: TcpListener,
    hangup: Signal,
    start: Start,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    let Start { looked, named, covered } = start;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let address = web.local_addr().context("cannot tell the address of the listener")?;
    let mut servers = JoinSet::new();
    servers.spawn(api::serve_unix(view.clone(), local, cancel.clone()));
    servers.spawn(api::serve_http(view.clone(), web, cancel.clone()));
    if tokio::time::timeout(NAMES_WITHIN, names(&view, looked)).await.is_err() {
        tracing::warn!(
            "a runtime has not answered yet: containers that no file names bear their ids until then"
        );
    }
    drop(named);
    let _ = covered.await;
    tracing::info!(%address, "{}", sentence(&view));
    tell(&[NotifyState::Ready, NotifyState::Status(&sentence(&view))]);
    servers.spawn(reload::on_hangup(view.clone(), hangup, cancel.clone()));

    let watchdog = sd_notify::watchdog_enabled();
    let mut feed = tokio::time::interval(watchdog.map_or(STATUS_EVERY, |limit| limit / 4));
    let mut status = tokio::time::interval(STATUS_EVERY);
    let ended = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            () = view.stop.cancelled() => break Ok(()),
            Some(ended) = servers.join_next() => break ended.context("a server panicked").and_then(|end| end),
            _ = status.tick() => tell(&[NotifyState::Status(&sentence(&view))]),
            // Fed for the loop, not for this task: a loop that stands still is restarted.
            _ = feed.tick() => {
                if watchdog.is_some_and(|limit| view.heartbeat.age() < limit / 2) {
                    tell(&[NotifyState::Watchdog]);
                }
            }
        }
    };
    tell(&[NotifyState::Stopping]);
    cancel.cancel();
    while servers.join_next().await.is_some() {}
    ended
}

/// Waits until what is on disk was read, and each runtime has told its containers or failed to.
async fn names(view: &View, looked: oneshot::Receiver<Infallible>) {
    // An error is the sender's end.
    let _ = looked.await;
    while view.attribution.awaits_runtimes() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Without a service manager there is nobody to tell.
pub(super) fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// The state of the daemon in one line.
pub(super) fn sentence(view: &View) -> String {
    let running = |container: &Container| container.state == ContainerState::Running;
    let containers = view.attribution.containers().iter().filter(|container| running(container)).count();
    let (shed, lost) = view.counts.missing().unwrap_or_default();
    let mut needed = view.hooks.list();
    needed.retain(|hook| hook.off.is_none());
    let hooks = match needed.iter().filter(|hook| hook.refused.is_some()).count() {
        0 => format!("all {} hooks attached", needed.len()),
        refused => format!("{refused} of {} hooks unavailable (see: cofferdam doctor)", needed.len()),
    };
    let config = match view.config.report().problem {
        Some(_) => "; config file broken, the old one is in force (see: cofferdam status)",
        None => "",
    };
    let policies = view.policies.report();
    let word = policies.word();
    let broken = match (&policies.problem, policies.generation) {
        (None, _) => String::new(),
        (Some(_), 0) => "; policies broken, nothing of them is in force (see: cofferdam status)".to_owned(),
        (Some(_), generation) => {
            format!("; policies broken, generation {generation} stays in force (see: cofferdam status)")
        }
    };
    format!("{word}; {containers} containers; {shed} records shed, {lost} lost; {hooks}{config}{broken}")
}
