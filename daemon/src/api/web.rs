//! The routes of TCP: what Prometheus and orchestrators ask.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State as Shared,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{Html, IntoResponse, Response},
    routing::get,
};
use tokio::sync::Semaphore;

use super::{Refusal, STALLED_AFTER, blocking};
use crate::{enforcement::Verified, metrics, sensor::counts::HookStatus, view::View};

/// Scrapes at once. Each reads the kernel's maps; more than these are told to come back.
const MOST_SCRAPES: usize = 4;

#[derive(Clone)]
struct App {
    view: View,
    scrapes: Arc<Semaphore>,
}

pub(super) fn router(view: View) -> Router {
    Router::new()
        .route("/", get(landing))
        .route("/metrics", get(scrape))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .with_state(App { view, scrapes: Arc::new(Semaphore::new(MOST_SCRAPES)) })
}

async fn scrape(Shared(app): Shared<App>) -> Result<Response, Refusal> {
    let Ok(_place) = app.scrapes.try_acquire() else {
        let sentence = format!("{MOST_SCRAPES} scrapes run already\n");
        return Ok((StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], sentence).into_response());
    };
    let text = blocking(app.view.clone(), |view| view.metrics.scrape(view)).await?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response())
}

async fn alive(Shared(app): Shared<App>) -> (StatusCode, String) {
    answer(stalled(app.view.heartbeat.age()), || "ok\n".to_owned())
}

async fn ready(Shared(app): Shared<App>) -> (StatusCode, String) {
    let hooks = app.view.hooks.list();
    let refused: Vec<_> =
        hooks.iter().filter(|hook| hook.refused.is_some()).map(|hook| hook.name.as_str()).collect();
    let blind = (!hooks.iter().any(HookStatus::attached)).then(|| {
        let reason = hooks.iter().find_map(|hook| hook.refused.clone());
        format!("no hook is attached: {}\n", reason.as_deref().unwrap_or("the sensor has not started"))
    });
    let (shed, lost) = app.view.counts.missing().unwrap_or_default();
    let verified = app.view.policies.verified();
    let foreign = verified.as_ref().map_or(0, |verified| verified.foreign);
    let problem =
        blind.or_else(|| stalled(app.view.heartbeat.age())).or_else(|| unenforced(verified.as_ref()));
    answer(problem, || readiness(&refused, shed, lost, foreign))
}

/// What of the policies in force is not enforced. What others attach beside it is no reason not to be ready: it can deny what
/// the policies allow, and is somebody's wish.
fn unenforced(verified: Option<&Verified>) -> Option<String> {
    verified
        .and_then(Verified::problem)
        .map(|problem| format!("policies are not enforced as they say: {problem}\n"))
}

/// Ready, and what is not as it should be.
fn readiness(refused: &[&str], shed: u64, lost: u64, foreign: usize) -> String {
    let mut text = "ready".to_owned();
    if !refused.is_empty() {
        text += &format!("; not attached: {}", refused.join(", "));
    }
    if shed + lost > 0 {
        text += &format!("; {shed} records shed, {lost} lost");
    }
    if foreign > 0 {
        text += &format!("; programs of others where ours judge: {foreign}");
    }
    if text.len() > "ready".len() {
        text += " (see: cofferdam doctor)";
    }
    text + "\n"
}

fn stalled(age: Duration) -> Option<String> {
    (age > STALLED_AFTER).then(|| format!("the pipeline has not turned for {} s\n", age.as_secs()))
}

fn answer(problem: Option<String>, well: impl FnOnce() -> String) -> (StatusCode, String) {
    problem.map_or_else(|| (StatusCode::OK, well()), |reason| (StatusCode::SERVICE_UNAVAILABLE, reason))
}

async fn landing() -> Html<&'static str> {
    Html(concat!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Cofferdam</title></head><body>",
        "<h1>Cofferdam ",
        env!("CARGO_PKG_VERSION"),
        "</h1><p>Who on this host talks to whom.</p><ul>",
        "<li><a href=\"/metrics\">Metrics</a></li>",
        "<li><a href=\"/healthz\">Health: does the pipeline turn?</a></li>",
        "<li><a href=\"/readyz\">Readiness: are the hooks attached, and policies enforced?</a></li>",
        "</ul></body></html>\n",
    ))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::enforcement::{Finding, Look, Outcome, What};

    #[test]
    fn readiness_tells_what_is_missing() {
        assert_eq!(readiness(&[], 0, 0, 0), "ready\n");
        let text =
            "ready; not attached: sched_process_exec; 40 records shed, 17 lost (see: cofferdam doctor)\n";
        assert_eq!(readiness(&["sched_process_exec"], 40, 17, 0), text);
        assert_eq!(readiness(&[], 40, 0, 0), "ready; 40 records shed, 0 lost (see: cofferdam doctor)\n");
    }

    #[test]
    fn what_is_not_enforced_is_a_reason_not_to_be_ready_and_a_program_of_others_is_none() {
        let finding = |what, outcome| Finding { what, outcome, count: 1, text: "it is so".to_owned() };
        let look = |left| Look { left, ..Look::default() };
        let open = look(vec![finding(What::Hook, Outcome::Open)]);
        let verified = Verified::after(None, open, Timestamp::UNIX_EPOCH);
        let reason = unenforced(Some(&verified));
        assert_eq!(reason.as_deref(), Some("policies are not enforced as they say: it is so\n"));
        let foreign = look(vec![finding(What::Foreign, Outcome::Noted)]);
        let verified = Verified::after(None, foreign, Timestamp::UNIX_EPOCH);
        assert_eq!(unenforced(Some(&verified)), None);
        let text = "ready; programs of others where ours judge: 1 (see: cofferdam doctor)\n";
        assert_eq!(readiness(&[], 0, 0, verified.foreign), text);
        assert_eq!(unenforced(None), None);
    }

    #[test]
    fn a_pipeline_that_does_not_turn_is_told_with_how_long() {
        assert_eq!(stalled(STALLED_AFTER), None);
        let reason = stalled(Duration::from_secs(12));
        assert_eq!(reason.as_deref(), Some("the pipeline has not turned for 12 s\n"));
        assert_eq!(answer(reason, String::new).0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
