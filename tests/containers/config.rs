//! The configuration changes while the daemon runs, and a broken one changes nothing.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};
use cofferdam_tests::{Daemon, Options, check, command::wait_for, edge};

use crate::{alone, docker};

#[test]
fn a_reload_names_peers_outside_and_a_broken_file_changes_nothing() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let file = node.directory().join("config.yaml");
    fs::write(&file, "limits: {ledger_rows: 4096}\n")?;
    let path = file.to_str().context("a path in UTF-8")?;
    let probe = docker.container("probe", &Options::new())?;
    let daemon = Daemon::start_with(&docker, &["--config", path])?;
    let send = || probe.connect("198.19.255.1:9999 --udp --send 30 --receive 0");
    let first = send()?;
    let map = |target: &str, counted| {
        check(&daemon, &["probe"], &[edge("probe", target, "udp/9999").counted(counted)])
    };
    map("outside 198.19.255.1", first)?;
    let attempts = |target: &str| {
        let target = format!("target=\"{target}\"");
        daemon.metric("cofferdam_flow_attempts_total", &[r#"source="probe""#, &target])
    };
    ensure!(attempts("outside")? == 1);

    let reload = |text: &str, said: &str| {
        fs::write(&file, text)?;
        daemon.hang_up()?;
        wait_for(said, Duration::from_secs(5), || daemon.log().contains(said).then_some(()))
    };
    reload(
        "limits: {ledger_rows: 8192}\noutside: {nowhere: [198.19.255.0/24]}\n",
        "`limits.ledger_rows` has changed in the configuration and needs a restart",
    )?;
    // The map is named as of now; counters go on from where they were.
    map("outside nowhere", first)?;
    ensure!((attempts("outside")?, attempts("outside:nowhere")?) == (1, 0));
    let both = first + send()?;
    map("outside nowhere", both)?;
    ensure!((attempts("outside")?, attempts("outside:nowhere")?) == (1, 1));
    ensure!(daemon.metric("cofferdam_config_last_reload_successful", &[])? == 1);

    reload("outside: {}\nlimit: 1\n", "stays in force")?;
    let log = daemon.log();
    ensure!(log.contains("config.yaml:2:1: `limit`: unknown field"), "{log}");
    map("outside nowhere", both)?;
    ensure!(daemon.metric("cofferdam_config_last_reload_successful", &[])? == 0);
    let status = daemon.ask(&["status"])?;
    ensure!(status.contains("configuration broken") && status.contains("config.yaml:2:1"), "{status}");
    Ok(())
}
