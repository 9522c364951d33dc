//! Rules that allow by DNS name: what a container was told for it, it may reach, through the death of the daemon and for
//! names that only later policies speak of.

use anyhow::{Context as _, Result, ensure};
use cofferdam_tests::{Container, Docker, Options, Outside, built, command::wait_for};

use super::{SOON, Stage};
use crate::{alone, dns::Resolver, docker};

/// What `api.example.test` and `www.example.test` are.
const API: &str = "198.19.7.4";
const WWW: &str = "198.19.7.3";

fn only(names: &str) -> String {
    format!(
        "
policy: outside
mode: enforce
rules:
  - from: [embedded, direct]
    allow:
      - {{to: {names}, port: icmp}}
      - {{to: any, port: udp/53}}
"
    )
}

/// Whether a machine answers a container's ping.
fn answers(container: &Container, whom: &str) -> bool {
    container.exec(&["ping", "-c", "1", "-W", "1", whom]).is_ok()
}

/// One that asks Docker's own resolver, and one that asks the resolver beyond itself.
fn two(docker: &Docker) -> Result<[Container; 2]> {
    docker.network("front", &[])?;
    let asks = Options::new().with(&["--dns", "198.19.7.2"]);
    Ok([docker.container("embedded", &asks.clone().on("front"))?, docker.container("direct", &asks)?])
}

#[test]
fn a_name_lets_a_container_reach_what_it_was_told_for_it_and_nothing_else() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let both = two(&docker)?;
    let machine = Outside::plug_in(&node)?;
    for address in [WWW, API] {
        machine.run(&["ip", "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
    }
    let _resolver = Resolver::start(&node, &machine)?;
    let settings = format!(", resolvers: [198.19.7.2, {}], at_stop: clear", docker.workload()?);
    let mut stage = Stage::start(&node, &docker, &settings)?;
    stage.enforce(&only("{dns: api.example.test}"))?;

    for container in &both {
        ensure!(!answers(container, API), "nobody has asked for it yet");
        // Also the first packet after the answer.
        ensure!(answers(container, "api.example.test"), "{}", stage.daemon.log());
        ensure!(answers(container, API));
        ensure!(!answers(container, "www.example.test") && !answers(container, WWW));
    }
    let explained =
        stage.daemon.ask(&["policy", "explain", "--from", "embedded", "--to", API, "--port", "icmp"])?;
    ensure!(explained.contains("ALLOWED") && explained.contains("api.example.test"), "{explained}");

    // Nobody asks again: what was told before counts for policies that come later, and for the next daemon.
    stage.enforce(&only("[{dns: api.example.test}, {dns: www.example.test}]"))?;
    for container in &both {
        wait_for("what was told before to count", SOON, || answers(container, WWW).then_some(()))?;
    }
    stage = stage.with_another_daemon(&docker, &built("cofferdam")?)?;
    wait_for("the next daemon to judge", SOON, || {
        stage.daemon.log().contains("took over from an earlier daemon").then_some(())
    })
    .with_context(|| stage.daemon.log())?;
    for container in &both {
        ensure!(answers(container, API) && answers(container, WWW), "{}", stage.daemon.log());
    }
    stage.enforce(&only("{dns: '*.cdn.test'}"))?;
    for container in &both {
        ensure!(!answers(container, API) && !answers(container, WWW));
    }
    ensure!(stage.daemon.stop()?.success());
    Ok(())
}

#[test]
fn who_is_no_resolver_of_a_containers_teaches_it_nothing() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [embedded, direct] = two(&docker)?;
    let machine = Outside::plug_in(&node)?;
    machine.run(&["ip", "addr", "add", &format!("{API}/24"), "dev", "eth0"])?;
    let _resolver = Resolver::start(&node, &machine)?;
    let mut stage = Stage::start(&node, &docker, ", resolvers: [198.19.7.9], at_stop: clear")?;
    stage.enforce(&only("{dns: api.example.test}"))?;
    for container in [&embedded, &direct] {
        container.exec(&["nslookup", "api.example.test"])?;
        ensure!(!answers(container, API));
    }
    ensure!(stage.daemon.stop()?.success());
    Ok(())
}
