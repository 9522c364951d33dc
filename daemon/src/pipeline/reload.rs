//! Reads the configuration anew on SIGHUP. A broken file changes nothing.

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::{signal::unix::Signal, task};
use tokio_util::sync::CancellationToken;

use super::supervisor::{sentence, tell};
use crate::{attribution::Networks, view::View};

/// Answers each SIGHUP until `cancel`. The service manager waits for the end of each reload (`systemctl reload`).
pub(super) async fn on_hangup(
    view: View,
    mut hangup: Signal,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            _ = hangup.recv() => {}
        }
        // systemd compares this time with that of its request.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
        // A file can lie on a network that does not answer; nothing else waits for it.
        let told = view.clone();
        task::spawn_blocking(move || reload(&told)).await.context("a reload panicked")?;
        tell(&[NotifyState::Ready, NotifyState::Status(&sentence(&view))]);
    }
}

fn reload(view: &View) {
    match view.config.reload() {
        Ok(config) => {
            let networks = Networks::new(config.outside.networks());
            view.metrics.across_renaming(view, || view.attribution.name_outside(networks));
            let report = view.config.report();
            tracing::info!(file = report.file, "configuration reloaded");
            for key in &report.needs_restart {
                tracing::warn!("`{key}` has changed in the configuration and needs a restart of the daemon");
            }
        }
        Err(problem) => {
            let since = view.config.report().since;
            let line = problem.line();
            tracing::error!("configuration not loaded, the one of {since:.0} stays in force: {line}");
        }
    }
}
