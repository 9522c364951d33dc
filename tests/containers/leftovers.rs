//! Nothing stays behind.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use cofferdam_tests::{
    Daemon, Node, Options,
    command::{run, wait_for},
    leftovers::Machine,
};

use crate::{alone, docker};

fn assert_unloaded(node: &Node, ids: &BTreeSet<u32>) -> anyhow::Result<()> {
    assert!(!ids.is_empty(), "the daemon holds no program");
    wait_for("the kernel to unload the programs", Duration::from_secs(10), || {
        let gone =
            |id: &u32| run(node.command("bpftool").args(["prog", "show", "id", &id.to_string()])).is_err();
        ids.iter().all(gone).then_some(())
    })?;
    Ok(())
}

/// What is pinned in the node's bpffs, the kernel's own `maps.debug` and `progs.debug` apart.
fn pinned(node: &Node) -> anyhow::Result<String> {
    run(node.command("find").args(["/sys/fs/bpf", "-mindepth", "1", "!", "-name", "*.debug"]))
}

#[test]
fn a_stopped_daemon_leaves_no_program_no_pin_and_no_socket() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let daemon = Daemon::start(&docker)?;
    let ids = daemon.programs()?;
    let directory = daemon.run_directory().to_owned();
    let status = daemon.stop()?;
    assert!(status.success(), "it ended with {status}");
    assert_eq!(pinned(&node)?, "", "pinned objects stay behind");
    assert_unloaded(&node, &ids)?;
    assert!(!directory.join("cofferdam.sock").exists(), "its socket stays behind");
    Ok(())
}

#[test]
fn a_killed_daemon_leaves_no_program_and_its_successor_clears_the_rest() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let daemon = Daemon::start(&docker)?;
    let ids = daemon.programs()?;
    daemon.kill()?;
    assert_unloaded(&node, &ids)?;
    // Its counts stay readable until then.
    assert!(pinned(&node)?.contains("ledger"), "the ledger of a killed daemon is gone");
    Daemon::start(&docker)?.stop()?;
    assert_eq!(pinned(&node)?, "", "pinned objects stay behind");
    Ok(())
}

#[test]
fn a_test_leaves_the_machine_as_it_was_even_when_it_fails() -> anyhow::Result<()> {
    let _turn = alone()?;
    let before = Machine::look();
    let failed = std::thread::spawn(|| {
        let (_node, docker) = docker().expect("a Docker");
        docker.network("front", &[]).expect("a network");
        let options = Options::new().on("front").with(&["--publish", "8080:80"]).tcp("80");
        let _web = docker.container("web", &options).expect("a container");
        panic!("as a failing test does");
    });
    failed.join().expect_err("it fails on purpose");
    assert_eq!(Machine::look().changes_since(&before), [""; 0]);
    Ok(())
}

#[test]
fn the_next_test_clears_away_what_a_killed_one_left() -> anyhow::Result<()> {
    const VICTIM: &str = "COFFERDAM_TEST_VICTIM";
    if std::env::var_os(VICTIM).is_some() {
        return be_killed();
    }
    let _turn = alone()?;
    let before = Machine::look();
    let mut killed = Command::new(std::env::current_exe()?);
    let itself = "leftovers::the_next_test_clears_away_what_a_killed_one_left";
    killed.args(["--exact", itself, "--nocapture"]).env(VICTIM, "1").stdout(Stdio::piped());
    let mut killed = killed.spawn()?;
    let mut said = BufReader::new(killed.stdout.take().context("no output")?).lines();
    let container = said.find_map(|line| Some(line.ok()?.split_once("container ")?.1.to_owned()));
    let container = container.context("the other test did not start its container")?;
    killed.kill()?;
    killed.wait()?;
    ensure!(
        run(Command::new("pgrep").args(["-f", "traffic serve --tcp 18080"])).is_ok(),
        "{container} is gone"
    );

    drop(Node::start()?);
    assert_eq!(Machine::look().changes_since(&before), [""; 0]);
    ensure!(
        run(Command::new("pgrep").args(["-f", "traffic serve --tcp 18080"])).is_err(),
        "{container} runs on"
    );
    Ok(())
}

/// The test that is killed: starts a container, says so, and waits.
fn be_killed() -> anyhow::Result<()> {
    let (_node, docker) = docker()?;
    let web = docker.container("web", &Options::new().tcp("18080"))?;
    println!("container {}", web.id());
    std::thread::sleep(Duration::from_secs(60));
    Ok(())
}
