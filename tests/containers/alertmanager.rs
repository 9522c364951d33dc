//! A real Alertmanager is told of alerts.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use cofferdam::{
    config::Config,
    event::{Alert, AlertKind, AlertState, Protocol, Severity, Workload, WorkloadKind},
    notify::Notify,
};
use cofferdam_tests::{Node, alertmanager::Alertmanager};
use tokio_util::sync::CancellationToken;

use crate::alone;

#[test]
fn an_alert_fires_in_alertmanager_with_its_labels_and_is_gone_once_it_is_resolved() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Arc::new(Node::on_this_network()?);
    let alertmanager = Alertmanager::start(&node)?;
    let text = format!("alerts: {{alertmanagers: [\"{}\"]}}\n", alertmanager.url());
    let config = Config::parse(Path::new("alertmanager.yaml"), &text)?;
    let tasks = tokio::runtime::Runtime::new()?;
    let notify = Notify::start(&config.alerts, "host1", tasks.handle(), CancellationToken::new());

    let container = |name: &str| Arc::new(Workload::named(WorkloadKind::Container, name));
    let now = jiff::Timestamp::now();
    let open = Alert {
        id: "00c0ffee00c0ffee".to_owned(),
        kind: AlertKind::NewEdge,
        severity: Severity::Warning,
        source: container("shop/\"web\"\n{{ .Labels }}"),
        target: Some(container("shop/db")),
        protocol: Some(Protocol::Tcp),
        port: Some(5_432),
        sentence: "shop/web talks to shop/db for the first time".to_owned(),
        began: now,
        last_seen: now,
        count: 1,
        state: AlertState::Open,
        acknowledged: None,
    };
    notify.send(&open);
    let within = Duration::from_secs(20);
    let found = alertmanager.wait_until("CofferdamNewEdge", true, within)?.context("it fires")?;
    let labels = serde_json::json!({
        "alertname": "CofferdamNewEdge", "alert_id": open.id, "severity": "warning", "source": open.source.name,
        "target": "shop/db", "protocol": "tcp", "port": "5432", "instance": "host1", "job": "cofferdam",
    });
    assert_eq!(found["labels"], labels);
    assert_eq!(found["annotations"]["description"], open.sentence);
    notify.send(&Alert { state: AlertState::Resolved, ..open });
    alertmanager.wait_until("CofferdamNewEdge", false, within)?;
    let receivers = notify.receivers();
    assert!(receivers.iter().all(|receiver| receiver.failed == 0 && receiver.dropped == 0), "{receivers:?}");
    Ok(())
}
