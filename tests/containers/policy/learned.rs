//! From nothing to policies: a shop of eight services runs, what it does is learned and enforced, and it runs on as before;
//! what it never did is denied.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use cofferdam::event::{Alert, AlertKind};
use cofferdam_tests::{Container, Daemon, Docker, Options, command::wait_for};
use jiff::Timestamp;
use serde_json::Value;

use super::{SOON, Stage, known_as};
use crate::{alone, docker};

/// The services, and where each listens.
const SERVICES: [(&str, &str); 8] = [
    ("proxy", "80,9100"),
    ("web", "8080,9100"),
    ("api", "9000,9100"),
    ("db", "5432,9100"),
    ("cache", "6379,9100"),
    ("queue", "5672,9100"),
    ("worker", "9200,9100"),
    ("backup", "9300,9100"),
];

/// Who asks whom, at which port.
const USUAL: [(&str, &str, u16); 9] = [
    ("proxy", "web", 8_080),
    ("web", "api", 9_000),
    ("api", "db", 5_432),
    ("api", "cache", 6_379),
    ("api", "queue", 5_672),
    ("worker", "queue", 5_672),
    ("worker", "db", 5_432),
    ("worker", "cache", 6_379),
    ("backup", "db", 5_432),
];

/// What nobody does, though somebody listens everywhere.
const FOREIGN: [(&str, &str, u16); 22] = [
    ("proxy", "db", 5_432),
    ("proxy", "cache", 6_379),
    ("proxy", "api", 9_000),
    ("web", "db", 5_432),
    ("web", "cache", 6_379),
    ("web", "queue", 5_672),
    ("web", "proxy", 80),
    ("api", "db", 9_100),
    ("api", "web", 8_080),
    ("api", "worker", 9_200),
    ("db", "api", 9_000),
    ("db", "worker", 9_200),
    ("cache", "db", 5_432),
    ("queue", "worker", 9_200),
    ("worker", "api", 9_000),
    ("worker", "queue", 9_100),
    ("backup", "cache", 6_379),
    ("backup", "backup2", 9_300),
    ("runner", "db", 5_432),
    ("runner", "proxy", 80),
    ("stranger", "queue", 5_672),
    ("stranger", "api", 9_000),
];

const SETTINGS: &str = ", at_stop: clear";
const RECORDED: &str = "history: {flush_seconds: 1}\n";
/// Nothing is new that was seen until then, and all else is.
const LEARNED: &str = "anomalies: {learn_hours: 0}\n";

/// The shop, a replica, and two who do not belong to it.
fn scene(docker: &Docker) -> Result<BTreeMap<&'static str, Container>> {
    docker.network("shop", &[])?;
    let mut all = BTreeMap::new();
    for (name, ports) in SERVICES {
        let options = known_as("shop", name, Options::new().tcp(ports));
        all.insert(name, docker.container(name, &options)?);
    }
    let backup = known_as("shop", "backup", Options::new().tcp("9300"));
    all.insert("backup2", docker.container("backup2", &backup)?);
    all.insert("runner", docker.container("runner", &known_as("ci", "runner", Options::new()))?);
    all.insert("stranger", docker.container("stranger", &Options::new().on("shop"))?);
    Ok(all)
}

/// How many connections there were, of two.
fn connections(all: &BTreeMap<&'static str, Container>, from: &str, to: &str, port: u16) -> Result<u64> {
    let [from, to] = [from, to].map(|name| all.get(name).context("it is of the scene"));
    Ok(from?.connect(&format!("{}:{port} --count 2", to?.address("shop")?))?.connections)
}

/// The shop goes about its business, after it has asked the DNS where the others are.
fn run(all: &BTreeMap<&'static str, Container>) -> Result<()> {
    for (from, to, port) in USUAL {
        let asks = all.get(from).context("it is of the scene")?;
        asks.exec(&["nslookup", to, "127.0.0.11"]).with_context(|| format!("{from} asks for {to}"))?;
        ensure!(connections(all, from, to, port)? == 2, "{from} -> {to} {port}");
    }
    Ok(())
}

