//! Runtimes: whoever runs containers, and how well we hear them.

mod listening;

mod docker;

mod containerd;

pub mod oci;

mod users;

/// What answers and files tell: doors for the fuzz targets alone.
#[doc(hidden)]
pub mod told {
    pub use super::{
        containerd::told_by as by_containerd, docker::told_by as by_docker, oci::told_by as by_files,
    };
}

use std::{path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::{Attribution, container::Source};
use crate::event::Runtime;

/// Docker's containers in a containerd: Docker tells more about them.
const DOCKERS_NAMESPACE: &str = "moby";

/// Where runtimes listen. None need exist.
#[derive(Clone, Debug)]
pub struct Sockets {
    /// Docker's.
    pub docker: PathBuf,
    /// Podman's, of the system.
    pub podman: PathBuf,
    /// containerd's.
    pub containerd: PathBuf,
    /// Users' own Podmans listen below, at `<uid>/podman/podman.sock`.
    pub users: PathBuf,
}

impl Default for Sockets {
    /// Where they listen unless told otherwise.
    fn default() -> Self {
        Self {
            docker: "/var/run/docker.sock".into(),
            podman: "/run/podman/podman.sock".into(),
            containerd: "/run/containerd/containerd.sock".into(),
            users: "/run/user".into(),
        }
    }
}

/// Listens to all of them until `cancel`.
pub async fn watch_all(attribution: Arc<Attribution>, sockets: Sockets, cancel: CancellationToken) {
    let system = |runtime, socket| watch(Arc::clone(&attribution), runtime, socket, cancel.clone());
    tokio::join!(
        system(Runtime::Docker, sockets.docker),
        system(Runtime::Podman, sockets.podman),
        system(Runtime::Containerd, sockets.containerd),
        users::watch(Arc::clone(&attribution), sockets.users, cancel.clone()),
    );
}

/// Listens to the runtime of the system behind `socket` until `cancel`, and tells `attribution` what it hears. A
/// socket that is absent, silent or broken is tried again for ever; what was learned stays meanwhile.
pub async fn watch(
    attribution: Arc<Attribution>,
    runtime: Runtime,
    socket: PathBuf,
    cancel: CancellationToken,
) {
    let source = Source::api(runtime, socket);
    match runtime {
        Runtime::Containerd => listening::keep::<containerd::Api>(attribution, source, cancel).await,
        _ => listening::keep::<docker::Api>(attribution, source, cancel).await,
    }
}

/// A runtime that is listened to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RuntimeStatus {
    /// Which.
    pub runtime: Runtime,
    /// The user whose own it is; absent where it is the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Where it is reached: the path of its socket.
    pub endpoint: String,
    /// Whether it is heard.
    pub state: RuntimeState,
    /// Its version, once it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why it is not heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a runtime is heard.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeState {
    /// Its containers are known and its events arrive.
    Connected,
    /// It was asked for the first time, and has neither answered nor failed yet.
    Awaited,
    /// Its socket does not exist; containers of it go by their ids.
    Absent,
    /// Its socket exists, but it does not answer as it should; see the reason.
    Unreachable,
}

impl RuntimeStatus {
    /// Whether it can be expected to tell what is known of a container nowhere else. One that fails, hangs or talks nonsense
    /// can: until it is heard again, nobody passes for somebody without labels. One that is not there cannot, nor one that
    /// listens to others only.
    pub(super) fn may_tell(&self) -> bool {
        match self.state {
            RuntimeState::Connected | RuntimeState::Awaited => true,
            RuntimeState::Absent => false,
            RuntimeState::Unreachable => !self.keeps_us_out() && !self.failed_by("Connection refused"),
        }
    }

    /// Whether its socket is not for us.
    pub(crate) fn keeps_us_out(&self) -> bool {
        self.failed_by("Permission denied")
    }

    /// Whether it is not heard for such a reason, as the operating system words it.
    fn failed_by(&self, words: &str) -> bool {
        self.reason.as_ref().is_some_and(|reason| reason.contains(words))
    }
}
