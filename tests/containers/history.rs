//! What has happened outlives the daemon, and a disk that is full stops nothing else.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cofferdam::interaction::Edge;
use cofferdam_tests::{
    Container, Daemon, Docker, Node, Options,
    command::{run, wait_for},
};
use serde_json::Value;

use crate::{alone, docker};

/// Longest until what happened is written, once a second.
const SOON: Duration = Duration::from_secs(10);

/// Two containers, and a daemon that writes its history once a second into a folder that outlives it.
struct Scene {
    docker: Docker,
    client: Container,
    server: Container,
    arguments: [String; 4],
}

impl Scene {
    fn set(node: &Arc<Node>, docker: Docker) -> Result<Self> {
        docker.network("shop", &[])?;
        let server = docker.container("server", &Options::new().on("shop").tcp("7000"))?;
        let client = docker.container("client", &Options::new().on("shop"))?;
        let (config, folder) = (node.directory().join("config.yaml"), node.directory().join("kept"));
        fs::write(&config, "history: {flush_seconds: 1}\n")?;
        let text =
            |path: std::path::PathBuf| path.into_os_string().into_string().ok().context("a path in UTF-8");
        let arguments = ["--config".to_owned(), text(config)?, "--history-folder".to_owned(), text(folder)?];
        Ok(Self { docker, client, server, arguments })
    }

    fn daemon(&self) -> Result<Daemon> {
        Daemon::start_with(&self.docker, &self.arguments.each_ref().map(String::as_str))
    }

    fn connect(&self, count: u64) -> Result<()> {
        let address = self.server.address("shop")?;
        let made = self.client.connect(&format!("{address}:7000 --count {count} --send 10 --receive 20"))?;
        ensure!(made.connections == count, "{} of {count} connections", made.connections);
        Ok(())
    }
}

/// Flows of client and server.
fn flows(edges: &[Edge]) -> u64 {
    let ours = edges.iter().filter(|edge| edge.source.name == "client" && edge.target.name == "server");
    ours.map(|edge| edge.flows).sum()
}

/// Those of the last hour, as the history has them.
fn recorded(daemon: &Daemon) -> Result<u64> {
    Ok(flows(&serde_json::from_str::<Vec<Edge>>(&daemon.ask(&["map", "--since", "1h", "--json"])?)?))
}

fn wait_until_recorded(daemon: &Daemon, flows: u64) -> Result<()> {
    let mut last = None;
    let seen = wait_for("the history to tell of it", SOON, || {
        last = Some(recorded(daemon));
        last.as_ref().filter(|last| last.as_ref().is_ok_and(|last| *last == flows)).map(drop)
    });
    seen.with_context(|| format!("{flows} flows; it told {last:?}; {}", daemon.log()))
}

#[test]
fn what_was_written_is_there_after_a_kill_and_the_next_daemon_goes_on() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let scene = Scene::set(&node, docker)?;
    let daemon = scene.daemon()?;
    scene.connect(7)?;
    wait_until_recorded(&daemon, 7)?;
    daemon.kill()?;

    let daemon = scene.daemon()?;
    assert_eq!(recorded(&daemon)?, 7);
    scene.connect(5)?;
    wait_until_recorded(&daemon, 12)?;
    let why = daemon.ask(&["why", "client", "server", "--port", "7000"])?;
    assert!(
        why.contains("  history  first ") && why.contains(": 12 allowed; 120 B sent, 240 B received\n"),
        "{why}"
    );
    // One that ends in order writes what is left.
    scene.connect(3)?;
    daemon.stop()?;
    let daemon = scene.daemon()?;
    assert_eq!(recorded(&daemon)?, 15);
    Ok(())
}

#[test]
fn a_full_disk_stops_nothing_but_the_history_which_catches_up() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let scene = Scene::set(&node, docker)?;
    let folder = &scene.arguments[3];
    fs::create_dir_all(folder)?;
    run(node.command("mount").args(["-t", "tmpfs", "-o", "size=4m", "tmpfs", folder]))?;
    let daemon = scene.daemon()?;
    scene.connect(2)?;
    wait_until_recorded(&daemon, 2)?;

    let filler = format!("{folder}/filler");
    // Ends when nothing more fits.
    let _ = node.command("dd").args(["if=/dev/zero", &format!("of={filler}"), "bs=4k"]).output()?;
    scene.connect(4)?;
    let problem = |status: &Value| status["history"]["problem"].as_str().map(str::to_owned);
    let said = wait_for("the status to say it", SOON, || problem(&daemon.status().ok()?))?;
    assert!(said.contains("database or disk is full"), "{said}");
    assert_eq!(flows(&daemon.map()?), 6, "the map goes on");
    assert!(daemon.page("/readyz").is_ok(), "it is not ready any more");
    assert!(daemon.metric("cofferdam_history_write_failures_total", &[])? > 0);

    run(node.command("rm").arg(&filler))?;
    wait_until_recorded(&daemon, 6)?;
    assert_eq!(problem(&daemon.status()?), None);
    assert_eq!(daemon.metric("cofferdam_history_lost_total", &["what=\"minutes\""])?, 0);
    drop(daemon);
    run(node.command("umount").arg(folder))?;
    Ok(())
}
