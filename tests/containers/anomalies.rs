//! What a container never did before is an alert, which reaches an Alertmanager straight from the daemon and by way of
//! Prometheus, and of which a policy can be made.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use cofferdam_tests::{
    Daemon, Node, Options,
    alertmanager::{Alertmanager, Certificates},
    built,
    command::wait_for,
    prometheus::Prometheus,
};
use serde_json::Value;

use crate::{alone, docker};

/// Longest until an alert is there: a turn of the recorder, and one of Prometheus.
const SOON: Duration = Duration::from_secs(30);

/// Where the policies are.
fn policies(node: &Node) -> PathBuf {
    node.directory().join("policies")
}

/// Writes the configuration, and says where it is.
fn configure(node: &Node, anomalies: &str, alertmanager: &Alertmanager) -> Result<String> {
    let config = node.directory().join("config.yaml");
    let receivers = format!("alerts: {{alertmanagers: [\"{}\"]}}", alertmanager.url());
    let policies = format!("policies: {{folder: {}, at_stop: clear}}", policies(node).display());
    let rest = format!("history: {{flush_seconds: 1}}\nanomalies: {{{anomalies}}}");
    fs::write(&config, format!("{rest}\n{receivers}\n{policies}\n"))?;
    config.into_os_string().into_string().ok().context("a path in UTF-8")
}

#[test]
fn what_a_container_never_did_fires_in_alertmanager_and_in_prometheus_and_is_over_once_it_is_acknowledged()
-> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("shop", &[])?;
    let start = |name| docker.container(name, &Options::new().on("shop").tcp("80"));
    let (web, api, db) = (start("web")?, start("api")?, start("db")?);
    let (to_api, to_db) = (format!("{}:80", api.address("shop")?), format!("{}:80", db.address("shop")?));
    let alertmanager = Alertmanager::start(&node)?;
    let config = configure(&node, "", &alertmanager)?;
    let daemon = Daemon::start_with(&docker, &["--config", &config])?;
    let prometheus = Prometheus::start_with(&node, &daemon, &[&alertmanager])?;
    // What it does at first is normal.
    web.connect(&to_api)?;
    let is_known = || {
        let told: Value =
            serde_json::from_str(&daemon.ask(&["map", "--since", "1h", "--json"]).ok()?).ok()?;
        (!told.as_array()?.is_empty()).then_some(())
    };
    wait_for("the interaction to be learned", SOON, is_known)?;
    configure(&node, "learn_hours: 0", &alertmanager)?;
    daemon.reload()?;
    web.connect(&to_api)?;
    web.connect(&to_db)?;

    let of = |daemon: &Daemon| -> Option<Vec<Value>> {
        serde_json::from_str(&daemon.ask(&["alerts", "--of", "web", "--json"]).ok()?).ok()
    };
    let told = wait_for("the alert", SOON, || of(&daemon).filter(|alerts| !alerts.is_empty()))?;
    ensure!(told.len() == 1, "web -> api is usual: {told:?}");
    let alert = &told[0];
    assert_eq!((&alert["anomaly"], &alert["target"]["name"]), (&"new_edge".into(), &"db".into()), "{alert}");
    let id = alert["id"].as_str().context("an id")?.to_owned();

    let why = daemon.ask(&["why", "web", "db"])?;
    ensure!(why.contains("\nALERTS\n") && why.contains(&format!("  {id}  new_edge  ")), "{why}");
    let why = daemon.ask(&["why", "web", "api"])?;
    ensure!(!why.contains("ALERTS"), "{why}");

    let fires = || {
        let alerts = alertmanager.alerts().ok()?;
        alerts.into_iter().find(|alert| alert["labels"]["alert_id"] == id.as_str())
    };
    let fired = wait_for("Alertmanager to know it", SOON, fires)?;
    assert_eq!(
        (&fired["labels"]["source"], &fired["labels"]["target"]),
        (&"web".into(), &"db".into()),
        "{fired}"
    );
    let rule = r#"ALERTS{alertname="CofferdamAnomaly", alertstate="firing", source="web", target="db"}"#;
    let is_firing = || prometheus.query(rule).is_ok_and(|found| found.len() == 1);
    wait_for("the rule to fire", SOON, || is_firing().then_some(()))?;
    let fires_by_rule = || {
        let mut alerts = alertmanager.alerts().ok()?.into_iter().map(|alert| alert["labels"].clone());
        alerts.find(|it| {
            it["alertname"] == "CofferdamAnomaly" && it["source"] == "web" && it["job"] == "cofferdam"
        })
    };
    wait_for("Prometheus to tell Alertmanager", SOON, fires_by_rule)?;

    // A policy stops it, and nothing else.
    fs::create_dir_all(policies(&node))?;
    let policy = policies(&node).join("stopped.yaml");
    fs::write(&policy, daemon.ask(&["alerts", "rule", &id, "--mode", "enforce"])?)?;
    daemon.ask(&["policy", "reload"])?;
    let failed = [web.connect(&to_db)?, api.connect(&to_db)?, web.connect(&to_api)?].map(|it| it.failed);
    assert_eq!(failed, [1, 0, 0], "{}", fs::read_to_string(&policy)?);
    let refused = daemon.ask(&["alerts", "rule", &id, "--allow"]);
    ensure!(refused.is_err(), "what an entry denies no rule can allow: {refused:?}");
    fs::remove_file(&policy)?;
    daemon.ask(&["policy", "reload"])?;
    assert_eq!(web.connect(&to_db)?.failed, 0);

    // Somebody has looked at it: it is over, and normal from then on.
    let said = daemon.ask(&["alerts", "ack", &id, "--reason", "the new report"])?;
    ensure!(said.contains("is normal from now on"), "{said}");
    wait_for("Alertmanager to forget it", SOON, || fires().is_none().then_some(()))?;
    wait_for("the rule to end", SOON, || (!is_firing()).then_some(()))?;
    wait_for("Alertmanager to be told that too", SOON, || fires_by_rule().is_none().then_some(()))?;
    web.connect(&to_db)?;
    let events = daemon.ask(&["events", "--since", "1h", "--kind", "alert"]);
    wait_for("both to stand in the history", SOON, || {
        let told = daemon.ask(&["events", "--since", "1h", "--kind", "alert"]).ok()?;
        (told.lines().count() >= 2 && told.contains("acknowledged")).then_some(())
    })
    .with_context(|| format!("{events:?}"))?;
    assert_eq!(of(&daemon).map(|alerts| alerts.len()), Some(0));
    Ok(())
}

