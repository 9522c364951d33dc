//! Podman: heard over Docker's API, and read from its storage where it is not.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context, ensure};
use cofferdam::event::EventKind;
use cofferdam_tests::{
    Daemon, Node, Podman, check,
    command::{run, wait_for},
    edge,
};

use crate::alone;

const SERVE: [&str; 4] = ["traffic", "serve", "--tcp", "127.0.0.1:8080"];
const CONNECT: [&str; 3] = ["traffic", "connect", "127.0.0.1:8080"];

#[test]
fn a_container_of_podman_is_heard_with_its_labels_and_forgotten_when_it_is_removed() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let mut podman = Podman::new(&node)?;
    podman.serve()?;
    let id = podman.container("web", &["--label", "tier=front"], &SERVE)?;
    let daemon = Daemon::on(&node, &["--podman-socket", &podman.socket().display().to_string()])?;
    podman.once("blink", &CONNECT)?;
    // Its name may have come from disk, and what only the API tells comes when Podman gets to it.
    wait_for("Podman to tell its labels", Duration::from_secs(20), || {
        daemon.containers().ok()?[0]["workload"]["labels"].get("tier").map(drop)
    })?;
    let map = check(&daemon, &["web", "blink"], &[edge("blink", "web", "tcp/8080").flows(1)])?;
    let web = &map.iter().find(|edge| edge.target.name == "web").context("it was just there")?.target;
    assert_eq!(web.id.as_ref(), Some(&id));
    assert_eq!(web.labels.get("tier").map(String::as_str), Some("front"));
    assert_eq!(web.image.as_deref(), Some("localhost/cofferdam-test:latest"));
    let listed = daemon.containers()?;
    assert_eq!(
        (&listed[0]["workload"]["runtime"], &listed[0]["host_network"]),
        (&"podman".into(), &true.into())
    );

    run(podman.podman().args(["rm", "--force", "--time", "0", "web"]))?;
    wait_for("ps without web", Duration::from_secs(5), || {
        (!daemon.ask(&["ps", "--all"]).ok()?.contains("web")).then_some(())
    })?;
    Ok(())
}

#[test]
fn a_container_of_podman_has_its_name_although_no_service_runs() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let podman = Podman::new(&node)?;
    podman.container("web", &[], &SERVE)?;
    let daemon = Daemon::on(&node, &[])?;
    let events = daemon.events()?;
    podman.once("blink", &CONNECT)?;
    check(&daemon, &["web", "blink"], &[edge("blink", "web", "tcp/8080").flows(1)])?;
    let opened = events.wait_for("the flow", |event| matches!(event.kind, EventKind::FlowOpen(_)))?;
    assert_eq!(opened.message, "blink -> web tcp/8080 opened");
    Ok(())
}

#[test]
fn a_rule_by_label_holds_from_the_first_packet_on_of_a_container_of_podman() -> anyhow::Result<()> {
    const STARTS: usize = 5;
    /// The second SYN comes after a second.
    const BRIEFLY: [&str; 2] = ["--timeout", "2500"];
    const POLICY: &str = "
policy: shop
mode: enforce
rules:
  - from: {labels: {tier: front}}
    deny: [{to: any}]
";
    let _turn = alone()?;
    let node = Arc::new(Node::start()?);
    let mut podman = Podman::new(&node)?;
    podman.serve()?;
    podman.container("web", &[], &SERVE)?;
    let folder = node.directory().join("policies");
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("shop.yaml"), POLICY)?;
    let config = node.directory().join("config.yaml");
    fs::write(&config, format!("policies: {{folder: {}, at_stop: clear}}\n", folder.display()))?;
    let options = [
        "--podman-socket",
        &podman.socket().display().to_string(),
        "--config",
        &config.display().to_string(),
    ];
    let daemon = Daemon::on(&node, &options)?;
    let got = || run(podman.podman().args(["exec", "web", "traffic", "counts"]));
    let (before, connect) = (got()?, [&CONNECT[..], &BRIEFLY].concat());
    for start in 0..STARTS {
        // Whether its program says that it failed or not.
        let _ = podman.once_with(&format!("front{start}"), &["--label", "tier=front"], &connect);
        ensure!(got()? == before, "start {start} reached it: {}", daemon.log());
    }
    podman.once_with("back", &["--label", "tier=back"], &connect)?;
    ensure!(got()? != before, "whom no rule denies does not reach it: {}", daemon.log());
    let timeouts = daemon.metric("cofferdam_policy_unresolved_timeouts_total", &[])?;
    ensure!(timeouts == 0, "{timeouts} were not known in time: {}", daemon.log());
    Ok(())
}
