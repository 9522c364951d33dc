//! The daemon and real containers: what the map, the events and the metrics say against what was done.
//!
//! Each test has a network and a Docker of its own. They run one after the other.
#![expect(clippy::tests_outside_test_module, reason = "this binary is tests only")]
#![expect(clippy::print_stdout, reason = "what was measured, for who asks with --nocapture")]

mod alertmanager;
mod anomalies;
mod cgroups;
mod churn;
mod config;
mod containerd;
mod cri;
mod dns;
mod flood;
mod history;
mod hostile;
mod leftovers;
mod names;
mod podman;
mod policy;

mod prometheus;
mod refusals;
mod scene;
mod sockets;
mod syscall;
mod volume;

use std::{env, fs::File, io, sync::Arc};

use cofferdam_tests::{Docker, Node};

/// Waits until no other test runs, of this program or of another: cgroups are the whole machine's, and each test
/// wants all of its processors.
fn alone() -> io::Result<File> {
    let turn = File::create(env::temp_dir().join("cofferdam-test.lock"))?;
    turn.lock()?;
    Ok(turn)
}

/// A node with a Docker.
fn docker() -> anyhow::Result<(Arc<Node>, Docker)> {
    let node = Arc::new(Node::start()?);
    let docker = Docker::start(&node)?;
    Ok((node, docker))
}
