//! The routes of the unix socket: `/v1/...`.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{Query, State as Shared, rejection::QueryRejection},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use futures_util::stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Answer, EventExplained, EventQuery, ExplainQuery, Explained, Health, Refusal, Status, Syscalls, alerts,
    baseline, blocking, change, explain,
    history::{self, Span, SpanQuery},
    stop,
};
use crate::{
    attribution::Container,
    history::{KEPT_KINDS, MOST_EVENTS},
    interaction::Edge,
    sink::{Filter, KINDS},
    view::View,
};

/// The most readers of the event stream at once: each may hold back a full stream's memory.
const MOST_READERS: usize = 32;

/// Shortest time between two writes to a reader that keeps up. Events come one by one, and for each a write of ours and
/// a read of the reader would cost more than all else that is done for it.
const PAUSE: Duration = Duration::from_millis(4);

/// What the routes share.
#[derive(Clone)]
pub(super) struct App {
    pub(super) view: View,
    readers: Arc<Semaphore>,
    /// For requests with policies.
    pub(super) changes: Arc<Semaphore>,
    cancel: CancellationToken,
}

/// What `/v1/events` can be asked.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    /// Not as they happen, but out of the history from this time on; the answer has an end then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Until when; until now where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Name, container name, project or beginning of the id of a workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Kinds, with commas between them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// What `/v1/syscalls` can be asked.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SyscallsQuery {
    /// Name, container name, project or beginning of the id of a workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

pub(super) fn router(view: View, cancel: CancellationToken) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/doctor", get(doctor))
        .route("/v1/containers", get(containers))
        .route("/v1/interactions", get(interactions))
        .route("/v1/alerts", get(alerts::list))
        .route("/v1/alerts/ack", post(alerts::acknowledge))
        .route("/v1/alerts/rule", get(alerts::rule))
        .route("/v1/syscalls", get(syscalls))
        .route("/v1/history", get(history::history))
        .route("/v1/baseline/diff", get(baseline::diff))
        .route("/v1/policy/explain", get(policy_explain))
        .route("/v1/policy/explain/event", get(event_explain))
        .route("/v1/policy/coverage", get(baseline::coverage))
        .route("/v1/policy/simulate", post(baseline::simulate))
        .route("/v1/policy/trial", get(change::trial))
        .route("/v1/policy/diff", post(change::diff))
        .route("/v1/policy/shadow", get(change::shadowed).post(change::shadow))
        .route("/v1/policy/shadow/end", post(change::end_shadow))
        .route("/v1/policy/try", post(change::try_out))
        .route("/v1/policy/keep", post(change::keep))
        .route("/v1/policy/confirm", post(change::confirm))
        .route("/v1/policy/revert", post(change::revert))
        .route("/v1/policy/reload", post(change::reload))
        .route("/v1/events", get(events))
        .route("/v1/stop", post(stop::stop))
        .fallback(async || Refusal(StatusCode::NOT_FOUND, "there is no such question".to_owned()))
        .with_state(App {
            view,
            readers: Arc::new(Semaphore::new(MOST_READERS)),
            changes: Arc::new(Semaphore::new(1)),
            cancel,
        })
}

async fn status(Shared(app): Shared<App>) -> Answer<Json<Status>> {
    Ok(Json(blocking(app.view, Status::of).await??))
}

async fn doctor(Shared(app): Shared<App>) -> Answer<Json<Health>> {
    Ok(Json(blocking(app.view, Health::of).await?))
}

async fn containers(Shared(app): Shared<App>) -> Answer<Json<Vec<Container>>> {
    Ok(Json(blocking(app.view, |view| view.attribution.containers()).await?))
}

async fn interactions(
    Shared(app): Shared<App>,
    query: Result<Query<SpanQuery>, QueryRejection>,
) -> Answer<Json<Vec<Edge>>> {
    let Query(query) = query.map_err(bad)?;
    let edges = move |view: &View| match query.span() {
        None => view.edges(),
        Some(Span { since, until }) => view.edges_between(since, until),
    };
    Ok(Json(blocking(app.view, edges).await??))
}

async fn syscalls(
    Shared(app): Shared<App>,
    query: Result<Query<SyscallsQuery>, QueryRejection>,
) -> Answer<Json<Syscalls>> {
    let Query(query) = query.map_err(bad)?;
    Ok(Json(blocking(app.view, move |view| Syscalls::of(view, query.of.as_deref())).await??))
}

async fn policy_explain(
    Shared(app): Shared<App>,
    query: Result<Query<ExplainQuery>, QueryRejection>,
) -> Answer<Json<Explained>> {
    let Query(query) = query.map_err(bad)?;
    Ok(Json(blocking(app.view, move |view| explain::explain(view, &query)).await??))
}

async fn event_explain(
    Shared(app): Shared<App>,
    query: Result<Query<EventQuery>, QueryRejection>,
) -> Answer<Json<EventExplained>> {
    let Query(query) = query.map_err(bad)?;
    Ok(Json(blocking(app.view, move |view| explain::explain_event(view, &query)).await??))
}

/// The stream of events from now on, one JSON object per line, until the client leaves.
async fn events(
    Shared(app): Shared<App>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Answer<Response> {
    let Query(query) = query.map_err(bad)?;
    let span = SpanQuery { since: query.since, until: query.until }.span();
    let filter = query.filter().map_err(|error| Refusal(StatusCode::BAD_REQUEST, error))?;
    if let Some(span) = span {
        return past_events(app.view, span, filter).await;
    }
    let Ok(place) = app.readers.try_acquire_owned() else {
        let error = format!("{MOST_READERS} readers listen already");
        return Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, error));
    };
    let reader = app.view.events.subscribe(filter);
    let mut pause = interval(PAUSE);
    pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let batches = stream::unfold((reader, pause, app.cancel, place), async |mut state| {
        let (reader, pause, cancel, _) = &mut state;
        let next = async {
            pause.tick().await;
            reader.batch().await
        };
        let batch = cancel.run_until_cancelled(next).await??;
        if batch.full {
            pause.reset_immediately();
        }
        Some((Ok::<_, Infallible>(batch.lines), state))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(batches)).into_response())
}

/// Those of a span of time that has passed.
async fn past_events(view: View, Span { since, until }: Span, filter: Filter) -> Answer<Response> {
    if let Some(other) = filter.kinds.iter().find(|kind| !KEPT_KINDS.contains(&kind.as_str())) {
        let error = format!("the history keeps no `{other}`; it keeps {}", KEPT_KINDS.join(", "));
        return Err(Refusal(StatusCode::BAD_REQUEST, error));
    }
    let events = blocking(view, move |view| view.history.events(since, until, &filter)).await??;
    if events.is_cut {
        let error = format!("there are more than {MOST_EVENTS} events: ask for a shorter time");
        return Err(Refusal(StatusCode::BAD_REQUEST, error));
    }
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], events.lines).into_response())
}

/// A question that makes no sense.
#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
pub(super) fn bad(rejection: QueryRejection) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, rejection.body_text())
}

impl EventsQuery {
    fn filter(self) -> Result<Filter, String> {
        let kinds: Vec<String> =
            self.kind.iter().flat_map(|kinds| kinds.split(',')).map(str::to_owned).collect();
        if let Some(unknown) = kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
            return Err(format!("there is no kind `{unknown}`; the kinds are {}", KINDS.join(", ")));
        }
        Ok(Filter { of: self.of, kinds })
    }
}
