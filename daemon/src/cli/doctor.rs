//! `cofferdam doctor`: what works, what does not, why, and what to do about it. Works without a daemon, too.

mod checks;

use std::{fmt::Write as _, os::unix::net::UnixStream};

use clap::{
    Args,
    builder::styling::{AnsiColor, Style},
};
use serde::Serialize;

use self::checks::{Check, Level};
use super::{
    Client, Failure,
    output::{plural, print, print_json, printable, span},
};
use crate::{
    api::{API_VERSION, Health, State},
    attribution::RuntimeStatus,
    enforcement::Verified,
    sensor::{
        self,
        counts::{Counters, HookStatus},
        features::{self, Features},
    },
};

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// As JSON (docs/cli.md).
    #[arg(long)]
    json: bool,
}

/// Sockets of runtimes, looked for where no daemon can tell.
const RUNTIME_SOCKETS: [(&str, &str); 4] = [
    ("docker", "/var/run/docker.sock"),
    ("podman", "/run/podman/podman.sock"),
    ("containerd", "/run/containerd/containerd.sock"),
    ("crio", "/run/crio/crio.sock"),
];

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Report {
    schema_version: u32,
    daemon: Option<Daemon>,
    /// Why no daemon answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    daemon_problem: Option<String>,
    features: Features,
    hooks: Vec<HookStatus>,
    runtimes: Vec<RuntimeStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enforcement: Option<Verified>,
    #[serde(skip_serializing_if = "Option::is_none")]
    counters: Option<Counters>,
    checks: Vec<Check>,
}

#[derive(Debug, Serialize)]
struct Daemon {
    version: String,
    state: State,
    uptime_seconds: u64,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let report = match client.get::<Health>("/v1/doctor") {
        Ok(health) => with_daemon(health),
        Err(Failure::NoDaemon(socket)) => {
            let problem = format!("no daemon answers at {}", socket.display());
            without_daemon(problem, "start it: `systemctl start cofferdam`, or `cofferdam run`")
        }
        Err(failure @ Failure::NotPermitted(_)) => without_daemon(failure.to_string(), "run this as root"),
        Err(other) => return Err(other),
    };
    if arguments.json {
        print_json(&report)?;
    } else {
        print(&text(&report))?;
    }
    let well = report.checks.iter().all(|check| check.level != Level::Problem);
    if well { Ok(()) } else { Err(Failure::Unwell) }
}

fn with_daemon(health: Health) -> Report {
    let mut checks = vec![checks::daemon(&health)];
    checks.extend(checks::features(&health.features));
    checks.extend(health.runtimes.iter().map(checks::runtime));
    checks.extend(health.hooks.iter().map(checks::hook));
    checks.extend(health.enforcement.iter().flat_map(checks::enforcement));
    checks.extend(checks::history(&health.history));
    checks.extend(health.counters.iter().flat_map(checks::counters));
    Report {
        schema_version: API_VERSION,
        daemon: Some(Daemon {
            version: health.version,
            state: health.state,
            uptime_seconds: health.uptime_seconds,
        }),
        daemon_problem: None,
        features: health.features,
        hooks: health.hooks,
        runtimes: health.runtimes,
        enforcement: health.enforcement,
        counters: health.counters,
        checks,
    }
}

