//! What acts: a container, a systemd unit, the host, a peer outside.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The shortest beginning of a container's id by which it can be called.
const SHORTEST_ID: usize = 6;

/// What acts or is acted upon. Compared by what it is, so that equal ones fold into one node of the map.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Workload {
    /// What sort of thing it is.
    pub kind: WorkloadKind,
    /// How people call it: `shop/web` (compose project and service), `shop/web-1/nginx` (Kubernetes' namespace, pod
    /// and container), a container's name, `nginx.service`, `/batch/jobs` (a cgroup that is nobody's), `host`, or the
    /// address of a peer outside.
    pub name: String,
    /// The user who runs it himself, by a runtime or a service manager of his own: its name then begins with `user-<uid>/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// Which runtime runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// The runtime's id of the container, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The image as it was asked for (`registry/name:tag`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What that image was when the container was made: the runtime's digest of it (`sha256:...`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_digest: Option<String>,
    /// The container's own name, where `name` is made of compose labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_name: Option<String>,
    /// Compose project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Compose service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its place in a Kubernetes cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// The container's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Of a peer outside that goes by its address: the DNS name under which the other end looked it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// Of a peer outside that goes by its address: where that address is valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
}

/// Where an address is valid.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// In a network of somebody's own, or nowhere (RFC 6890: not globally reachable).
    Private,
    /// In the Internet.
    Public,
    /// A group.
    Multicast,
}

/// What sort of thing a workload is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadKind {
    /// A container of a known runtime.
    Container,
    /// A systemd unit (service or scope) outside any container.
    Unit,
    /// The host itself: what runs in no container, no unit and no other cgroup.
    Host,
    /// A cgroup of this host that neither a runtime nor systemd claims, called by its path.
    Cgroup,
    /// A peer on the network that is no socket of this host.
    Outside,
    /// Many targets folded into one, because the ledger was full.
    Other,
    /// A cgroup of this host that nothing could be learned about. Counted as unattributed.
    Unknown,
    /// The daemon's own, by which it tries what is enforced. Neither events nor the map tell of it.
    Canary,
}

/// Where in a Kubernetes cluster a container is.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Kubernetes {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container as the pod calls it; none for the one that holds the pod's network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
}

/// A container runtime.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// containerd.
    Containerd,
    /// CRI-O.
    Crio,
    /// systemd, for units and for machines of systemd-nspawn.
    Systemd,
}

impl WorkloadKind {
    /// Whether it is on this host, and no container.
    #[must_use]
    pub const fn is_hosts_own(self) -> bool {
        matches!(self, Self::Host | Self::Unit | Self::Cgroup)
    }

    /// How it is called everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Unit => "unit",
            Self::Host => "host",
            Self::Cgroup => "cgroup",
            Self::Outside => "outside",
            Self::Other => "other",
            Self::Unknown => "unknown",
            Self::Canary => "canary",
        }
    }
}

impl Workload {
    /// A workload of which only kind and name are known.
    #[must_use]
    pub fn named(kind: WorkloadKind, name: impl Into<String>) -> Self {
        Self {
            kind,
            name: name.into(),
            user: None,
            runtime: None,
            id: None,
            image: None,
            image_digest: None,
            container_name: None,
            project: None,
            service: None,
            kubernetes: None,
            labels: BTreeMap::new(),
            dns_name: None,
            scope: None,
        }
    }

    /// Whether people mean it by this name: its name, its container's name, its project, its DNS name, or
    /// the beginning of its id.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        let Self { container_name, project, dns_name, .. } = self;
        let known_as = [Some(&self.name), container_name.as_ref(), project.as_ref(), dns_name.as_ref()];
        known_as.into_iter().flatten().any(|known| known == name)
            || (name.len() >= SHORTEST_ID && self.id.as_ref().is_some_and(|id| id.starts_with(name)))
    }

    /// Its place in a Kubernetes cluster, if it is called by that. A user's own containers claim what they like, and their names
    /// begin with the user.
    #[must_use]
    pub fn place(&self) -> Option<&Kubernetes> {
        self.kubernetes.as_ref().filter(|place| place.to_string() == self.name)
    }

    /// The user who runs it himself, and how he calls it.
    #[must_use]
    pub fn of_user(&self) -> Option<(u32, &str)> {
        let user = self.user?;
        Some((user, of_user(&self.name).map_or(&*self.name, |(_, rest)| rest)))
    }

    /// The names by which rules can mean it: its own, and that of its container. What a user calls his own does not count.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let container = self.container_name.as_deref().filter(|_| self.user.is_none());
        std::iter::once(self.name.as_str()).chain(container)
    }

    /// The host itself.
    #[must_use]
    pub fn host() -> Self {
        Self::named(WorkloadKind::Host, "host")
    }
}

/// User and rest of `user-1000/web`, if a name is such a one.
pub(crate) fn of_user(name: &str) -> Option<(u32, &str)> {
    let (user, rest) = name.strip_prefix("user-")?.split_once('/')?;
    Some((user.parse().ok()?, rest))
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, &self.dns_name) {
            (WorkloadKind::Outside, Some(dns_name)) => write!(f, "outside {dns_name} ({})", self.name),
            (WorkloadKind::Outside, None) => write!(f, "outside {}", self.name),
            _ => f.write_str(&self.name),
        }
    }
}

impl fmt::Display for Kubernetes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.pod)?;
        match &self.container {
            Some(container) => write!(f, "/{container}"),
            None => Ok(()),
        }
    }
}

impl Runtime {
    /// How it is called everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::Systemd => "systemd",
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
