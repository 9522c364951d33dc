//! What changes the policies, and what would change: the only requests with a body. For root and the daemon's own user.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Json,
    body::{Body, to_bytes},
    extract::State as Shared,
    http::StatusCode,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{API_VERSION, Answer, Refusal, blocking, explain::known, local::App, peer::Permitted};
use crate::{
    enforcement::{LONGEST_TRIAL, Refused, Report, Shadowed, Shadowing, Terms, Trial},
    event::{Workload, WorkloadKind},
    interaction::Edge,
    policy::{
        Plan, RuleNumbers, TooLarge,
        diff::{Comparison, Lane, Parties, Seen, compare},
        explain::End,
        folder::{NamedText, Set},
    },
    view::View,
};

/// Most bytes of a body: all policies that there may be, as JSON.
pub(super) const BODY_LIMIT: usize = 32 << 20;
/// Most bytes of one without policies.
pub(super) const SMALL_BODY_LIMIT: usize = 4_096;
/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// Files that are to be in the folder.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// Each takes the place of the one that is called so.
    pub files: Vec<NamedText>,
    /// How long they are on trial; of use with `/v1/policy/try` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// With it, how many denials of what was normal before are tolerated meanwhile: more, and what was in force before comes
    /// back at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_denials: Option<u64>,
}

/// Which trial is kept or confirmed.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmed {
    /// Its number.
    pub id: u64,
}

/// What would change: `POST /v1/policy/diff`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Compared {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// The generation of the policies in force; zero while nothing is judged and everything passes.
    pub generation: u32,
    /// The folder of the policies.
    pub folder: PathBuf,
    /// What was wrong with the policies when they were last read: the comparison is with those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What changes.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// How the policies stand after a change: `POST /v1/policy/keep`, `confirm`, `revert` and `reload`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Changed {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// As in `/v1/status`.
    pub policies: Report,
}

/// Policies that are to be in the shadow of those in force: `POST /v1/policy/shadow`.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ForShadow {
    /// Each takes the place of the one in the folder that is called so.
    pub files: Vec<NamedText>,
    /// Whose interactions are looked at: as `of` of `/v1/events`. Everybody's where nobody is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of: Vec<String>,
}

/// What those in the shadow would have decided: `GET /v1/policy/shadow`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct InShadow {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// What was found.
    #[serde(flatten)]
    pub shadowed: Shadowed,
}

/// Which are in the shadow now: `POST /v1/policy/shadow`, and of `/v1/policy/shadow/end` none.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct ShadowChanged {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// Which they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<Shadowing>,
}

/// What is on trial: `POST /v1/policy/try`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Tried {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// Which it is.
    pub id: u64,
    /// As in `/v1/status`.
    pub policies: Report,
}

pub(super) async fn trial(_: Permitted, Shared(app): Shared<App>) -> Answer<Json<Trial>> {
    app.view.policies.trial().map(Json).ok_or_else(|| Refused::NothingWaits.into())
}

pub(super) async fn diff(_: Permitted, Shared(app): Shared<App>, body: Body) -> Answer<Json<Compared>> {
    let place = place(&app)?;
    let Candidate { files, .. } = read(body, BODY_LIMIT).await?;
    let compared = move |view: &View| {
        let _place = place;
        compared(view, &files)
    };
    Ok(Json(blocking(app.view, compared).await??))
}

pub(super) async fn try_out(_: Permitted, Shared(app): Shared<App>, body: Body) -> Answer<Json<Tried>> {
    let place = place(&app)?;
    let Candidate { files, seconds, most_denials } = read(body, BODY_LIMIT).await?;
    let within = seconds.map(Duration::from_secs).filter(|within| *within <= LONGEST_TRIAL);
    let Some(within) = within.filter(|_| !files.is_empty()) else {
        let most = LONGEST_TRIAL.as_secs();
        let error = format!("`files` and `seconds` are needed, and there can be {most} seconds at most");
        return Err(Refusal(StatusCode::BAD_REQUEST, error));
    };
    let tried = blocking(app.view, move |view| {
        let _place = place;
        let terms = Terms { within, most_denials };
        let trial = view.policies.try_out(files, terms, &edges(view)?, Instant::now(), &view.attribution)?;
        let policies = view.policies.report();
        Ok::<_, Refused>(Tried { schema_version: API_VERSION, id: trial.id, policies })
    });
    Ok(Json(tried.await??))
}

pub(super) async fn keep(_: Permitted, Shared(app): Shared<App>, body: Body) -> Answer<Json<Changed>> {
    let Confirmed { id } = read(body, SMALL_BODY_LIMIT).await?;
    changed(app.view, move |view| view.policies.keep(id, Instant::now())).await
}

pub(super) async fn confirm(_: Permitted, Shared(app): Shared<App>, body: Body) -> Answer<Json<Changed>> {
    let Confirmed { id } = read(body, SMALL_BODY_LIMIT).await?;
    changed(app.view, move |view| view.policies.confirm(id, &view.attribution)).await
}

pub(super) async fn revert(_: Permitted, Shared(app): Shared<App>) -> Answer<Json<Changed>> {
    changed(app.view, |view| view.policies.revert(Instant::now(), &view.attribution)).await
}

