//! System calls of the containers that the configuration selects, and of no others.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, ensure};
use cofferdam::api::Syscalls;
use cofferdam_tests::{Daemon, Docker, Node, Options, command::wait_for};

use crate::{alone, docker};

/// Longest that a selection may take to be in effect, and a container's name to be known.
const SOON: Duration = Duration::from_secs(10);

fn start(node: &Node, docker: &Docker, config: &str) -> anyhow::Result<Daemon> {
    let file = node.directory().join("config.yaml");
    fs::write(&file, config)?;
    Daemon::start_with(docker, &["--config", file.to_str().context("a path in UTF-8")?])
}

/// Has the daemon read another configuration, and waits until it counts calls, or does not.
fn reload(node: &Node, daemon: &Daemon, config: &str, counting: bool) -> anyhow::Result<()> {
    fs::write(node.directory().join("config.yaml"), config)?;
    daemon.hang_up()?;
    wait_for("the selection to be in effect", SOON, || {
        (syscalls(daemon, &[]).ok()?.counting == counting).then_some(())
    })
}

fn syscalls(daemon: &Daemon, arguments: &[&str]) -> anyhow::Result<Syscalls> {
    let said = daemon.ask(&[&["syscalls", "--json"], arguments].concat())?;
    serde_json::from_str(&said).with_context(|| format!("`syscalls --json` printed {said:.300}"))
}

/// Calls and errors of a workload's call.
fn of(daemon: &Daemon, workload: &str, syscall: &str) -> anyhow::Result<(u64, BTreeMap<String, u64>)> {
    let calls = syscalls(daemon, &[workload])?.calls;
    let found = calls.into_iter().find(|call| call.syscall == syscall);
    Ok(found.map_or_else(Default::default, |call| (call.calls, call.errnos)))
}

fn errors<const N: usize>(errors: [(&str, u64); N]) -> BTreeMap<String, u64> {
    errors.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

#[test]
fn calls_of_a_selected_container_are_counted_exactly_while_it_is_selected() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [probe, other] = ["probe", "other"].map(|name| docker.container(name, &Options::new()));
    let (probe, other) = (probe?, other?);
    let daemon = start(&node, &docker, "syscalls: []\n")?;
    let act = || -> anyhow::Result<()> {
        for container in [&probe, &other] {
            container.exec(&["traffic", "calls", "--getsid", "1000", "--truncate", "37"])?;
        }
        Ok(())
    };
    // Nothing selects anything: nothing runs at system calls, and doctor says so.
    act()?;
    let doctor = daemon.ask(&["doctor"])?;
    ensure!(doctor.contains("off (tp_btf, syscall): nothing selects it"), "{doctor}");
    ensure!(daemon.ask(&["syscalls"])?.starts_with("No system calls are counted: nothing selects it."));
    ensure!(daemon.ask(&["status"])?.contains("syscalls off"));

    reload(&node, &daemon, "syscalls: [{name: prob?}]\n", true)?;
    wait_for("the container to be selected", SOON, || {
        (syscalls(&daemon, &[]).ok()?.workloads == 1).then_some(())
    })?;
    act()?;
    assert_eq!(of(&daemon, "probe", "getsid")?, (1000, errors([])));
    assert_eq!(of(&daemon, "probe", "truncate")?, (37, errors([("ENOENT", 37)])));
    let all = syscalls(&daemon, &[])?.calls;
    ensure!(all.iter().all(|call| call.workload.name == "probe"), "{all:?}");
    let labels = [r#"workload="probe""#, r#"syscall="truncate""#];
    assert_eq!(daemon.metric("cofferdam_syscalls_total", &labels)?, 37);
    let labels = [labels[0], labels[1], r#"errno="ENOENT""#];
    assert_eq!(daemon.metric("cofferdam_syscall_errors_total", &labels)?, 37);
    ensure!(daemon.ask(&["status"])?.contains("syscalls of 1 workload"));

    // Deselected: what was counted stays, and nothing is added.
    reload(&node, &daemon, "syscalls: []\n", false)?;
    act()?;
    assert_eq!(of(&daemon, "probe", "getsid")?.0, 1000);
    Ok(())
}

#[test]
fn containers_that_live_for_a_moment_are_counted_from_their_first_call_on() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let daemon = start(&node, &docker, "syscalls: [{name: blink*}]\n")?;
    let calls = ["traffic", "calls", "--getsid", "100", "--truncate", "7"];
    for name in ["blink0", "blink1", "blink2", "other"] {
        docker.once(name, &Options::new(), &calls)?;
    }
    for name in ["blink0", "blink1", "blink2"] {
        let counted = wait_for("all calls", SOON, || {
            let counted = (of(&daemon, name, "getsid").ok()?, of(&daemon, name, "truncate").ok()?);
            (counted.0.0 > 0 && counted.1.0 > 0).then_some(counted)
        })?;
        assert_eq!(counted, ((100, errors([])), (7, errors([("ENOENT", 7)]))), "{name}");
    }
    assert_eq!(of(&daemon, "other", "getsid")?.0, 0);
    Ok(())
}

#[test]
fn calls_that_a_seccomp_filter_refuses_are_counted_with_its_error() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let profile = node.directory().join("seccomp.json");
    let rules = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["getsid"], "action": "SCMP_ACT_ERRNO"}]}"#;
    fs::write(&profile, rules)?;
    let option = |profile: &Path| format!("seccomp={}", profile.display());
    let jailed = Options::new().with(&["--security-opt", &option(&profile)]);
    let jailed = docker.container("jailed", &jailed)?;
    let daemon = start(&node, &docker, "syscalls: [{name: jailed}]\n")?;
    wait_for("the container to be selected", SOON, || {
        (syscalls(&daemon, &[]).ok()?.workloads == 1).then_some(())
    })?;
    jailed.exec(&["traffic", "calls", "--getsid", "11"])?;
    assert_eq!(of(&daemon, "jailed", "getsid")?, (11, errors([("EPERM", 11)])));
    Ok(())
}
