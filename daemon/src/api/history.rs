//! What has happened: `/v1/history`.

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
use crate::{
    history::{Interactions, Past},
    view::View,
};

/// A span of time that has passed.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Span {
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// The same where neither need be named.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SpanQuery {
    /// From when on; from the beginning of the history where only `until` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when; until now where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// What interactions did in a span of time: `GET /v1/history`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Recorded {
    /// From when on it was asked; or the first minute of the history where that is later.
    pub since: Timestamp,
    /// Until when all is in it; until when it was asked where that is earlier.
    pub until: Timestamp,
    /// Interactions, replicas apart.
    pub past: Vec<Past>,
    /// Interactions beyond the most that are told.
    pub left_out: usize,
}

pub(super) async fn history(
    Shared(app): Shared<App>,
    query: Result<Query<SpanQuery>, QueryRejection>,
) -> Answer<Json<Recorded>> {
    let Query(query) = query.map_err(bad)?;
    let span = query.span().unwrap_or_else(|| Span::new(Timestamp::MIN, None));
    Ok(Json(blocking(app.view, move |view| Recorded::of(view, span)).await??))
}

impl Span {
    /// From then on, until now where no end is named.
    #[must_use]
    pub fn new(since: Timestamp, until: Option<Timestamp>) -> Self {
        Self { since, until: until.unwrap_or_else(Timestamp::now) }
    }
}

impl SpanQuery {
    /// From when until when; `None` where no time is named.
    pub(super) fn span(&self) -> Option<Span> {
        let named = self.since.is_some() || self.until.is_some();
        named.then(|| Span::new(self.since.unwrap_or(Timestamp::MIN), self.until))
    }
}

impl Recorded {
    /// What has been written of that time.
    ///
    /// # Errors
    /// There is no history, or it cannot be read.
    fn of(view: &View, Span { since, until }: Span) -> anyhow::Result<Self> {
        // Asked first: what is written meanwhile may be in the answer, but need not be.
        let written = view.history.report().written_at.unwrap_or(since);
        let begins = view.history.begins()?.unwrap_or(written);
        let Interactions { past, left_out } = view.history.interactions(since, until)?;
        Ok(Self { since: since.max(begins), until: until.min(written), past, left_out })
    }
}
