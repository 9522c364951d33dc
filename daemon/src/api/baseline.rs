//! What policies say of what was seen, and what of it is new.

use axum::{
    Json,
    body::Body,
    extract::{Query, State as Shared, rejection::QueryRejection},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    API_VERSION, Answer, blocking,
    change::{BODY_LIMIT, place, read},
    history::Span,
    local::{App, bad},
    peer::Permitted,
};
use crate::{
    baseline::{
        coverage::{Coverage, coverage as covered},
        diff::{Difference, diff as compared},
    },
    enforcement::{Refused, Simulated},
    policy::{Plan, RuleNumbers, folder::NamedText},
    view::View,
};

/// Policies that are asked what they would have decided: `POST /v1/policy/simulate`.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ForSimulation {
    /// Each takes the place of the one in the folder that is called so.
    pub files: Vec<NamedText>,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Whose interactions are looked at: as `of` of `/v1/events`. Everybody's where nobody is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
}

/// An answer about a span of time: of `/v1/policy/simulate`, `/v1/policy/coverage` and `/v1/baseline/diff`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Within<T> {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// From when on.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// What was found.
    #[serde(flatten)]
    pub found: T,
}

impl<T> Within<T> {
    fn new(Span { since, until }: Span, found: T) -> Json<Self> {
        Json(Self { schema_version: API_VERSION, since, until, found })
    }
}

pub(super) async fn simulate(
    _: Permitted,
    Shared(app): Shared<App>,
    body: Body,
) -> Answer<Json<Within<Simulated>>> {
    let place = place(&app)?;
    let ForSimulation { files, since, until, of } = read(body, BODY_LIMIT).await?;
    let found = move |view: &View| {
        let _place = place;
        let past = view.past(since, until).map_err(|error| Refused::Unfit(format!("{error:#}")))?;
        view.policies.simulate(&files, &of, &past)
    };
    Ok(Within::new(Span { since, until }, blocking(app.view, found).await??))
}

pub(super) async fn coverage(
    Shared(app): Shared<App>,
    query: Result<Query<Span>, QueryRejection>,
) -> Answer<Json<Within<Coverage>>> {
    let Query(span) = query.map_err(bad)?;
    let found = move |view: &View| {
        let past = view.past(span.since, span.until)?;
        let (policies, settings) = view.policies.policies();
        // Compiled anew, so that nobody waits for it.
        let mut plan = Plan::new(policies, settings, &mut RuleNumbers::default())?;
        Ok::<_, anyhow::Error>(covered(&past, &mut plan))
    };
    Ok(Within::new(span, blocking(app.view, found).await??))
}

pub(super) async fn diff(
    Shared(app): Shared<App>,
    query: Result<Query<Span>, QueryRejection>,
) -> Answer<Json<Within<Difference>>> {
    let Query(span) = query.map_err(bad)?;
    let found = move |view: &View| {
        let before = view.past(Timestamp::MIN, span.since)?;
        Ok::<_, anyhow::Error>(compared(&before, &view.past(span.since, span.until)?))
    };
    Ok(Within::new(span, blocking(app.view, found).await??))
}
