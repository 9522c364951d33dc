//! Containers that send as soon as they run, started as fast as the machine can.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use cofferdam::event::EventKind;
use cofferdam_tests::{Container, Counts, Docker, Options, counts, rounds};

use super::{Stage, known_as, member, shop};
use crate::{alone, docker};

/// What containers of `ci` are denied is denied for who they are: towards the web server nothing else would be.
const NOTHING_FOR_CI: &str = "
policy: shop
mode: enforce
rules:
  - from: {project: ci}
  - to: shop/db
    allow: [{from: shop/api, port: tcp/5432}]
";

/// How many are started for each one that is allowed to talk to the database.
const FOR_EACH_ALLOWED: u32 = 20;

/// Starts containers, several at a time.
struct Starter<'a> {
    docker: &'a Docker,
    db: String,
    web: String,
    next: AtomicU32,
}

impl Starter<'_> {
    /// Starts them until there have been so many. Returns how many of them were allowed to connect, and did.
    fn run(&self, starts: u32) -> Result<u64> {
        let mut allowed = 0;
        loop {
            let number = self.next.fetch_add(1, Relaxed);
            if number >= starts {
                return Ok(allowed);
            }
            let done = if number.is_multiple_of(FOR_EACH_ALLOWED) {
                allowed += 1;
                self.allowed(number)
            } else {
                self.denied(number)
            };
            if done.is_err() {
                self.next.store(starts, Relaxed);
            }
            done.with_context(|| format!("start {number}"))?;
        }
    }

    fn allowed(&self, number: u32) -> Result<()> {
        let options = known_as("shop", "api", Options::new());
        let program = ["traffic", "connect", &self.db, "--timeout", "8000"];
        let counts = counts(&self.docker.once(&format!("api{number}"), &options, &program)?)?;
        ensure!(counts.connections == 1 && counts.failed == 0 && counts.bytes_received == 64, "{counts:?}");
        Ok(())
    }

    /// Sends datagrams and connects, to either server, from its first moment on and for longer than it takes to know who
    /// it is, which is when what was held is sent again.
    fn denied(&self, number: u32) -> Result<()> {
        let Self { db, web, .. } = self;
        let script = format!(
            "for to in {db} {web}; do
                traffic connect $to --udp --receive 0 --count 30 --hold 50 > /dev/null &
                traffic connect $to --timeout 1500 &
            done; wait"
        );
        let options = known_as("ci", "runner", Options::new());
        let said = self.docker.once(&format!("runner{number}"), &options, &["sh", "-c", &script])?;
        for said in said.lines() {
            let counts = counts(said)?;
            ensure!(counts == Counts { failed: 1, ..Counts::default() }, "{counts:?}");
        }
        ensure!(said.lines().count() == 2, "{said}");
        Ok(())
    }
}

/// What the kernel of a container counts of a protocol: `/proc/net/snmp`.
fn counted(container: &Container, protocol: &str, what: &str) -> Result<u64> {
    let said = container.exec(&["cat", "/proc/net/snmp"])?;
    let mut lines = said.lines().filter(|line| line.starts_with(protocol)).map(str::split_whitespace);
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else { return Err(anyhow!("{said}")) };
    let (_, value) = names.zip(values).find(|(name, _)| *name == what).with_context(|| said.clone())?;
    Ok(value.parse()?)
}

#[test]
fn the_first_packet_of_a_container_is_judged_and_an_allowed_start_does_not_fail() -> Result<()> {
    let starts = rounds(1000);
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, ..] = shop(&docker)?;
    let web = member(&docker, "shop", "web", Options::new().tcp("5432").udp("5432"))?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    stage.enforce(NOTHING_FOR_CI)?;
    let events = stage.daemon.events_of_kinds("flow_open,flow_close,denial")?;
    let servers = [&db, &web];
    let [to_db, to_web] =
        servers.map(|server| server.address("shop").map(|address| format!("{address}:5432")));
    let (db_at, web_at) = (db.address("shop")?, web.address("shop")?);
    let starter = Starter { docker: &docker, db: to_db?, web: to_web?, next: AtomicU32::new(0) };
    let (begun, at_a_time) = (Instant::now(), 2 * thread::available_parallelism()?.get());
    let allowed: u64 = thread::scope(|scope| {
        let threads: Vec<_> = (0..at_a_time).map(|_| scope.spawn(|| starter.run(starts))).collect();
        let ended =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a starter panicked"))?);
        ended.sum::<Result<u64>>()
    })?;
    let seconds = begun.elapsed().as_secs();
    let report = stage.daemon.status()?["policies"].clone();
    println!("{starts} starts, {at_a_time} at a time, {allowed} of them allowed, in {seconds} s: {report}");

    let bytes = 64 * allowed;
    let wanted = Counts { connections: allowed, failed: 0, bytes_sent: bytes, bytes_received: bytes };
    assert_eq!((db.counts()?, web.counts()?), (wanted, Counts::default()), "what the servers got");
    for (server, connections) in [(&db, allowed), (&web, 0)] {
        assert_eq!(counted(server, "Udp:", "InDatagrams")?, 0, "datagrams at {}", server.name());
        assert_eq!(counted(server, "Tcp:", "PassiveOpens")?, connections, "handshakes at {}", server.name());
    }
    // Nobody is said to have been allowed anything whom nobody knew.
    let (mut opened, mut denied) = (0, 0);
    for event in events.seen() {
        match &event.kind {
            EventKind::FlowOpen(flow) | EventKind::FlowClose(flow)
                if [db_at, web_at].contains(&flow.target.address) =>
            {
                ensure!(flow.source.workload.name == "shop/api", "{}", event.message);
                opened += u64::from(matches!(event.kind, EventKind::FlowOpen(_)));
            }
            EventKind::Denial(_) => denied += 1,
            _ => {}
        }
    }
    ensure!(opened == allowed && denied > 0, "{opened} flows opened, {denied} denials");
    for edge in stage.daemon.map()? {
        let to_us = ["shop/db", "shop/web"].contains(&edge.target.name.as_str());
        let passed = edge.verdicts.allow + edge.verdicts.audit + edge.attempts + edge.flows + edge.bytes_sent;
        ensure!(!to_us || passed == 0 || edge.source.name == "shop/api", "{edge:?}");
    }
    Ok(())
}
