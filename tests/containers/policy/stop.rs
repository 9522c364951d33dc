//! A client ends the daemon, and says what becomes of what is enforced.

use anyhow::{Context as _, Result, ensure};
use cofferdam_tests::{
    Container, built,
    command::{output, run},
};

use super::{ONLY_API, Stage, shop};
use crate::{alone, docker};

#[test]
fn what_is_enforced_stays_or_ends_as_the_client_says_who_stops_the_daemon() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, _, runner] = shop(&docker)?;
    let to = format!("{}:5432", db.address("shop")?);
    let is_denied = |runner: &Container| Ok::<_, anyhow::Error>(runner.connect(&to)?.bytes_received == 0);
    let program = built("cofferdam")?;
    let mut stage = Stage::start(&node, &docker, "")?;
    stage.enforce(ONLY_API)?;
    ensure!(is_denied(&runner)?);

    let said = stage.daemon.ask(&["stop", "--keep"])?;
    ensure!(
        said.contains("hooks judge on by generation") && said.contains("cofferdam stop --clear"),
        "{said}"
    );
    let status = stage.daemon.ended()?;
    ensure!(status.success(), "{status}: systemd would start it again");
    ensure!(is_denied(&runner)?, "it stays");
    let refused = output(&mut stage.daemon.client(&["stop", "--keep"]))?;
    ensure!(refused.status.code() == Some(4), "{refused:?}");

    let stage = stage.with_another_daemon(&docker, &program)?;
    let said = stage.daemon.ask(&["stop", "--clear"])?;
    ensure!(said == "stopped; nothing is judged any more\n", "{said}");
    ensure!(!is_denied(&runner)?, "it ends");

    // One that is killed cannot be asked any more.
    let mut stage = stage.with_another_daemon(&docker, &program)?;
    ensure!(is_denied(&runner)?);
    stage.daemon.die()?;
    ensure!(is_denied(&runner)?);
    let said = stage.daemon.ask(&["stop", "--clear"])?;
    ensure!(
        said.starts_with("no daemon runs; ") && said.contains("hooks that one had left are gone"),
        "{said}"
    );
    ensure!(!is_denied(&runner)?);
    let left = run(node.command("find").args(["/sys/fs/bpf", "-path", "*cofferdam*"]))?;
    ensure!(left.is_empty(), "left behind: {left}");
    let again = stage.daemon.ask(&["stop", "--clear"]).context("there is nothing more")?;
    ensure!(again == "no daemon runs, and none has left anything that judges\n", "{again}");
    Ok(())
}
