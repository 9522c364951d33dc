//! A real Prometheus reads the metrics.

use std::time::Duration;

use cofferdam_tests::{
    Daemon, Node, Options, check,
    command::wait_for,
    edge,
    prometheus::{Prometheus, lint, try_rules},
};

use crate::{alone, docker};

#[test]
fn prometheus_scrapes_the_daemon_and_knows_the_edges() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("front", &[])?;
    let web = docker.container("web", &Options::new().on("front").tcp("80"))?;
    let probe = docker.container("probe", &Options::new().on("front"))?;
    let daemon = Daemon::start(&docker)?;
    let made = probe.connect(&format!("{}:80 --count 7 --send 100 --receive 1000", web.address("front")?))?;
    check(&daemon, &["web", "probe"], &[edge("probe", "web", "tcp/80").counted(made)])?;

    let page = daemon.metrics()?;
    assert_eq!(lint(&node, &page)?, "", "promtool has something to say");

    let prometheus = Prometheus::start(&node, &daemon)?;
    let ask = |query: &str, value: u64| {
        wait_for(query, Duration::from_secs(15), || {
            let answer = prometheus.query(query).ok()?;
            (answer.first()?["value"][1].as_str()? == value.to_string()).then_some(())
        })
    };
    ask("up{job='cofferdam'}", 1)?;
    let edge = "source='probe', target='web', protocol='tcp', port='80'";
    ask(&format!("cofferdam_flows_total{{{edge}}}"), 7)?;
    ask(&format!("sum(cofferdam_flow_bytes_total{{{edge}, direction='received'}})"), 7_000)?;
    ask("min(cofferdam_hook_attached)", 1)?;
    ask("count(cofferdam_build_info)", 1)
}

#[test]
fn each_alert_is_due_when_it_should_be_and_not_before() -> anyhow::Result<()> {
    let _turn = alone()?;
    try_rules(&Node::start()?)
}

#[test]
fn the_health_pages_answer() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let daemon = Daemon::start(&docker)?;
    daemon.page("/healthz")?;
    daemon.page("/readyz")?;
    assert!(daemon.page("/")?.contains("/metrics"), "the landing page leads to the metrics");
    Ok(())
}
