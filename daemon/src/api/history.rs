//! What was seen: `/v1/history`. STAND-IN for the history's store, until it lands.

use axum::{
    Json,
    extract::{Query, State as Shared, rejection::QueryRejection},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Answer, blocking,
    local::{App, bad},
};
use crate::history::Past;

/// A span of time.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// What was seen in a span.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct History {
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Each edge once.
    pub past: Vec<Past>,
}

pub(super) async fn history(
    Shared(app): Shared<App>,
    query: Result<Query<Span>, QueryRejection>,
) -> Answer<Json<History>> {
    let Query(Span { since, until }) = query.map_err(bad)?;
    let past = blocking(app.view, move |view| view.past(since, until)).await??;
    Ok(Json(History { since, until, past }))
}
