//! Alertmanager, by its API v2.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;

use super::{Door, Http, Receive, lane::Failure};
use crate::{
    config::{Address, TokenFile},
    event::{Alert, AlertKind, AlertState, Severity},
};

/// How long an alert is open unless it is told again: four times are missed before it resolves by itself.
const OPEN_FOR: Duration = Duration::from_secs(240);
/// What Alertmanager groups by, and links to.
const RUNBOOKS: &str = "https://github.com/cofferdam/cofferdam/blob/main/docs/anomalies.md";

/// One Alertmanager.
#[derive(Debug)]
pub(super) struct Alertmanager {
    http: Http,
    host: Arc<str>,
    told: Told,
}

/// How severe alerts that are open were, by their ids, when they were last posted. To Alertmanager one that got worse is
/// another one.
#[derive(Debug, Default)]
struct Told(HashMap<String, Severity>);

/// An alert as Alertmanager has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    /// Who it is: to Alertmanager another one when any of them changes, as the severity may.
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
}

impl Alertmanager {
    /// The one at `address`.
    pub(super) fn new(address: &Address, token: &TokenFile, host: Arc<str>) -> Self {
        let door = Door { url: address.join("/api/v2/alerts"), token: token.clone(), headers: Vec::new() };
        Self { http: Http::new(door), host, told: Told::default() }
    }
}

impl Receive for Alertmanager {
    const AT_ONCE: usize = 64;

    async fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let now = Timestamp::now();
        let replaced = self.told.replaced(alerts);
        let all = || replaced.iter().chain(alerts.iter().map(AsRef::as_ref));
        let runbooks: Vec<_> = all().map(|alert| runbook(alert.kind)).collect();
        let posted = all().zip(&runbooks).map(|(alert, runbook)| posted(alert, &self.host, runbook, now));
        let body = serde_json::to_vec(&posted.collect::<Vec<_>>()).map_err(Failure::lasting)?;
        self.http.post(body, "application/json").await?;
        self.told.note(alerts);
        Ok(())
    }
}

impl Told {
    /// What is over, as it is told with another severity from now on.
    fn replaced(&self, alerts: &[Arc<Alert>]) -> Vec<Alert> {
        let before = |alert: &Arc<Alert>| {
            let severity = *self.0.get(&alert.id).filter(|severity| **severity != alert.severity)?;
            Some(Alert { severity, state: AlertState::Resolved, ..(**alert).clone() })
        };
        alerts.iter().filter_map(before).collect()
    }

    /// These were posted.
    fn note(&mut self, alerts: &[Arc<Alert>]) {
        for alert in alerts {
            if alert.is_open() {
                self.0.insert(alert.id.clone(), alert.severity);
            } else {
                self.0.remove(&alert.id);
            }
        }
    }
}

fn posted<'a>(alert: &Alert, host: &str, runbook: &'a str, now: Timestamp) -> Posted<'a> {
    // Alertmanager takes none that ends before it began, as one does whose clock was put back.
    let now = now.max(alert.began);
    let target = alert.target.as_deref();
    let of = |what: Option<String>| what.unwrap_or_default();
    // What has no value is no label to Alertmanager.
    let labels = [
        ("alertname", alertname(alert.kind)),
        ("alert_id", alert.id.clone()),
        ("severity", alert.severity.name().to_owned()),
        ("source", alert.source.name.clone()),
        ("target", of(target.map(|target| target.name.clone()))),
        ("protocol", of(alert.protocol.map(|protocol| protocol.to_string()))),
        ("port", of(alert.port.map(|port| port.to_string()))),
        ("instance", host.to_owned()),
        ("job", "cofferdam".to_owned()),
    ];
    let summary = match target {
        Some(target) => format!("{}: {} to {target}", alert.kind, alert.source),
        None => format!("{}: {}", alert.kind, alert.source),
    };
    let annotations = [
        ("summary", summary.replace('_', " ")),
        ("description", alert.sentence.clone()),
        ("runbook_url", runbook.to_owned()),
    ];
    Posted {
        labels: labels.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
        annotations: annotations.into(),
        starts_at: alert.began,
        ends_at: match alert.state {
            AlertState::Open => now.checked_add(OPEN_FOR).unwrap_or(now),
            AlertState::Acknowledged | AlertState::Resolved => now,
        },
        generator_url: runbook,
    }
}

