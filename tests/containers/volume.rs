//! Many thousand short connections: the ledger is exact, and so is the count of what was shed and lost.

use std::time::{Duration, Instant};

use cofferdam_tests::{
    Container, Counts, Daemon, Docker, Options, check, command::wait_for, edge, rounds, sum,
};

use crate::{alone, docker};

/// How many connections are made where all is done that can be.
const ALL: u32 = 1_000_000;
const PORTS: [u16; 8] = [7000, 7001, 7002, 7003, 7004, 7005, 7006, 7007];

/// How many connections are made.
fn connections() -> u64 {
    rounds(ALL).into()
}

/// A client that does not run out of ports, and a server.
fn pair(docker: &Docker) -> anyhow::Result<(Container, Container)> {
    pair_with(docker, Options::new())
}

fn pair_with(docker: &Docker, server: Options) -> anyhow::Result<(Container, Container)> {
    docker.network("busy", &[])?;
    let ports = PORTS.map(|port| port.to_string()).join(",");
    let server = docker.container("server", &server.on("busy").tcp(&ports))?;
    Ok((docker.container("client", &Options::new().on("busy").many_ports())?, server))
}

fn rush(client: &Container, server: &Container, how: &str) -> anyhow::Result<Counts> {
    let (address, connections) = (server.address("busy")?, connections());
    let servers = PORTS.map(|port| format!("{address}:{port}")).join(",");
    let begun = Instant::now();
    let by_client = client
        .connect(&format!("{servers} --count {connections} --send 100 --receive 200 --parallel 16 {how}"))?;
    let rate = connections as f64 / begun.elapsed().as_secs_f64();
    println!("{connections} connections at {rate:.0} per second");
    let by_server = server.counts()?;
    assert_eq!((by_client.connections, by_client.failed), (connections, 0));
    assert_eq!(
        (by_server.bytes_received, by_server.bytes_sent),
        (by_client.bytes_sent, by_client.bytes_received)
    );
    Ok(by_client)
}

/// Exactly the flows and bytes of both ends, spread over the ports in equal parts.
fn assert_exact(daemon: &Daemon, made: Counts) -> anyhow::Result<()> {
    let share = PORTS.len() as u64;
    let expected = PORTS.map(|port| {
        edge("client", "server", &format!("tcp/{port}"))
            .flows(made.connections / share)
            .bytes(made.bytes_sent / share, made.bytes_received / share)
    });
    check(daemon, &["client", "server"], &expected).map(drop)
}

fn assert_every_record_is_accounted_for(daemon: &Daemon) -> anyhow::Result<[u64; 3]> {
    let [issued, shed, lost, delivered] = daemon.accounted_records("network")?;
    println!("records of flows: {issued} issued, {shed} shed, {lost} lost, {delivered} delivered");
    Ok([issued, shed, lost])
}

#[test]
fn short_connections_are_counted_to_the_last_one() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let (client, server) = pair(&docker)?;
    let daemon = Daemon::start(&docker)?;
    let made = rush(&client, &server, "")?;
    assert_exact(&daemon, made)?;
    assert_every_record_is_accounted_for(&daemon)?;
    Ok(())
}

#[test]
fn connections_that_end_by_a_reset_are_counted_to_the_last_one() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let (client, server) = pair(&docker)?;
    let daemon = Daemon::start(&docker)?;
    let made = rush(&client, &server, "--reset")?;
    assert_exact(&daemon, made)
}

#[test]
fn connections_that_the_server_ends_are_counted_to_the_last_one() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let (client, server) = pair_with(&docker, Options::new().closing())?;
    let daemon = Daemon::start(&docker)?;
    let made = rush(&client, &server, "--wait-for-end")?;
    assert_exact(&daemon, made)?;
    assert_every_record_is_accounted_for(&daemon)?;
    Ok(())
}

#[test]
fn the_ledger_stays_exact_when_the_ring_loses_most_records() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let (client, server) = pair(&docker)?;
    let daemon = Daemon::start_with(&docker, &["--flow-ring-bytes", "4096", "--records-per-second", "0"])?;
    let made = rush(&client, &server, "")?;
    assert_exact(&daemon, made)?;
    let [issued, shed, lost] = assert_every_record_is_accounted_for(&daemon)?;
    assert!(
        issued >= 2 * connections(),
        "each flow issues an open and a close record, but {issued} were issued"
    );
    assert!(lost > 0, "a ring of one page lost nothing");
    assert_eq!(shed, 0, "there was no budget to keep to");
    Ok(())
}

#[test]
fn what_a_container_sheds_is_told_by_name_and_the_ledger_stays_exact() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let (client, server) = pair(&docker)?;
    let daemon = Daemon::start_with(&docker, &["--records-per-second", "100", "--record-burst", "50"])?;
    let made = rush(&client, &server, "")?;
    assert_exact(&daemon, made)?;
    let [issued, shed, _] = assert_every_record_is_accounted_for(&daemon)?;
    assert!(issued >= 2 * connections() && shed > 0, "{shed} of {issued} were shed");
    let of_client = [r#"workload="client""#, r#"family="network""#, r#"reason="shed""#];
    wait_for("all of it to be the client's", Duration::from_secs(10), || {
        let page = daemon.settled_metrics().ok()?;
        let told = sum(&page, "cofferdam_workload_records_missing_total", &of_client).ok()?;
        (told == shed).then_some(())
    })
}
