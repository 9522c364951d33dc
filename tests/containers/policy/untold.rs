//! A container of which no runtime tells, and what it sends past the IP stack.

use std::{fs, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cofferdam_tests::{Outside, command::wait_for};

use super::{ONLY_API, SOON, Stage};
use crate::{
    alone,
    cgroups::{Parent, id},
    docker,
};

/// Longer than whose a link is may be unknown (`OWNED_WITHIN` of the daemon).
const LONG: Duration = Duration::from_secs(7);

#[test]
fn whom_no_runtime_names_is_denied_at_his_link_as_at_his_sockets_however_late_it_is() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let cgroups = Parent::make(&node)?;
    let container = cgroups.container(1)?;
    let machine = Outside::plug_in(&node)?;
    let mut stage = Stage::start(&node, &docker, ", unresolved: deny, default_egress: deny, at_stop: clear")?;
    stage.enforce(ONLY_API)?;
    // By a packet socket.
    let ask = || {
        let words = ["busybox", "arping", "-c", "1", "-w", "1", "-I", "eth0", "198.19.7.1"];
        machine.run(&words)
    };
    wait_for("the link to be nobody's", SOON, || ask().ok())?;
    fs::write(container.join("cgroup.procs"), machine.pid().to_string())?;
    let is_answered = || cgroups.inside(&container, || ask().is_ok());
    let denied = || (!is_answered().ok()?).then_some(());
    wait_for("the link to be the container's", SOON, denied).with_context(|| stage.daemon.log())?;
    thread::sleep(LONG);
    ensure!(!is_answered()?, "{}", stage.daemon.log());
    // Whatever the rules would say of it.
    let why = stage.daemon.ask(&["why", &id(1), "198.19.7.1", "--port", "80"])?;
    ensure!(why.contains("DENIED") && why.contains("policies.never_told: deny"), "{why}");
    Ok(())
}
