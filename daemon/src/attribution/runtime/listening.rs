//! Listening to a runtime for ever: one that is absent, silent, broken or restarted is tried again.

use std::{
    convert::Infallible,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    super::{Attribution, container::Source, text::clean},
    RuntimeState, RuntimeStatus,
};

/// How long any single answer of a runtime may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// How often a quiet runtime is asked whether it still lives.
pub(super) const PING_EVERY: Duration = Duration::from_secs(30);
/// Pause before the second attempt to connect; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between attempts: how late a runtime that is started after us may be noticed.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest reason for a failure and longest version, in bytes.
const REASON_LIMIT: usize = 256;

/// How one runtime's API is listened to.
pub(super) trait Listen {
    /// Why it is not heard.
    type Failure: Error + Send + Sync + 'static;

    /// One connection: tells `attribution` what `source` says, and ends only with a failure. `connected` is set once
    /// the runtime is heard.
    fn listen(
        attribution: &Attribution,
        source: &Source,
        connected: &mut bool,
    ) -> impl Future<Output = Result<Infallible, Self::Failure>> + Send;

    /// Whether it failed because the socket does not exist.
    fn absent(failure: &Self::Failure) -> bool;
}

/// Listens again whenever that fails, until `cancel`; what was learned stays meanwhile.
pub(super) async fn keep<L: Listen>(
    attribution: Arc<Attribution>,
    source: Source,
    cancel: CancellationToken,
) {
    let (attribution, source) = (&*attribution, &source);
    attribution.report(status(source, RuntimeState::Awaited, None, None));
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = Instant::now();
        let mut connected = false;
        let failure = tokio::select! {
            () = cancel.cancelled() => return,
            Err(failure) = L::listen(attribution, source, &mut connected) => failure,
        };
        not_heard(attribution, source, L::absent(&failure), &failure);
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

/// The runtime is heard: its containers are known, and its events arrive.
pub(super) fn heard(attribution: &Attribution, source: &Source, version: Option<String>) {
    let version = version.map(|version| clean(&version, REASON_LIMIT));
    tracing::info!(runtime = %source.runtime, socket = %source.endpoint.display(), version, "runtime is heard");
    attribution.report(status(source, RuntimeState::Connected, version, None));
}

fn not_heard(attribution: &Attribution, source: &Source, absent: bool, failure: &dyn Error) {
    let state = if absent { RuntimeState::Absent } else { RuntimeState::Unreachable };
    let mut reason = failure.to_string();
    // The first cause says more than "client error (Connect)".
    let mut cause = failure.source();
    while let Some(inner) = cause {
        reason = format!("{reason}: {inner}");
        cause = inner.source();
    }
    let reason = clean(&reason, REASON_LIMIT);
    let status = status(source, state, None, Some(reason.clone()));
    let known = attribution.runtimes().into_iter().find(|known| known.endpoint == status.endpoint);
    // Each change is worth a line, each attempt is not.
    if known.is_none_or(|known| (known.state, &known.reason) != (state, &status.reason)) {
        let socket = source.endpoint.display();
        tracing::info!(runtime = %source.runtime, %socket, ?state, reason, "runtime is not heard");
    }
    attribution.report(status);
}

fn status(
    source: &Source,
    state: RuntimeState,
    version: Option<String>,
    reason: Option<String>,
) -> RuntimeStatus {
    let endpoint = source.endpoint.display().to_string();
    RuntimeStatus { runtime: source.runtime, user: source.user, endpoint, state, version, reason }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::time::timeout;

    use super::*;
    use crate::{attribution::runtime::watch, event::Runtime};

    const KINDS: [Runtime; 3] = [Runtime::Docker, Runtime::Podman, Runtime::Containerd];

    async fn state(attribution: &Attribution, wanted: RuntimeState) -> RuntimeStatus {
        for _ in 0..400 {
            let known = attribution.runtimes().into_iter().next();
            if let Some(status) = known.filter(|known| known.state == wanted) {
                return status;
            }
            sleep(Duration::from_millis(25)).await;
        }
        panic!("the runtime is not {wanted:?} but {:?}", attribution.runtimes());
    }

    fn socket(name: &str, runtime: Runtime) -> PathBuf {
        std::env::temp_dir().join(format!("cofferdam-{name}-{runtime}-{}.sock", std::process::id()))
    }

    #[tokio::test]
    async fn an_absent_socket_is_no_trouble_and_watching_ends_when_told() {
        for runtime in KINDS {
            let attribution = Arc::new(Attribution::new("/sys/fs/cgroup".into()));
            let cancel = CancellationToken::new();
            let watching =
                watch(Arc::clone(&attribution), runtime, socket("absent", runtime), cancel.clone());
            let watching = tokio::spawn(watching);
            assert_eq!(state(&attribution, RuntimeState::Absent).await.runtime, runtime);
            cancel.cancel();
            timeout(Duration::from_secs(1), watching).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_socket_that_accepts_and_never_answers_is_given_up_after_the_deadline() {
        for runtime in KINDS {
            let path = socket("silent", runtime);
            let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
            let attribution = Arc::new(Attribution::new("/sys/fs/cgroup".into()));
            let cancel = CancellationToken::new();
            let watching =
                tokio::spawn(watch(Arc::clone(&attribution), runtime, path.clone(), cancel.clone()));
            let status = state(&attribution, RuntimeState::Unreachable).await;
            assert!(status.reason.is_some());
            cancel.cancel();
            timeout(Duration::from_secs(1), watching).await.unwrap().unwrap();
            std::fs::remove_file(&path).unwrap();
        }
    }
}
