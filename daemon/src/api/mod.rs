//! What can be asked of the daemon: everything over the unix socket, metrics and health over TCP.

mod alerts;
mod answer;
mod baseline;
mod change;
mod explain;
mod history;
mod local;
mod peer;
mod server;
mod stop;
mod web;

use std::time::Duration;

use axum::{
    Extension, Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use self::peer::Peer;
pub use self::{
    alerts::{Acknowledge, AlertsQuery, RuleQuery, Ruled},
    answer::{API_VERSION, Health, Problem, State, Status, Syscalls},
    baseline::{ForSimulation, Within},
    change::{Candidate, Changed, Compared, Confirmed, ForShadow, InShadow, ShadowChanged, Tried},
    explain::{
        EventExplained, EventQuery, ExplainQuery, Explained, MOST_ANSWERS, MOST_SEEN_AT, PairExplained, Seen,
        TriedBy,
    },
    history::{Recorded, Span, SpanQuery},
    local::{EventsQuery, SyscallsQuery},
    stop::{Stop, Stopping},
};
use crate::view::View;

/// The name of the socket in the run directory.
pub const SOCKET_NAME: &str = "cofferdam.sock";

/// When the pipeline has not turned for so long, the daemon is not well.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);

/// Serves the whole API until cancelled. Who may connect is the socket file's business.
///
/// # Errors
/// None at present: what goes wrong with one connection ends that connection.
pub async fn serve_unix(view: View, listener: UnixListener, cancel: CancellationToken) -> anyhow::Result<()> {
    // Event streams stay open for days, so connections have no longest life here.
    let limits = server::Limits { connections: 64, longest_life: None };
    let router = local::router(view, cancel.clone());
    let route = move |stream: &UnixStream| match Peer::of(stream) {
        Ok(peer) => router.clone().layer(Extension(peer)),
        // Who cannot be named may read.
        Err(_) => router.clone(),
    };
    server::serve(peer::Named(listener), route, limits, cancel).await;
    Ok(())
}

/// Serves `/metrics`, `/healthz`, `/readyz` and a landing page until cancelled.
///
/// # Errors
/// None at present: what goes wrong with one connection ends that connection.
pub async fn serve_http(view: View, listener: TcpListener, cancel: CancellationToken) -> anyhow::Result<()> {
    let limits = server::Limits { connections: 64, longest_life: Some(Duration::from_mins(2)) };
    let router = web::router(view);
    server::serve(listener, move |_: &TcpStream| router.clone(), limits, cancel).await;
    Ok(())
}

/// Runs what reads the kernel's maps beside the async tasks.
async fn blocking<T: Send + 'static>(
    view: View,
    read: impl FnOnce(&View) -> T + Send + 'static,
) -> Answer<T> {
    tokio::task::spawn_blocking(move || read(&view)).await.map_err(|error| {
        tracing::error!(%error, "a request failed");
        Refusal(StatusCode::INTERNAL_SERVER_ERROR, "the request failed; the daemon's log says why".to_owned())
    })
}

type Answer<T> = Result<T, Refusal>;

/// A status code and one sentence.
struct Refusal(StatusCode, String);

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(Problem { error: self.1 })).into_response()
    }
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests;
