//! Ports that are published on the host are no way around a policy: not by address translation, not by Docker's proxy,
//! not back into one's own network, and not for whoever shares the host's network.

use anyhow::{Result, ensure};
use cofferdam_tests::{Container, Counts, Options};

use super::{ONLY_API, Stage};
use crate::{alone, docker};

/// How often each is tried.
const ROUNDS: u64 = 100;

/// Tries one after the other, and ten at a time.
fn tries(who: &Container, to: &str) -> Result<Counts> {
    who.connect(&format!("{to} --count {ROUNDS} --parallel 10 --timeout 100"))
}

#[test]
fn a_published_port_is_no_way_around_a_policy() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("shop", &[])?;
    docker.network("ci", &[])?;
    let labelled = |project: &str, service: &str| {
        let project = format!("com.docker.compose.project={project}");
        let service = format!("com.docker.compose.service={service}");
        Options::new().with(&["--label", &project, "--label", &service])
    };
    let published = ["--publish", "5432:5432", "--publish", "5432:5432/udp"];
    let db = docker
        .container("db", &labelled("shop", "db").on("shop").with(&published).tcp("5432").udp("5432"))?;
    let api = docker.container("api", &labelled("shop", "api").on("shop"))?;
    let away = docker.container("away", &labelled("ci", "away").on("ci"))?;
    let beside = docker.container("beside", &labelled("ci", "beside").on("shop"))?;
    let on_host = docker.container("on_host", &labelled("ci", "on_host").on("host"))?;
    let (gateway, direct) = (docker.gateway("shop")?, db.address("shop")?);
    let published = format!("{gateway}:5432");
    let ways = [
        (&away, published.clone()),
        (&beside, published.clone()),
        (&beside, format!("{direct}:5432")),
        (&on_host, published.clone()),
        (&on_host, format!("{direct}:5432")),
        (&on_host, "127.0.0.1:5432".to_owned()),
    ];
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
            let made = tries(who, &format!("{to}{protocol}"))?;
            ensure!(made.bytes_received == 0, "{} reaches {to}{protocol}: {made:?}", who.name());
        }
    }
    assert_eq!(db.counts()?, before, "what the database got");
    let denied = stage.daemon.map()?;
    for name in ["ci/away", "ci/beside", "ci/on_host"] {
        let of_it = denied.iter().filter(|edge| edge.source.name == name);
        let denials = of_it.map(|edge| edge.verdicts.deny).sum::<u64>();
        println!("{name}: {denials} denials");
        ensure!(denials >= ROUNDS, "of {name} only {denials} denials are told: {denied:#?}");
    }
    let allowed = api.connect(&published)?;
    ensure!(allowed.failed == 0 && allowed.bytes_received > 0, "{allowed:?}");
    Ok(())
}