pub(super) async fn reload(_: Permitted, Shared(app): Shared<App>) -> Answer<Json<Changed>> {
    changed(app.view, |view| view.policies.reload(&view.attribution)).await
}

pub(super) async fn shadow(
    _: Permitted,
    Shared(app): Shared<App>,
    body: Body,
) -> Answer<Json<ShadowChanged>> {
    let place = place(&app)?;
    let ForShadow { files, of } = read(body, BODY_LIMIT).await?;
    let changed = move |view: &View| {
        let _place = place;
        let shadow = view.policies.shadow(&files, of, &edges(view)?)?;
        Ok::<_, Refused>(ShadowChanged { schema_version: API_VERSION, shadow: Some(shadow) })
    };
    Ok(Json(blocking(app.view, changed).await??))
}

pub(super) async fn shadowed(Shared(app): Shared<App>) -> Answer<Json<InShadow>> {
    let found = |view: &View| {
        let shadowed = view.policies.shadowed(&edges(view)?).ok_or(Refused::NothingInShadow)?;
        Ok::<_, Refused>(InShadow { schema_version: API_VERSION, shadowed })
    };
    Ok(Json(blocking(app.view, found).await??))
}

pub(super) async fn end_shadow(_: Permitted, Shared(app): Shared<App>) -> Answer<Json<ShadowChanged>> {
    app.view.policies.end_shadow()?;
    Ok(Json(ShadowChanged { schema_version: API_VERSION, shadow: None }))
}

fn edges(view: &View) -> Result<Vec<Edge>, Refused> {
    view.edges().map_err(|error| Refused::Unfit(format!("{error:#}")))
}

/// Does something and says how the policies stand then.
async fn changed(
    view: View,
    change: impl FnOnce(&View) -> Result<(), Refused> + Send + 'static,
) -> Answer<Json<Changed>> {
    let changed = blocking(view, move |view| {
        change(view)?;
        Ok::<_, Refused>(Changed { schema_version: API_VERSION, policies: view.policies.report() })
    });
    Ok(Json(changed.await??))
}

/// The only place that there is for a large body, until what it is for is done: also when the client has left.
pub(super) fn place(app: &App) -> Answer<OwnedSemaphorePermit> {
    Arc::clone(&app.changes).try_acquire_owned().map_err(|_| {
        let error = "another request with policies is under way: try again".to_owned();
        Refusal(StatusCode::SERVICE_UNAVAILABLE, error)
    })
}

pub(super) async fn read<T: DeserializeOwned>(body: Body, limit: usize) -> Answer<T> {
    let Ok(arrived) = timeout(BODY_WITHIN, to_bytes(body, limit)).await else {
        let error = format!("the body did not arrive within {} seconds", BODY_WITHIN.as_secs());
        return Err(Refusal(StatusCode::REQUEST_TIMEOUT, error));
    };
    let bytes = arrived.map_err(|error| {
        let error = format!("the body cannot be read ({error}); it can have {limit} bytes at most");
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, error)
    })?;
    let bad = |error| Refusal(StatusCode::BAD_REQUEST, format!("the body is not understood: {error}"));
    serde_json::from_slice(&bytes).map_err(bad)
}

/// Compares what is in force with the folder as it would be with these files. Both are compiled anew, so that nobody waits
/// for it.
fn compared(view: &View, files: &[NamedText]) -> Result<Compared, Refused> {
    let Report { generation, problem, folder, .. } = view.policies.report();
    let set = Set::load_with(folder.as_ref(), files).map_err(Refused::Broken)?;
    let (policies, settings) = view.policies.policies();
    let unfit = |error: TooLarge| Refused::Unfit(error.to_string());
    let candidate = set.into_parts().0;
    let mut before = Plan::new(policies, settings, &mut RuleNumbers::default()).map_err(unfit)?;
    let mut after =
        Plan::new(candidate, view.policies.settings(), &mut RuleNumbers::default()).map_err(unfit)?;
    let edges = edges(view)?;
    let here = |workload: &Workload| !matches!(workload.kind, WorkloadKind::Outside | WorkloadKind::Other);
    let workloads = known(&view.attribution, &edges).into_iter().filter(|it| here(it)).collect();
    let lanes: Vec<_> = edges.iter().filter_map(lane).collect();
    let comparison = compare(&mut before, &mut after, Parties { workloads }, &lanes).map_err(unfit)?;
    let folder = folder.into();
    Ok(Compared { schema_version: API_VERSION, generation, folder, problem, comparison })
}

/// An edge between those whom rules can judge.
fn lane(edge: &Edge) -> Option<Lane<'_>> {
    let verdicts = edge.verdicts;
    Some(Lane {
        source: End::of(&edge.source)?,
        target: End::of(&edge.target)?,
        service: (edge.protocol.number()?, edge.port),
        seen: Seen { attempts: verdicts.allow + verdicts.audit + verdicts.deny, last: edge.last_seen },
    })
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let status = match &refused {
            Refused::Broken(_) | Refused::Unfit(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Refused::Waiting
            | Refused::NothingWaits
            | Refused::NothingInShadow
            | Refused::NoWayBack
            | Refused::Ending => StatusCode::CONFLICT,
        };
        Self(status, refused.to_string())
    }
}
