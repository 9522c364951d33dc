//! Docker: its containers when we come, and its events from then on.
//!
//! An event carries name, image and labels, so a container is named before it runs, and even one that is gone
//! before it could be inspected. What only an inspection tells (addresses, ports, privileges) follows a moment later.

mod facts;
mod inspections;
mod transport;

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bollard::{
    Docker,
    models::{EventMessage, EventMessageTypeEnum},
    query_parameters::{EventsOptions, ListContainersOptions},
};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

#[doc(hidden)]
pub use self::facts::told_by;
use self::inspections::Inspections;
use super::{
    super::{Attribution, text::clean},
    RuntimeState, RuntimeStatus,
};
use crate::event::Runtime;

/// How long any single answer may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How often a quiet daemon is asked whether it still lives.
const PING_EVERY: Duration = Duration::from_secs(30);
/// Pause before the second attempt to connect; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between attempts: how late a Docker that is started after us may be noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest reason for a failure, in bytes.
const REASON_LIMIT: usize = 256;

/// What happens to containers and their networks. Docker filters: health checks alone would be an event each second.
const EVENTS: [&str; 11] = [
    "create",
    "start",
    "restart",
    "die",
    "destroy",
    "rename",
    "update",
    "pause",
    "unpause",
    "connect",
    "disconnect",
];

/// Why Docker is not heard.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Docker(#[from] bollard::errors::Error),
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
    #[error("it ended its stream of events")]
    Ended,
    #[error("it answered {0} where events were asked for")]
    NoEvents(u16),
    #[error("it sent an event of more than {} MiB", transport::EVENT_LIMIT >> 20)]
    LongEvent,
}

/// Listens to the Docker daemon behind `socket` until `cancel`, and tells `attribution` what it hears. A socket that
/// is absent, silent or broken is tried again for ever; what was learned stays meanwhile.
pub async fn watch(attribution: Arc<Attribution>, socket: PathBuf, cancel: CancellationToken) {
    let not_yet = Some("it has not answered yet".to_owned());
    attribution.report(status(&socket, RuntimeState::Unreachable, None, not_yet));
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let mut connected = false;
        let failure = tokio::select! {
            () = cancel.cancelled() => return,
            Err(failure) = listen(&attribution, &socket, &mut connected) => failure,
        };
        report(&attribution, &socket, &failure);
        // One that ends at once each time is not asked ever again without a pause.
        if connected && begun.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn report(attribution: &Attribution, socket: &Path, failure: &Failure) {
    let absent = match failure {
        Failure::Docker(bollard::errors::Error::SocketNotFoundError(_)) => true,
        Failure::Docker(bollard::errors::Error::IOError { err }) => err.kind() == io::ErrorKind::NotFound,
        _ => false,
    };
    let state = if absent { RuntimeState::Absent } else { RuntimeState::Unreachable };
    let mut reason = failure.to_string();
    // The first cause says more than "client error (Connect)".
    let mut cause = std::error::Error::source(failure);
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        cause = inner.source();
    }
    let reason = clean(&reason, REASON_LIMIT);
    let status = status(socket, state, None, Some(reason.clone()));
    let known = attribution.runtimes().into_iter().find(|known| known.endpoint == status.endpoint);
    // Each change is worth a line, each attempt is not.
    if known.is_none_or(|known| (known.state, &known.reason) != (state, &status.reason)) {
        tracing::info!(socket = %socket.display(), ?state, reason, "docker is not heard");
    }
    attribution.report(status);
}

fn status(
    socket: &Path,
    state: RuntimeState,
    version: Option<String>,
    reason: Option<String>,
) -> RuntimeStatus {
    let endpoint = socket.display().to_string();
    RuntimeStatus { runtime: Runtime::Docker, endpoint, state, version, reason }
}

