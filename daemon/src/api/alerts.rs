//! Alerts, that somebody has looked at one, and what policies can do about one: `/v1/alerts`.

use axum::{
    Extension, Json,
    body::Body,
    extract::{Query, State as Shared, rejection::QueryRejection},
    http::StatusCode,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    API_VERSION, Answer, Refusal, blocking,
    change::{SMALL_BODY_LIMIT, read},
    local::{App, bad},
    peer::{Peer, Permitted},
};
use crate::{
    baseline::{
        alerts::NotFound,
        rule::{NoRule, Will, policy},
    },
    event::{Acknowledgement, Alert},
    view::View,
};

/// Longest reason, in bytes.
const REASON_LIMIT: usize = 1_024;

/// What can be asked.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AlertsQuery {
    /// Those that were acknowledged, or are over, as well.
    #[serde(default)]
    pub all: bool,
    /// Only those about a workload that is called so, as `of` of `/v1/events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// What is acknowledged: `POST /v1/alerts/ack`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledge {
    /// The alert's id, or the beginning of it where only one begins so.
    pub id: String,
    /// Why it is normal.
    pub reason: String,
}

/// Of which alert a policy is made, and which: `/v1/alerts/rule`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RuleQuery {
    /// The alert's id, or the beginning of it where only one begins so.
    pub id: String,
    /// What is to become of what it is about.
    pub will: Will,
}

/// A policy that was made of an alert.
#[derive(Debug, Deserialize, Serialize)]
pub struct Ruled {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// The alert's id.
    pub id: String,
    /// The policy, as YAML.
    pub text: String,
}

pub(super) async fn list(
    Shared(app): Shared<App>,
    query: Result<Query<AlertsQuery>, QueryRejection>,
) -> Answer<Json<Vec<Alert>>> {
    let Query(query) = query.map_err(bad)?;
    let mut alerts = blocking(app.view, |view| view.alerts.list()).await?;
    alerts.retain(|alert| {
        let is_about = |name: &String| alert.workloads().iter().any(|workload| workload.is_called(name));
        (query.all || alert.is_open()) && query.of.as_ref().is_none_or(is_about)
    });
    Ok(Json(alerts))
}

pub(super) async fn rule(
    Shared(app): Shared<App>,
    query: Result<Query<RuleQuery>, QueryRejection>,
) -> Answer<Json<Ruled>> {
    let Query(RuleQuery { id, will }) = query.map_err(bad)?;
    let made = move |view: &View| -> Answer<Ruled> {
        let alert = view.alerts.named(&id).map_err(not_found)?;
        let unfit = |error: NoRule| Refusal(StatusCode::UNPROCESSABLE_ENTITY, error.to_string());
        let text = policy(&alert, view.policies.policies(), will).map_err(unfit)?;
        Ok(Ruled { schema_version: API_VERSION, id: alert.id, text })
    };
    Ok(Json(blocking(app.view, made).await??))
}

fn not_found(error: NotFound) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, error.to_string())
}

pub(super) async fn acknowledge(
    _: Permitted,
    Extension(peer): Extension<Peer>,
    Shared(app): Shared<App>,
    body: Body,
) -> Answer<Json<Alert>> {
    let Acknowledge { id, reason } = read(body, SMALL_BODY_LIMIT).await?;
    if reason.is_empty() || reason.len() > REASON_LIMIT {
        let error = format!("`reason` is needed, of {REASON_LIMIT} bytes at most");
        return Err(Refusal(StatusCode::BAD_REQUEST, error));
    }
    let acknowledgement = Acknowledgement { by: peer.uid, at: Timestamp::now(), reason };
    let found = blocking(app.view, move |view| view.alerts.acknowledge(&id, acknowledgement)).await?;
    let alert = found.map_err(not_found)?;
    tracing::info!(alert = alert.id, "an alert was acknowledged: {}", alert.sentence);
    Ok(Json(alert))
}
