//! Ends the daemon. For root and the daemon's own user.

use std::process;

use axum::{Json, body::Body, extract::State as Shared};
use serde::{Deserialize, Serialize};

use super::{
    API_VERSION, Answer,
    change::{SMALL_BODY_LIMIT, read},
    local::App,
    peer::Permitted,
};
use crate::config::AtStop;

/// How the daemon is to end: `POST /v1/stop`.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// What becomes of what is enforced; as the configuration has it where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_stop: Option<AtStop>,
}

/// The daemon ends from now on.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Stopping {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// Its process.
    pub pid: u32,
    /// What becomes of what is enforced.
    pub at_stop: AtStop,
    /// The generation of the policies in force; zero while nothing is judged.
    pub generation: u32,
}

pub(super) async fn stop(_: Permitted, Shared(app): Shared<App>, body: Body) -> Answer<Json<Stopping>> {
    let Stop { at_stop } = read(body, SMALL_BODY_LIMIT).await?;
    let policies = &app.view.policies;
    if let Some(at_stop) = at_stop {
        policies.leave(at_stop);
    }
    let (at_stop, generation) = (policies.at_stop(), policies.report().generation);
    tracing::info!(?at_stop, "a client ends the daemon");
    app.view.stop.cancel();
    Ok(Json(Stopping { schema_version: API_VERSION, pid: process::id(), at_stop, generation }))
}