fn without_daemon(problem: String, advice: &str) -> Report {
    let features = features::detect();
    let mut checks = vec![Check::note("daemon", &problem, Some(advice))];
    checks.extend(checks::features(&features));
    checks.extend(checks::left(features.bpffs.as_deref().map_or(0, sensor::left_to_judge)));
    checks.extend(RUNTIME_SOCKETS.iter().filter_map(|(runtime, socket)| match UnixStream::connect(socket) {
        Ok(_) => Some(Check::well(runtime, &format!("answers at {socket}"))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => Some(Check::note(runtime, &format!("does not answer at {socket}: {error}"), None)),
    }));
    Report {
        schema_version: API_VERSION,
        daemon: None,
        daemon_problem: Some(problem),
        features,
        hooks: sensor::detached("no daemon runs"),
        runtimes: Vec::new(),
        enforcement: None,
        counters: None,
        checks,
    }
}

fn text(report: &Report) -> String {
    const GOOD: Style = AnsiColor::Green.on_default();
    const NOTABLE: Style = AnsiColor::Yellow.on_default();
    const BAD: Style = AnsiColor::Red.on_default().bold();
    let width = report.checks.iter().map(|check| check.subject.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in &report.checks {
        let (style, mark) = match check.level {
            Level::Well => (GOOD, '✔'),
            Level::Note => (NOTABLE, '!'),
            Level::Problem => (BAD, '✖'),
        };
        let (subject, finding) = (printable(&check.subject), printable(&check.finding));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{style}{mark}{style:#} {subject:<width$}  {finding}");
        if let Some(advice) = &check.advice {
            let _ = writeln!(text, "  {:<width$}  → {}", "", printable(advice));
        }
    }
    let count = |level| report.checks.iter().filter(|check| check.level == level).count() as u64;
    let _ = match (count(Level::Problem), count(Level::Note)) {
        (0, 0) => writeln!(text, "All is well."),
        (0, notes) => writeln!(text, "Nothing is wrong; {} above.", plural(notes, "note")),
        (problems, _) => writeln!(text, "{} above.", plural(problems, "problem")),
    };
    text
}

/// `up 12 s`
fn up(seconds: u64) -> String {
    format!("up {}", span(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::samples, history, metrics::samples as counts};

    fn health() -> Health {
        Health {
            schema_version: API_VERSION,
            version: "0.1.0".to_owned(),
            state: State::Observing,
            uptime_seconds: 12,
            features: samples::features(),
            hooks: counts::hooks(),
            runtimes: Vec::new(),
            enforcement: None,
            history: history::Report {
                file: Some("/var/lib/cofferdam/history.db".into()),
                ..Default::default()
            },
            counters: Some(counts::counters()),
        }
    }

    #[test]
    fn a_refused_hook_says_why_and_what_is_lost_without_it() {
        let text = text(&with_daemon(health()));
        let plain = anstream::adapter::strip_str(&text).to_string();
        assert!(include_str!("../../../docs/cli.md").contains(&plain), "docs/cli.md shows another report");
        insta::assert_snapshot!(anstream::adapter::strip_str(&text), @r#"
        ✔ daemon              observing (0.1.0, up 12 s)
        ✔ kernel              6.12.8-amd64
        ✔ BTF                 the kernel describes its types
        ✔ cgroups             v2, v2 tree at /sys/fs/cgroup
        ✔ bpffs               mounted at /sys/fs/bpf
        ✔ capabilities        all that are needed
        ✔ security modules    capability, bpf
        ✔ cgroup_skb_egress   attached (cgroup_skb, network)
        ✖ sched_process_exec  not attached (tp_btf, process): the kernel has no BTF; without it, programs that start are not reported
                              → it needs Linux 5.8 or later
        ✔ sys_exit            off (tp_btf, syscall): nothing selects it
        ✔ history             /var/lib/cofferdam/history.db, 0 B
        ! records             17 of 1,000 network records lost
                              → map and metrics stay exact, events have gaps: enlarge the ring (cofferdam run --flow-ring-bytes)
        ! records             40 of 1,000 network records shed
                              → map and metrics stay exact: cofferdam_workload_records_missing_total tells who floods (or: cofferdam run --records-per-second)
        ! hooks               2 times ledger_full
                              → more rows keep more apart (cofferdam run --ledger-rows)
        1 problem above.
        "#);
    }

    #[test]
    fn without_a_daemon_it_still_tells_what_the_kernel_offers() {
        let report = without_daemon("no daemon answers at /x".to_owned(), "start it");
        let text = text(&report);
        for word in ["no daemon answers at /x", "→ start it", "kernel", "BTF", "cgroups", "security modules"]
        {
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn what_a_host_may_do_without_is_noted_with_what_is_missing_and_what_to_do() {
        let mut health = health();
        let refused = Some("`bpf` is not among the kernel's security modules: yama".to_owned());
        let hook = HookStatus { refused, optional: true, ..health.hooks.swap_remove(0) };
        (health.hooks, health.counters) = (vec![hook], None);
        let report = with_daemon(health);
        let Some(check) = report.checks.iter().find(|check| check.subject == "cgroup_skb_egress") else {
            panic!("it is not told: {:?}", report.checks);
        };
        assert_eq!(check.level, Level::Note);
        assert!(
            check.finding.contains("`bpf` is not among") && check.finding.contains("without it, who talks")
        );
        assert!(check.advice.as_ref().is_some_and(|advice| advice.contains("CONFIG_BPF_LSM")));
        assert!(text(&report).ends_with("Nothing is wrong; 1 note above.\n"));
    }

    #[test]
    fn a_healthy_host_is_told_so() {
        let mut health = health();
        health.hooks.truncate(1);
        health.counters = None;
        assert!(text(&with_daemon(health)).ends_with("All is well.\n"));
    }
}