/// `CofferdamNewEdge` of `new_edge`.
fn alertname(kind: AlertKind) -> String {
    let words = kind.name().split('_').flat_map(|word| {
        let (first, rest) = word.split_at(word.len().min(1));
        [first.to_ascii_uppercase(), rest.to_owned()]
    });
    std::iter::once("Cofferdam".to_owned()).chain(words).collect()
}

fn runbook(kind: AlertKind) -> String {
    format!("{RUNBOOKS}#{kind}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::samples::alert;

    #[test]
    fn an_alert_is_posted_with_who_it_is_in_labels_and_all_else_in_annotations() {
        let now: Timestamp = "2026-11-27T10:00:00Z".parse().unwrap();
        let shown = |alert: &Alert| {
            let runbook = runbook(alert.kind);
            serde_json::to_string_pretty(&posted(alert, "host1", &runbook, now)).unwrap()
        };
        insta::assert_snapshot!(shown(&alert("a1")), @r#"
        {
          "labels": {
            "alert_id": "a1",
            "alertname": "CofferdamNewEdge",
            "instance": "host1",
            "job": "cofferdam",
            "port": "5432",
            "protocol": "tcp",
            "severity": "warning",
            "source": "shop/web",
            "target": "shop/db"
          },
          "annotations": {
            "description": "shop/web talks to shop/db, tcp/5432, for the first time in 14 days",
            "runbook_url": "https://github.com/cofferdam/cofferdam/blob/main/docs/anomalies.md#new_edge",
            "summary": "new edge: shop/web to shop/db"
          },
          "startsAt": "2020-01-05T09:59:00Z",
          "endsAt": "2026-11-27T10:04:00Z",
          "generatorURL": "https://github.com/cofferdam/cofferdam/blob/main/docs/anomalies.md#new_edge"
        }
        "#);
        let before = shown(&alert("a1"));
        let after = shown(&Alert { state: AlertState::Resolved, ..alert("a1") });
        assert_eq!(after, before.replace("2026-11-27T10:04:00Z", "2026-11-27T10:00:00Z"), "it ends now");
    }

    #[test]
    fn what_is_about_nobody_in_particular_has_no_empty_labels() {
        let lone = Alert { target: None, protocol: None, port: None, ..alert("a1") };
        let runbook = runbook(lone.kind);
        let posted = posted(&lone, "host1", &runbook, Timestamp::UNIX_EPOCH);
        let names: Vec<_> = posted.labels.keys().copied().collect();
        assert_eq!(names, ["alert_id", "alertname", "instance", "job", "severity", "source"]);
        assert_eq!(posted.annotations["summary"], "new edge: shop/web");
        assert!(posted.ends_at > posted.starts_at, "never before it began");
    }

    #[test]
    fn one_that_got_worse_ends_as_what_it_was_once() {
        let mut told = Told::default();
        let with = |severity, state| [Arc::new(Alert { severity, state, ..alert("a1") })];
        let mut post = |severity, state| {
            let alerts = with(severity, state);
            let replaced = told.replaced(&alerts);
            told.note(&alerts);
            let shown = replaced.iter().map(|alert| format!("{} {}", alert.severity, alert.state));
            (Vec::from_iter(shown), told.0.len())
        };
        let none = Vec::new;
        assert_eq!(post(Severity::Warning, AlertState::Open), (none(), 1));
        assert_eq!(post(Severity::Warning, AlertState::Open), (none(), 1));
        assert_eq!(post(Severity::Critical, AlertState::Open), (vec!["warning resolved".to_owned()], 1));
        assert_eq!(post(Severity::Critical, AlertState::Open), (none(), 1));
        assert_eq!(post(Severity::Critical, AlertState::Resolved), (none(), 0));
        assert_eq!(post(Severity::Warning, AlertState::Open), (none(), 1));
    }

    #[test]
    fn each_kind_has_a_name_as_alerts_have() {
        let names = AlertKind::ALL.map(alertname).join(" ");
        insta::assert_snapshot!(names, @"CofferdamNewEdge CofferdamNewService CofferdamNewDestination CofferdamFanOut CofferdamFanIn CofferdamVolume CofferdamExfiltration CofferdamBeacon CofferdamLongLived CofferdamOddDns");
    }
}