#[test]
fn what_was_learned_is_enforced_without_a_denial_and_what_is_foreign_is_denied() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let all = scene(&docker)?;
    let mut stage = Stage::start_configured(&node, &docker, SETTINGS, RECORDED)?;
    run(&all)?;
    wait_until_written(&stage.daemon)?;

    let file = node.directory().join("learned.yaml");
    let path = file.display().to_string();
    let learn = ["policy", "learn", "--for", "project=shop", "--mode", "enforce", "-O", &path];
    stage.daemon.ask(&learn)?;
    let text = std::fs::read_to_string(&file)?;
    stage.daemon.ask(&["policy", "check", &path])?;
    let simulated = stage.daemon.ask(&["policy", "simulate", &path, "--exit-code"])?;
    ensure!(simulated.contains(": 0 would have been decided otherwise"), "{simulated}\n{text}");

    stage.enforce(&text)?;
    run(&all).with_context(|| format!("{text}\n{}", stage.daemon.log()))?;
    wait_until_written(&stage.daemon)?;
    let denied = stage.daemon.ask(&["policy", "coverage", "--format", "json", "--exit-code"])?;
    let denied: Value = serde_json::from_str(&denied)?;
    ensure!(denied["uncovered"] == Value::Array(Vec::new()), "{denied}");
    let edges = stage.daemon.map()?;
    ensure!(edges.iter().all(|edge| edge.verdicts.deny == 0), "{text}");

    stage.configure(SETTINGS, &format!("{RECORDED}{LEARNED}"))?;
    stage.daemon.reload()?;
    for (from, to, port) in FOREIGN {
        ensure!(connections(&all, from, to, port)? == 0, "{from} -> {to} {port} passed\n{text}");
    }
    run(&all)?;
    wait_until_alerted(&stage.daemon)
}

/// Waits until what has been counted stands in the history.
fn wait_until_written(daemon: &Daemon) -> Result<()> {
    let now = Timestamp::now();
    let written = |daemon: &Daemon| -> Result<Timestamp> {
        Ok(serde_json::from_value(daemon.status()?["history"]["written_at"].clone())?)
    };
    wait_for("the history to be written", SOON, || (written(daemon).ok()? > now).then_some(()))
}

/// Waits until there is an alert about each foreign interaction, by itself or as a part of a scan, and none about a usual one.
/// Replicas are one workload, which is never foreign to itself.
fn wait_until_alerted(daemon: &Daemon) -> Result<()> {
    let name = |service: &str| match service {
        "backup2" => "shop/backup".to_owned(),
        "runner" => "ci/runner".to_owned(),
        "stranger" => service.to_owned(),
        other => format!("shop/{other}"),
    };
    let mut missing = Vec::new();
    let told = wait_for("the alerts", SOON, || {
        let alerts: Vec<Alert> = serde_json::from_str(&daemon.ask(&["alerts", "--json"]).ok()?).ok()?;
        let is_told = |from: &str, to: &str, port| {
            alerts.iter().any(|alert| {
                let is_it = alert.target.as_ref().is_some_and(|target| target.name == name(to))
                    && alert.port.is_none_or(|told| told == port);
                alert.source.name == name(from) && (is_it || alert.kind == AlertKind::FanOut)
            })
        };
        let between = FOREIGN.into_iter().filter(|(from, to, _)| name(from) != name(to));
        missing = between.filter(|(from, to, port)| !is_told(from, to, *port)).collect();
        missing.is_empty().then_some(alerts)
    });
    let alerts = told.with_context(|| format!("nobody is warned of {missing:?}; {}", daemon.log()))?;
    for (from, to, port) in USUAL {
        let is_it = |alert: &&Alert| {
            let target = alert.target.as_ref().map(|target| target.name.as_str());
            (&*alert.source.name, target, alert.port) == (&*name(from), Some(&*name(to)), Some(port))
        };
        ensure!(!alerts.iter().any(|alert| is_it(&alert)), "{from} -> {to} {port} is usual: {alerts:#?}");
    }
    Ok(())
}
