//! Containers: what runtimes tell about them, and the name that this makes.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use cofferdam_common::ids::CgroupId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::{IMAGE_LIMIT, NAME_LIMIT, clean};
use crate::event::{Protocol, Runtime, Workload, WorkloadKind};

/// Most labels of a container that are kept.
const LABELS_LIMIT: usize = 32;
/// Longest key and longest value of a label, in bytes.
const LABEL_LIMIT: usize = 256;
/// Most addresses and most published ports of a container that are kept.
const ENDPOINTS_LIMIT: usize = 256;
/// Digits of an id that stand for a container without a name, as in `docker ps`.
const SHORT_ID_DIGITS: usize = 12;

const PROJECT_LABEL: &str = "com.docker.compose.project";
const SERVICE_LABEL: &str = "com.docker.compose.service";

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

/// What a runtime tells of a container, as it tells it: text is made harmless when it is learned. `None` means that
/// nothing new is told.
#[derive(Clone, Debug)]
pub struct ContainerFacts {
    /// Who tells.
    pub runtime: Runtime,
    /// The runtime's id, whole.
    pub id: String,
    /// The container's own name.
    pub name: Option<String>,
    /// The image as it was asked for.
    pub image: Option<String>,
    /// All labels.
    pub labels: Option<BTreeMap<String, String>>,
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
    pub fn new(runtime: Runtime, id: impl Into<String>) -> Self {
        Self {
            runtime,
            id: id.into(),
            name: None,
            image: None,
            labels: None,
            state: None,
            started_at: None,
            addresses: None,
            privileged: None,
            host_network: None,
            pid: None,
            ports: None,
        }
    }
}

/// A container in the tables.
pub(super) struct Entry {
    pub(super) shown: Container,
    /// Cgroups that refer to it, and those of them that exist.
    pub(super) cgroups: usize,
    pub(super) live_cgroups: usize,
    /// A runtime told about it.
    pub(super) learned: bool,
    /// The runtime does not know it any more.
    pub(super) forgotten: bool,
    labels_cut: u64,
}

impl Entry {
    /// A container of which only the id is known.
    pub(super) fn new(runtime: Runtime, id: &str) -> Self {
        let mut workload = Workload::named(WorkloadKind::Container, short(id));
        workload.runtime = Some(runtime);
        workload.id = Some(id.to_owned());
        let shown = Container {
            workload: Arc::new(workload),
            cgroup_id: None,
            state: ContainerState::Created,
            started_at: None,
            addresses: Vec::new(),
            privileged: false,
            host_network: false,
            pid: None,
            ports: Vec::new(),
        };
        Self { shown, cgroups: 0, live_cgroups: 0, learned: false, forgotten: false, labels_cut: 0 }
    }

    /// Its own cgroup, not one below.
    pub(super) fn cgroup(&self) -> Option<CgroupId> {
        self.shown.cgroup_id.map(CgroupId)
    }

    /// Takes over what a runtime told; how many labels were cut that were not cut before.
    pub(super) fn merge(&mut self, facts: ContainerFacts) -> u64 {
        self.learned = true;
        self.forgotten = false;
        let cut_before = self.labels_cut;
        let workload = self.workload(&facts);
        if *self.shown.workload != workload {
            self.shown.workload = Arc::new(workload);
        }
        let shown = &mut self.shown;
        shown.state = facts.state.unwrap_or(shown.state);
        shown.started_at = facts.started_at.or(shown.started_at);
        shown.privileged = facts.privileged.unwrap_or(shown.privileged);
        shown.host_network = facts.host_network.unwrap_or(shown.host_network);
        shown.pid = facts.pid.unwrap_or(shown.pid);
        if let Some(mut addresses) = facts.addresses {
            addresses.sort_unstable();
            addresses.dedup();
            addresses.truncate(ENDPOINTS_LIMIT);
            shown.addresses = addresses;
        }
        if let Some(mut ports) = facts.ports {
            ports.sort_unstable_by_key(|port| {
                (port.container_port, port.protocol, port.host_port, port.host_address)
            });
            ports.truncate(ENDPOINTS_LIMIT);
            shown.ports = ports;
        }
        self.labels_cut.saturating_sub(cut_before)
    }

    fn workload(&mut self, facts: &ContainerFacts) -> Workload {
        let mut workload = (*self.shown.workload).clone();
        workload.runtime = Some(facts.runtime);
        if let Some(image) = &facts.image {
            workload.image = Some(clean(image, IMAGE_LIMIT));
        }
        if let Some(labels) = &facts.labels {
            workload.project = compose_word(labels, PROJECT_LABEL);
            workload.service = compose_word(labels, SERVICE_LABEL);
            (workload.labels, self.labels_cut) = bounded(labels);
        }
        // Its own name stands in `name` or, beside a name out of compose labels, in `container_name`.
        let own = facts.name.as_ref().map(|name| clean(name, NAME_LIMIT)).filter(|name| !name.is_empty());
        let own = own.or_else(|| workload.container_name.take()).unwrap_or_else(|| workload.name.clone());
        match (&workload.project, &workload.service) {
            (Some(project), Some(service)) => {
                workload.name = format!("{project}/{service}");
                workload.container_name = Some(own);
            }
            _ => {
                workload.name = own;
                workload.container_name = None;
            }
        }
        workload
    }
}

