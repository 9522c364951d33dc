//! Reads the configuration anew on SIGHUP. A broken file changes nothing.

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::{signal::unix::Signal, task};
use tokio_util::sync::CancellationToken;

use super::{
    policies,
    supervisor::{sentence, tell},
};
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
        let both = move || {
            reload(&told);
            policies::reload(&told);
        };
        task::spawn_blocking(both).await.context("a reload panicked")?;
        tell(&[NotifyState::Ready, NotifyState::Status(&sentence(&view))]);
    }
}

fn reload(view: &View) {
    match view.config.reload() {
        Ok(config) => {
            let networks = Networks::new(config.outside.networks());
            // For which the whole map is read, twice.
            if !view.attribution.calls_outside(&networks) {
                view.metrics.across_renaming(view, || view.attribution.name_outside(networks));
            }
            view.syscalls.select(config.syscalls);
            view.alerts.configure(super::settings::anomalies(&config.anomalies));
            view.policies.configure(config.policies);
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

#[cfg(test)]
mod tests {
    use std::{fs, sync::Arc};

    use super::*;
    use crate::{
        api::samples,
        config::{Config, Given, InForce, Source},
    };

    #[test]
    fn a_reload_renames_peers_and_lets_counters_go_on_and_a_broken_file_does_nothing() {
        let path = std::env::temp_dir().join(format!("cofferdam-reload-{}.yaml", std::process::id()));
        let source = Source { file: Some(path.clone()), given: Given::default() };
        let config = Arc::new(InForce::new(source, Config::default()));
        let view = View { config, ..samples::view(Vec::new()) };
        let target = || view.edges().unwrap()[0].target.to_string();
        let shown = |target: &str| {
            let series = format!(
                r#"cofferdam_flows_total{{source="outside",target="{target}",protocol="tcp",port="443"}} "#
            );
            let page = view.metrics.scrape(&view);
            page.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
        };
        assert_eq!((target().as_str(), shown("outside")), ("outside 203.0.113.7", Some(3)));

        fs::write(&path, "outside: {office: [203.0.113.0/24]}").unwrap();
        reload(&view);
        assert_eq!(target(), "outside office");
        assert_eq!((shown("outside"), shown("outside:office")), (Some(3), Some(0)));

        fs::write(&path, "outside: {}\nlimits:\n").unwrap();
        reload(&view);
        fs::remove_file(path).unwrap();
        assert_eq!(target(), "outside office");
        assert!(view.config.report().problem.is_some());
    }
}
