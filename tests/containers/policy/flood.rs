//! Two million denied packets per second out of one container, and others whose denials are told all the same.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use cofferdam::event::EventKind;
use cofferdam_tests::{Container, Events, Options, cgroup_root, command::wait_for, flood};

use super::{Stage, member};
use crate::{
    alone, docker,
    flood::{egress_hook, rush},
};

/// How many others there are.
const QUIET: usize = 3;
/// Denied packets of each of two runs.
const PACKETS: u64 = 10_000_000;
/// Ports that the one that floods tries: more than the ledger has rows.
const TARGETS: u16 = 16_800;
/// Of these, and of those that others try, in one go.
const AT_A_TIME: (u16, u16) = (4_200, 5);
/// The first port that others try.
const FIRST_PORT: u16 = 20_000;

fn quiet(number: usize) -> String {
    format!("quiet{number}")
}

/// Nobody may send anything, each by a rule of its own.
fn policies() -> Result<String> {
    let mut text = "policy: street\nmode: enforce\nrules:\n".to_owned();
    for (project, name) in
        [("evil", "flood".to_owned())].into_iter().chain((0..QUIET).map(|n| ("ci", quiet(n))))
    {
        writeln!(text, "  - {{name: {name}, from: {project}/{name}, deny: [{{to: any}}]}}")?;
    }
    Ok(text)
}

/// The cgroup of a container.
fn cgroup(container: &Container) -> Result<PathBuf> {
    let said = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
    let path = said.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup of the v2 tree")?;
    Ok(cgroup_root()?.join(path))
}

/// Tries a server at some ports, each once. All must be denied.
fn try_ports(container: &Container, server: IpAddr, ports: std::ops::Range<u16>) -> Result<()> {
    let to: Vec<_> = ports.map(|port| format!("{server}:{port}")).collect();
    let counts = container.connect(&format!("{} --count {}", to.join(","), to.len()))?;
    ensure!(counts.failed == to.len() as u64, "{counts:?} of {}", to.len());
    Ok(())
}

/// Tries one port after the other until it is enough. Returns how many.
fn try_on(container: &Container, server: IpAddr, enough: &AtomicBool) -> Result<u16> {
    let mut tried = 0;
    while !enough.load(Relaxed) {
        let first = FIRST_PORT + tried;
        try_ports(container, server, first..first + AT_A_TIME.1)?;
        tried += AT_A_TIME.1;
    }
    Ok(tried)
}

/// The ports at which somebody was denied something by his own rule, in order.
fn told(events: &Events, name: &str) -> Result<Vec<u16>> {
    let mut ports = Vec::new();
    for event in events.seen() {
        match event.kind {
            EventKind::Denial(denial) => {
                let rule = denial.rule.map(|rule| rule.name.clone()).unwrap_or_default();
                let source = &denial.source.workload.name;
                ensure!(
                    (source, &rule) == (&format!("ci/{name}"), &format!("street#{name}")),
                    "{source} {rule}"
                );
                ensure!(denial.attempts == 1, "{} attempts at {}", denial.attempts, denial.target.port);
                ports.push(denial.target.port);
            }
            EventKind::Lost(lost) => ensure!(lost.family != "stream", "the reader was too slow: {lost:?}"),
            _ => {}
        }
    }
    ports.sort_unstable();
    Ok(ports)
}

#[test]
fn a_flood_of_denied_packets_and_a_full_ledger_hide_no_denial_of_other_containers() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("shop", &[])?;
    let db = member(&docker, "shop", "db", Options::new().tcp("5432"))?;
    let flooding = member(&docker, "evil", "flood", Options::new())?;
    let others = (0..QUIET)
        .map(|number| member(&docker, "ci", &quiet(number), Options::new()))
        .collect::<Result<Vec<_>>>()?;
    // Records are counted to the last: those of canaries would be among them.
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear, canaries: false")?;
    stage.enforce(&policies()?)?;
    let daemon = &stage.daemon;
    let server = db.address("shop")?;
    let events = (0..QUIET)
        .map(|number| daemon.events_of(&format!("ci/{}", quiet(number))))
        .collect::<Result<Vec<_>>>()?;

    for first in (1..=TARGETS).step_by(AT_A_TIME.0.into()) {
        try_ports(&flooding, server, first..first + AT_A_TIME.0)?;
    }
    let full = [r#"reason="ledger_full""#];
    ensure!(daemon.metric("cofferdam_hook_failures_total", &full)? > 0, "the ledger has room");

    let (hook, inside) = (egress_hook(daemon)?, cgroup(&flooding)?);
    let begun = Instant::now();
    let mut floods = Vec::new();
    for last in [1, 2] {
        let frame = node.directory().join(format!("reply{last}"));
        fs::write(&frame, flood::echo_reply(Ipv4Addr::new(198, 18, 9, last)))?;
        floods.push(rush(&hook, &inside, &frame, PACKETS)?);
    }
    let enough = AtomicBool::new(false);
    let (time, tried) = thread::scope(|scope| {
        let tries: Vec<_> =
            others.iter().map(|other| scope.spawn(|| try_on(other, server, &enough))).collect();
        let ended: Result<Vec<_>, _> = floods.iter_mut().map(std::process::Child::wait).collect();
        let time = begun.elapsed();
        enough.store(true, Relaxed);
        let tried: Result<Vec<_>> =
            tries.into_iter().map(|tries| tries.join().map_err(|_| anyhow!("it panicked"))?).collect();
        ensure!(ended?.iter().all(std::process::ExitStatus::success), "bpftool failed");
        anyhow::Ok((time, tried?))
    })?;

    let [issued, shed, lost, delivered] = daemon.accounted_records("policy")?;
    let rate = 2.0 * PACKETS as f64 / time.as_secs_f64();
    println!(
        "{} denied in {time:?} ({rate:.0}/s): {issued} records issued, {shed} shed, {lost} lost, {delivered} delivered; \
         others tried {tried:?}",
        2 * PACKETS
    );
    let all: u64 = tried.iter().map(|tried| u64::from(*tried)).sum();
    ensure!(issued == 2 * PACKETS + u64::from(TARGETS) + all, "{issued} records, {all} of others");
    for ((number, events), tried) in (0..).zip(&events).zip(tried) {
        let (name, all) = (quiet(number), Vec::from_iter(FIRST_PORT..FIRST_PORT + tried));
        let complete = wait_for("all denials of others", Duration::from_secs(10), || {
            told(events, &name).is_ok_and(|told| told == all).then_some(())
        });
        complete.with_context(|| {
            format!("{name} tried {tried}, told: {:?}\n{}", told(events, &name), daemon.log())
        })?;
    }
    Ok(())
}
