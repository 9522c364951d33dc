//! Containers: what is shown of them, and what runtimes tell about them.

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{NAME_LIMIT, clean};
use crate::event::{Protocol, Runtime, Workload};

/// What `cofferdam ps` shows of a container.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Container {
    /// Who it is.
    pub workload: Arc<Workload>,
    /// Its cgroup; absent while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
    /// Whether it runs.
    pub state: ContainerState,
    /// When it was started, where the runtime told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// Its own addresses; none in the host's network or another container's.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
    /// Whether it may do what root of the host may.
    #[serde(default)]
    pub privileged: bool,
    /// Whether it shares the host's network.
    #[serde(default)]
    pub host_network: bool,
    /// Its first process, in the initial pid namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Ports of the host that lead to it.
    #[serde(default)]
    pub ports: Vec<PublishedPort>,
}

/// Whether a container runs.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerState {
    /// Made, and not yet started.
    Created,
    /// It runs.
    Running,
    /// It runs, and is frozen.
    Paused,
    /// It ended, and can be started again.
    Exited,
}

/// A port of the host that leads to a container.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub struct PublishedPort {
    /// The address of the host; unspecified (`0.0.0.0`, `::`) for all.
    pub host_address: IpAddr,
    /// The port of the host.
    pub host_port: u16,
    /// The port in the container.
    pub container_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

/// Who tells about containers. Only who told about a container may tell it anew or forget it ([`super::entry`]).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// Which runtime speaks.
    pub runtime: Runtime,
    /// Where it is heard: the path of its socket, or of what it left on disk.
    pub endpoint: PathBuf,
    /// How it is heard.
    pub voice: Voice,
    /// The user whose own runtime it is; `None` for the system's. It knows containers of that user's slice only.
    pub user: Option<u32>,
}

/// How a runtime is heard, the least trusted first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Voice {
    /// By what it left on disk.
    Disk,
    /// By its API.
    Api,
}

impl Source {
    /// The API of one of the system's runtimes, behind the socket `endpoint`.
    #[must_use]
    pub fn api(runtime: Runtime, endpoint: impl Into<PathBuf>) -> Self {
        Self { runtime, endpoint: endpoint.into(), voice: Voice::Api, user: None }
    }

    /// Under which key the tables hold its container, whose id is harmless there. A user's runtime reaches those of its
    /// user's slice only.
    pub(super) fn key(&self, id: &str) -> Arc<str> {
        let id = clean(id, NAME_LIMIT);
        match self.user {
            Some(user) => user_key(&format!("user-{user}.slice"), &id),
            None => id.into(),
        }
    }
}

/// What a runtime tells of a container, as it tells it: text is made harmless when it is learned. `None` means that
/// nothing new is told.
#[derive(Clone, Debug, Default)]
pub struct ContainerFacts {
    /// The runtime's id, whole. Where it is no number that is unique by itself: with containerd's namespace
    /// (`default/web`).
    pub id: String,
    /// Where in the hierarchy it is, when it is not found by its id.
    pub cgroup_path: Option<String>,
    /// The container's own name.
    pub name: Option<String>,
    /// The image as it was asked for.
    pub image: Option<String>,
    /// What that image was when it was made: `sha256:` and 64 digits. Whatever else a runtime says there is not taken.
    pub image_digest: Option<String>,
    /// All labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Whether there may be more labels than these, which only the API of its runtime tells.
    pub lacks_labels: bool,
    /// Of a container of a pod: the id of the pod's sandbox, which is its own where it is that.
    pub sandbox: Option<String>,
    /// Of a sandbox: all labels of the pod.
    pub pod_labels: Option<BTreeMap<String, String>>,
    /// Whether it runs.
    pub state: Option<ContainerState>,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// All its own addresses.
    pub addresses: Option<Vec<IpAddr>>,
    /// Whether it may do what root of the host may.
    pub privileged: Option<bool>,
    /// Whether it shares the host's network.
    pub host_network: Option<bool>,
    /// Its first process, in the initial pid namespace; `Some(None)` when it has none.
    pub pid: Option<Option<u32>>,
    /// All ports of the host that lead to it.
    pub ports: Option<Vec<PublishedPort>>,
}

impl ContainerFacts {
    /// That there is such a container, and no more.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }
}

/// The user whose slice a key is of, if it is of one.
pub(super) fn user_of(key: &str) -> Option<u32> {
    user_of_slice(key.split_once('/')?.0)
}

/// The user whose slice bears such a name: `user-1000.slice`.
pub(super) fn user_of_slice(slice: &str) -> Option<u32> {
    slice.strip_prefix("user-")?.strip_suffix(".slice")?.parse().ok()
}

/// The key of a container in a user's slice.
pub(super) fn user_key(slice: &str, id: &str) -> Arc<str> {
    format!("{slice}/{id}").into()
}
