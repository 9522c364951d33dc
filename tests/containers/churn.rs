//! Containers and container-shaped cgroups that live as briefly as they can: each makes one connection and is gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use cofferdam::{
    event::{EventKind, WorkloadKind},
    interaction::Edge,
};
use cofferdam_tests::{Daemon, Options, command::wait_for, edges, rounds};

use crate::{
    alone,
    cgroups::{Parent, id},
    docker,
};

const CONTAINERS: u64 = 1000;

/// Real ones, of Docker, where all is done that can be; so many at once.
const REAL: u32 = 2000;
const AT_ONCE: usize = 4;

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

/// What the map says otherwise, and what the kernel says was shed or lost.
fn differences(daemon: &Daemon, expected: &BTreeMap<String, u64>, port: u16) -> String {
    let map = daemon.map().unwrap_or_default();
    let is = flows(&map, port);
    let missing: Vec<_> = expected.keys().filter(|id| is.get(*id) != Some(&1)).collect();
    let others: Vec<_> = map.iter().filter(|edge| edge.port == port).map(edges::name).collect();
    let others: Vec<_> = others.iter().filter(|name| !name.contains("0000")).collect();
    format!("missing {missing:?}; else there are {others:?}; status {:?}", daemon.status())
}

#[test]
fn a_thousand_brief_containers_each_have_their_flow_also_when_their_rows_are_gone() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let daemon = Daemon::start(&docker)?;
    let parent = Parent::make(&node)?;
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
    })
    .with_context(|| differences(&daemon, &expected, port))?;
    ensure!(daemon.status()?["unattributed"] == 0, "some event bears no name");

    // Rows of cgroups that are gone make room in the kernel; what they counted stays.
    let rows = || daemon.metric("cofferdam_map_entries", &[r#"map="ledger""#]).ok();
    wait_for("the rows to be freed", Duration::from_secs(40), || (rows()? < CONTAINERS / 10).then_some(()))?;
    ensure!(flows(&daemon.map()?, port) == expected, "a flow was lost on the way into the archive");
    Ok(())
}

#[test]
fn of_real_containers_each_flow_has_the_right_name_from_its_first_event() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let host = Options::new().with(&["--network", "host"]);
    let _web = docker.container("web", &host.clone().tcp("127.0.0.1:8080"))?;
    let daemon = Daemon::start(&docker)?;
    let events = daemon.events()?;
    let names: Vec<String> = (0..rounds(REAL)).map(|number| format!("brief{number}")).collect();
    let program = ["traffic", "connect", "127.0.0.1:8080"];
    thread::scope(|scope| {
        let runs = names.chunks(names.len().div_ceil(AT_ONCE)).map(|part| {
            let run = |name: &String| docker.once(name, &host, &program).map(drop);
            scope.spawn(move || part.iter().try_for_each(run))
        });
        let runs: Vec<_> = runs.collect();
        runs.into_iter().try_for_each(|run| run.join().expect("no run panics"))
    })?;

    let expected: BTreeMap<String, u64> = names.iter().map(|name| (name.clone(), 1)).collect();
    let flows = |map: Vec<Edge>| -> BTreeMap<String, u64> {
        let ours = map.into_iter().filter(|edge| edge.port == 8080 && edge.target.name == "web");
        ours.filter(|edge| edge.source.name != "web")
            .map(|edge| (edge.source.name.clone(), edge.flows))
            .collect()
    };
    wait_for("the map of all of them", Duration::from_secs(10), || {
        (flows(daemon.map().ok()?) == expected).then_some(())
    })
    .with_context(|| format!("it is {:?}", daemon.map().map(flows)))?;

    let named: BTreeSet<String> = names.into_iter().collect();
    let opened = || -> Vec<String> {
        let seen = events.seen().into_iter().filter_map(|event| match event.kind {
            EventKind::FlowOpen(flow) if flow.target.port == 8080 => Some(flow.source.workload.name.clone()),
            _ => None,
        });
        seen.filter(|name| name != "web").collect()
    };
    wait_for("all events", Duration::from_secs(10), || (opened().len() >= named.len()).then_some(()))?;
    let told = opened();
    ensure!(
        told.len() == named.len() && told.iter().cloned().collect::<BTreeSet<_>>() == named,
        "events tell of {told:?}"
    );
    Ok(())
}