/// One connection: ends only with a failure. `connected` is set once Docker is heard.
async fn listen(
    attribution: &Attribution,
    socket: &Path,
    connected: &mut bool,
) -> Result<Infallible, Failure> {
    // bollard's own deadline ends with the head of an answer; ours holds for all of it, and comes first.
    let late = DEADLINE.as_secs() + 1;
    let docker = transport::connect(socket, late)?;
    let docker = in_time(docker.negotiate_version()).await?;
    let version = in_time(docker.version()).await?.version.map(|version| clean(&version, REASON_LIMIT));

    // Events are asked for from before the list, so that nothing falls between the two.
    let options = EventsOptions {
        since: Some(now()),
        filters: Some(HashMap::from([
            ("type".to_owned(), vec!["container".to_owned(), "network".to_owned()]),
            ("event".to_owned(), EVENTS.map(str::to_owned).to_vec()),
        ])),
        ..EventsOptions::default()
    };
    let mut inspections = Inspections::new(docker.clone());
    let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let listed: Vec<_> =
        in_time(docker.list_containers(Some(all))).await?.into_iter().filter_map(facts::listed).collect();
    attribution.retain(Runtime::Docker, &listed.iter().map(|facts| facts.id.clone()).collect());
    for facts in listed {
        inspections.ask(&facts.id);
        attribution.learn(facts);
    }
    let mut events = pin!(transport::events(&docker, socket, &options));
    attribution.report(status(socket, RuntimeState::Connected, version.clone(), None));
    tracing::info!(socket = %socket.display(), version, "docker is heard");
    *connected = true;

    let mut death = pin!(death(&docker));
    loop {
        tokio::select! {
            event = events.next() => heard(attribution, &mut inspections, event.ok_or(Failure::Ended)??),
            Some(facts) = inspections.next() => attribution.learn(facts),
            failure = &mut death => return Err(failure),
        }
    }
}

/// Waits until Docker does not answer any more. A stream of events that hangs looks like one that is quiet.
async fn death(docker: &Docker) -> Failure {
    loop {
        sleep(PING_EVERY).await;
        if let Err(failure) = in_time(docker.ping()).await {
            return failure;
        }
    }
}

/// One event.
fn heard(attribution: &Attribution, inspections: &mut Inspections, event: EventMessage) {
    let network = event.typ == Some(EventMessageTypeEnum::NETWORK);
    if network {
        attribution.networks_changed();
        let actor = event.actor.and_then(|actor| actor.attributes);
        if let Some(container) = actor.and_then(|mut attributes| attributes.remove("container")) {
            inspections.ask(&container);
        }
        return;
    }
    let destroyed = event.action.as_deref() == Some("destroy");
    let Some(facts) = facts::of_event(event) else { return };
    if destroyed {
        inspections.cancel(&facts.id);
        attribution.forget(&facts.id);
    } else {
        inspections.ask(&facts.id);
        attribution.learn(facts);
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, bollard::errors::Error>>) -> Result<T, Failure> {
    Ok(timeout(DEADLINE, answer).await.map_err(|_| Failure::Late)??)
}

/// The time as Docker takes it for `since`: seconds with nanoseconds.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn state(attribution: &Attribution, wanted: RuntimeState) -> RuntimeStatus {
        for _ in 0..400 {
            let known = attribution.runtimes().into_iter().next();
            // The first report is the one from before any answer.
            let settled = known.filter(|known| known.reason.as_deref() != Some("it has not answered yet"));
            if let Some(status) = settled.filter(|status| status.state == wanted) {
                return status;
            }
            sleep(Duration::from_millis(25)).await;
        }
        panic!("docker is not {wanted:?} but {:?}", attribution.runtimes());
    }

    fn socket(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("cofferdam-{name}-{}.sock", std::process::id()))
    }

    #[tokio::test]
    async fn an_absent_socket_is_no_trouble_and_watching_ends_when_told() {
        let attribution = Arc::new(Attribution::new("/sys/fs/cgroup".into()));
        let cancel = CancellationToken::new();
        let watching = tokio::spawn(watch(Arc::clone(&attribution), socket("absent"), cancel.clone()));
        state(&attribution, RuntimeState::Absent).await;
        cancel.cancel();
        timeout(Duration::from_secs(1), watching).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_socket_that_accepts_and_never_answers_is_given_up_after_the_deadline() {
        let path = socket("silent");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let attribution = Arc::new(Attribution::new("/sys/fs/cgroup".into()));
        let cancel = CancellationToken::new();
        let watching = tokio::spawn(watch(Arc::clone(&attribution), path.clone(), cancel.clone()));
        let status = state(&attribution, RuntimeState::Unreachable).await;
        assert!(status.reason.is_some());
        cancel.cancel();
        timeout(Duration::from_secs(1), watching).await.unwrap().unwrap();
        std::fs::remove_file(&path).unwrap();
    }
}
