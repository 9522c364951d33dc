//! Ports that are published on the host are no way around a policy: not by address translation, not by Docker's proxy,
//! not back into one's own network, and not for whoever shares the host's network.

use std::sync::Arc;

use anyhow::{Result, ensure};
use cofferdam_tests::{Docker, Node, Options};

use super::{ONLY_API, Stage};
use crate::alone;

/// How often each way is tried.
const ROUNDS: u64 = 100;

#[test]
fn a_port_that_dockers_proxy_publishes_is_no_way_around_a_policy() -> Result<()> {
    // What comes through the proxy is the proxy's, which is the host's.
    published(true, &["ci/beside", "ci/on_host", "host"])
}

#[test]
fn a_port_that_address_translation_publishes_is_no_way_around_a_policy() -> Result<()> {
    published(false, &["ci/beside", "ci/on_host"])
}

/// Nobody gets through, and all of these are told to have tried.
fn published(by_proxy: bool, told: &[&str]) -> Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let docker = Docker::start_with(&node, &format!(r#"{{"userland-proxy": {by_proxy}}}"#))?;
    docker.network("shop", &[])?;
    docker.network("ci", &[])?;
    let labelled = |project: &str, service: &str| {
        let project = format!("com.docker.compose.project={project}");
        let service = format!("com.docker.compose.service={service}");
        Options::new().with(&["--label", &project, "--label", &service])
    };
    let publish = ["--publish", "5432:5432", "--publish", "5432:5432/udp"];
    let db = labelled("shop", "db").on("shop").with(&publish).tcp("5432").udp("5432");
    let db = docker.container("db", &db)?;
    let away = docker.container("away", &labelled("ci", "away").on("ci"))?;
    let beside = docker.container("beside", &labelled("ci", "beside").on("shop"))?;
    let on_host = docker.container("on_host", &labelled("ci", "on_host").on("host"))?;
    let published = format!("{}:5432", docker.gateway("shop")?);
    let direct = format!("{}:5432", db.address("shop")?);
    let local = "127.0.0.1:5432".to_owned();
    let mut ways =
        vec![(&beside, &published), (&beside, &direct), (&on_host, &published), (&on_host, &direct)];
    if by_proxy {
        // Docker itself keeps networks apart, and loopback is not translated.
        ways.extend([(&away, &published), (&on_host, &local)]);
    }
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    for (who, to) in &ways {
        for protocol in ["", " --udp"] {
            let made = who.connect(&format!("{to}{protocol}"))?;
            ensure!(made.bytes_received > 0, "{} does not reach {to}{protocol}: {made:?}", who.name());
        }
    }
    stage.enforce(ONLY_API)?;
    let before = db.counts()?;
    for (who, to) in &ways {
        for protocol in ["", " --udp"] {
            let made =
                who.connect(&format!("{to}{protocol} --count {ROUNDS} --parallel 10 --timeout 100"))?;
            ensure!(made.bytes_received == 0, "{} reaches {to}{protocol}: {made:?}", who.name());
        }
    }
    assert_eq!(db.counts()?, before, "what the database got");
    let edges = stage.daemon.map()?;
    for name in told {
        let of_it = edges.iter().filter(|edge| edge.source.name == *name && edge.target.name == "shop/db");
        let denials = of_it.map(|edge| edge.verdicts.deny).sum::<u64>();
        println!("{name}: {denials} denials");
        ensure!(denials >= ROUNDS, "of {name} only {denials} denials are told: {edges:#?}");
    }
    Ok(())
}
