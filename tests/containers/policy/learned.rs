//! From nothing to policies: a shop of eight services runs, what it does is learned and enforced, and it runs on as before;
//! what it never did is denied.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use cofferdam_tests::{Container, Docker, Options};
use serde_json::Value;

use super::{Stage, known_as};
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
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    run(&all)?;

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
    let denied = stage.daemon.ask(&["policy", "coverage", "--format", "json", "--exit-code"])?;
    let denied: Value = serde_json::from_str(&denied)?;
    ensure!(denied["uncovered"] == Value::Array(Vec::new()), "{denied}");
    let edges = stage.daemon.map()?;
    ensure!(edges.iter().all(|edge| edge.verdicts.deny == 0), "{text}");

    for (from, to, port) in FOREIGN {
        ensure!(connections(&all, from, to, port)? == 0, "{from} -> {to} {port} passed\n{text}");
    }
    run(&all)
}
