//! Accepts connections and keeps them within bounds: how many, how long a request may take to arrive.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long the head of a request may take, and how long a connection may be idle between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long open requests may take to end after a cancel or at the end of a connection's life.
const GRACE: Duration = Duration::from_secs(2);
/// The most bytes that wait in a connection for its request to be complete.
const BUFFER: usize = 16 * 1024;

/// Bounds of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Open connections; more wait in the kernel's queue.
    pub(super) connections: usize,
    /// After this a connection is closed in order, so that none holds its place for ever.
    pub(super) longest_life: Option<Duration>,
}

/// Serves until cancelled, then lets open requests end for a short while. `route` makes the routes of a connection.
pub(super) async fn serve<L: Listener>(
    mut listener: L,
    route: impl Fn(&L::Io) -> Router,
    limits: Limits,
    cancel: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let connections = TaskTracker::new();
    let accepting = async {
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let (stream, _) = listener.accept().await;
            let (router, cancel) = (route(&stream), cancel.clone());
            connections.spawn(connection::<L>(stream, router, limits.longest_life, cancel, place));
        }
    };
    cancel.run_until_cancelled(accepting).await;
    connections.close();
    let _ = time::timeout(GRACE, connections.wait()).await;
}

async fn connection<L: Listener>(
    stream: L::Io,
    router: Router,
    longest_life: Option<Duration>,
    cancel: CancellationToken,
    _place: OwnedSemaphorePermit,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(BUFFER);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    let end_of_life = async {
        match longest_life {
            Some(life) => time::sleep(life).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        // Errors are the client's: it went away or spoke no HTTP.
        _ = connection.as_mut() => return,
        () = end_of_life => {}
        () = cancel.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = time::timeout(GRACE, connection).await;
}