fn short(id: &str) -> &str {
    id.get(..SHORT_ID_DIGITS).unwrap_or(id)
}

/// A label's value, if it is what compose would write there. Anyone can set the label on a container, and must not
/// be able to write sentences of ours with it.
fn compose_word(labels: &BTreeMap<String, String>, key: &str) -> Option<String> {
    let word = labels.get(key)?;
    let fits = (1..=LABEL_LIMIT / 4).contains(&word.len());
    let plain = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    (fits && plain).then(|| word.clone())
}

/// Labels made harmless and few, and how many were left out or shortened.
fn bounded(labels: &BTreeMap<String, String>) -> (BTreeMap<String, String>, u64) {
    let mut cut = labels.len().saturating_sub(LABELS_LIMIT) as u64;
    let kept = labels.iter().take(LABELS_LIMIT).map(|(key, value)| {
        cut += u64::from(key.len() > LABEL_LIMIT || value.len() > LABEL_LIMIT);
        (clean(key, LABEL_LIMIT), clean(value, LABEL_LIMIT))
    });
    (kept.collect(), cut)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(name: &str, labels: &[(&str, &str)]) -> ContainerFacts {
        ContainerFacts {
            name: Some(name.to_owned()),
            labels: Some(labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()),
            ..ContainerFacts::new(Runtime::Docker, "3f2a9c0d3f2a9c0d")
        }
    }

    fn entry() -> Entry {
        Entry::new(Runtime::Docker, "3f2a9c0d3f2a9c0d")
    }

    #[test]
    fn a_container_without_a_name_is_called_by_its_short_id() {
        assert_eq!(entry().shown.workload.name, "3f2a9c0d3f2a");
    }

    #[test]
    fn compose_labels_make_the_name_and_the_own_name_stays_beside_it() {
        let mut entry = entry();
        entry.merge(facts("shop_web_1", &[(PROJECT_LABEL, "shop"), (SERVICE_LABEL, "web")]));
        assert_eq!(entry.shown.workload.name, "shop/web");
        assert_eq!(entry.shown.workload.container_name.as_deref(), Some("shop_web_1"));

        entry.merge(ContainerFacts {
            name: Some("renamed".to_owned()),
            ..ContainerFacts::new(Runtime::Docker, "3f")
        });
        assert_eq!(entry.shown.workload.name, "shop/web");
        assert_eq!(entry.shown.workload.container_name.as_deref(), Some("renamed"));

        entry.merge(facts("renamed", &[]));
        assert_eq!(entry.shown.workload.name, "renamed");
        assert_eq!(entry.shown.workload.container_name, None);
    }

    #[test]
    fn labels_that_compose_would_not_write_make_no_name() {
        for hostile in ["", "web tcp/5432 opened", "a/b", "\u{1b}[2J", &"x".repeat(300)] {
            let mut entry = entry();
            entry.merge(facts("plain", &[(PROJECT_LABEL, "shop"), (SERVICE_LABEL, hostile)]));
            assert_eq!(entry.shown.workload.name, "plain", "{hostile:?}");
        }
    }

    #[test]
    fn too_many_and_too_long_labels_are_cut_and_counted_once() {
        let long = "x".repeat(1000);
        let mut labels: Vec<_> = (0..40).map(|number| (format!("label{number:02}"), String::new())).collect();
        labels[0].1 = long;
        let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let mut entry = entry();
        assert_eq!(entry.merge(facts("web", &labels)), 9);
        assert_eq!(entry.merge(facts("web", &labels)), 0);
        assert_eq!(entry.shown.workload.labels.len(), LABELS_LIMIT);
        assert_eq!(entry.shown.workload.labels["label00"].len(), LABEL_LIMIT);
    }

    #[test]
    fn escapes_in_names_images_and_labels_are_written_out() {
        let mut entry = entry();
        let hostile =
            ContainerFacts { image: Some("i\u{202e}".to_owned()), ..facts("w\u{1b}", &[("k\n", "v\u{7}")]) };
        entry.merge(hostile);
        let workload = &entry.shown.workload;
        assert_eq!(workload.name, r"w\u{1b}");
        assert_eq!(workload.image.as_deref(), Some(r"i\u{202e}"));
        assert_eq!(workload.labels.iter().next().unwrap(), (&r"k\n".to_owned(), &r"v\u{7}".to_owned()));
    }
}
