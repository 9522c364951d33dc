//! Container-shaped cgroups that live as briefly as they can: each makes one connection and is gone.

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use cofferdam::{event::WorkloadKind, interaction::Edge};
use cofferdam_tests::{Daemon, command::wait_for};

use crate::{
    alone,
    cgroups::{Parent, id},
    docker,
};

const CONTAINERS: u64 = 1000;

/// A container that connects to `port` and ends.
fn brief(parent: &Parent, number: u64, port: u16) -> anyhow::Result<()> {
    let cgroup = parent.container(number)?;
    let connected = parent.inside(&cgroup, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)))?;
    fs::remove_dir(&cgroup)?;
    connected.map(drop).context("cannot connect")
}

/// Flows by source, of the brief containers' edges.
fn flows(map: &[Edge], port: u16) -> BTreeMap<String, u64> {
    let ours = map.iter().filter(|edge| edge.port == port && edge.source.kind == WorkloadKind::Container);
    ours.map(|edge| (edge.source.id.clone().unwrap_or_default(), edge.flows)).collect()
}

#[test]
fn a_thousand_brief_containers_each_have_their_flow_also_when_their_rows_are_gone() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let daemon = Daemon::start(&docker)?;
    let parent = Parent::make()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let mut expected = BTreeMap::new();
    for number in 0..CONTAINERS {
        brief(&parent, number, port)?;
        listener.accept()?;
        expected.insert(id(number), 1);
    }
    wait_for("the map of all of them", Duration::from_secs(10), || {
        (flows(&daemon.map().ok()?, port) == expected).then_some(())
    })?;
    ensure!(daemon.status()?["unattributed"] == 0, "some event bears no name");

    // Rows of cgroups that are gone make room in the kernel; what they counted stays.
    let rows = || daemon.metric("cofferdam_map_entries", &[r#"map="ledger""#]).ok();
    wait_for("the rows to be freed", Duration::from_secs(40), || (rows()? < CONTAINERS / 10).then_some(()))?;
    ensure!(flows(&daemon.map()?, port) == expected, "a flow was lost on the way into the archive");
    Ok(())
}