#[test]
fn an_alertmanager_is_told_over_tls_if_the_host_trusts_its_certificate_and_only_then() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("shop", &[])?;
    let start = |name| docker.container(name, &Options::new().on("shop").tcp("80"));
    let (web, api) = (start("web")?, start("api")?);
    let certificates = Certificates::make(&node, node.directory())?;
    let alertmanager = Alertmanager::start_secure(&node, &certificates)?;
    let config = configure(&node, "learn_hours: 0", &alertmanager)?;
    let to_api = format!("{}:80", api.address("shop")?);

    let daemon = Daemon::start_with(&docker, &["--config", &config])?;
    web.connect(&to_api)?;
    let refused = || daemon.log().contains("invalid peer certificate").then_some(());
    wait_for("the certificate to be refused", SOON, refused).with_context(|| daemon.log())?;
    ensure!(alertmanager.alerts()?.is_empty());
    daemon.stop()?;

    // As after `update-ca-certificates`.
    let trusting = node.directory().join("trusting");
    let (trusted, program) = (certificates.authority.display(), built("cofferdam")?);
    let script = format!("#!/bin/sh\nSSL_CERT_FILE={trusted} exec {} \"$@\"\n", program.display());
    fs::write(&trusting, script)?;
    fs::set_permissions(&trusting, Permissions::from_mode(0o755))?;
    let daemon = Daemon::start_program(&trusting, &docker, &["--config", &config])?;
    web.connect(&to_api)?;
    alertmanager.wait_until("CofferdamNewEdge", true, SOON).with_context(|| daemon.log())?;
    Ok(())
}
