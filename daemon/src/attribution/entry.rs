//! A container in the tables: who may tell about it, and the name that this makes.
//!
//! Several may speak of one container: its cgroup path, what its runtime left on disk, the runtime's API, and
//! runtimes below or beside it (containerd knows Docker's containers, any runtime may make up an id). So:
//! 1. A path that names its runtime (`docker-<id>.scope`) is believed; no other runtime may tell.
//! 2. Who told by API owns the container until it forgets it. Nobody else may tell meanwhile.
//! 3. What is on disk counts until an API tells, and never again after.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_common::ids::CgroupId;

use super::{
    container::{Container, ContainerFacts, ContainerState, Source, Voice},
    labels::{bounded, compose, kubernetes, of_kubelet},
    text::{IMAGE_LIMIT, NAME_LIMIT, clean},
};
use crate::event::{Runtime, Workload, WorkloadKind, of_user};

/// Most addresses and most published ports of a container that are kept.
const ENDPOINTS_LIMIT: usize = 256;
/// Digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;
/// Digits of an id that stand for a container without a name, as in `docker ps`.
const SHORT_ID_DIGITS: usize = 12;

pub(super) struct Entry {
    pub(super) shown: Container,
    /// Cgroups that refer to it, and those of them that exist.
    pub(super) cgroups: usize,
    pub(super) live_cgroups: usize,
    /// The runtime by the shape of its path, where that leaves no doubt.
    by_path: Option<Runtime>,
    /// Who told about it.
    owner: Option<Source>,
    /// Its runtime does not know it any more.
    pub(super) forgotten: bool,
    /// Where in the hierarchy it is, if its runtime had to say so.
    pub(super) cgroup_path: Option<Arc<str>>,
    /// The name that its runtime gave it.
    own_name: Option<String>,
    /// Of a container of a pod: the key of the pod's sandbox, which may be its own.
    pub(super) sandbox: Option<Arc<str>>,
    /// Of such a one: what kubelet has put on it.
    own_labels: BTreeMap<String, String>,
    /// The labels of its pod, once the sandbox has told.
    pub(super) pod_labels: Option<Arc<BTreeMap<String, String>>>,
    /// Only the API of its runtime can tell its labels, and has not.
    lacks_labels: bool,
    labels_cut: u64,
}

impl Entry {
    /// A container of which only the id is known, and which user runs it himself, if it is one.
    pub(super) fn new(id: &str, user: Option<u32>) -> Self {
        let mut workload = Workload::named(WorkloadKind::Container, called(short(id), user));
        (workload.id, workload.user) = (Some(id.to_owned()), user);
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
        Self {
            shown,
            cgroups: 0,
            live_cgroups: 0,
            by_path: None,
            owner: None,
            forgotten: false,
            cgroup_path: None,
            own_name: None,
            sandbox: None,
            own_labels: BTreeMap::new(),
            pod_labels: None,
            lacks_labels: false,
            labels_cut: 0,
        }
    }

    /// Its path was seen: what that says of its runtime, and whether it leaves no doubt.
    pub(super) fn seen(&mut self, runtime: Option<Runtime>, sure: bool) {
        if sure {
            self.by_path = runtime;
        }
        let known = self.shown.workload.runtime;
        let runtime = if sure || self.owner.is_none() { runtime.or(known) } else { known };
        if runtime != known {
            self.shown.workload = Arc::new(Workload { runtime, ..(*self.shown.workload).clone() });
        }
    }

    /// One more cgroup is its; `own` when that is not one that it made below its own.
    pub(super) fn moved_in(&mut self, cgroup: CgroupId, own: bool) {
        self.cgroups += 1;
        self.live_cgroups += 1;
        if own {
            self.shown.cgroup_id = Some(cgroup.0);
        }
    }

    /// Its own cgroup, not one below.
    pub(super) fn cgroup(&self) -> Option<CgroupId> {
        self.shown.cgroup_id.map(CgroupId)
    }

    /// Whether anybody told about it.
    pub(super) fn is_told(&self) -> bool {
        self.owner.is_some()
    }

    /// Whether all is known of it that rules can ask for, or no more will be: `may_tell` says of which runtime, and of
    /// which user, the API may yet tell. Of a machine of systemd-nspawn its path tells all.
    pub(super) fn is_told_whole(&self, may_tell: impl FnOnce(Runtime, Option<u32>) -> bool) -> bool {
        let Some(owner) = &self.owner else { return self.by_path == Some(Runtime::Systemd) };
        let is_whole = !self.lacks_labels && (self.sandbox.is_none() || self.pod_labels.is_some());
        is_whole || !may_tell(owner.runtime, owner.user)
    }

    /// Its pod has these labels; how many were cut that were not cut before.
    pub(super) fn join_pod(&mut self, labels: &Arc<BTreeMap<String, String>>) -> u64 {
        let cut_before = self.labels_cut;
        if self.pod_labels.as_ref().is_none_or(|known| !Arc::ptr_eq(known, labels)) {
            self.pod_labels = Some(Arc::clone(labels));
            let labels = self.labels();
            if self.shown.workload.labels != labels {
                self.shown.workload = Arc::new(Workload { labels, ..(*self.shown.workload).clone() });
            }
        }
        self.labels_cut.saturating_sub(cut_before)
    }

    /// Of a container of a pod: the pod's labels, and what kubelet has put on it.
    fn labels(&mut self) -> BTreeMap<String, String> {
        let of_pod = self.pod_labels.iter().flat_map(|labels| labels.iter());
        let (labels, cut) = bounded(of_pod.chain(&self.own_labels));
        self.labels_cut = cut;
        labels
    }

    /// Whether a runtime that can be asked still knows it. What is on disk may be a leftover.
    pub(super) fn known(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.voice == Voice::Api) && !self.forgotten
    }

    /// Whether `source` is who told about it.
    pub(super) fn belongs_to(&self, source: &Source) -> bool {
        self.owner.as_ref() == Some(source)
    }

    /// Whether `source` may tell about it; the rule is at the head of this file.
    pub(super) fn may_tell(&self, source: &Source) -> bool {
        let fits = self.by_path.is_none_or(|runtime| runtime == source.runtime);
        fits && match &self.owner {
            None => true,
            Some(owner) if owner == source => true,
            Some(owner) => source.voice == Voice::Api && (self.forgotten || owner.voice == Voice::Disk),
        }
    }

    /// Takes over what a runtime told; how many labels were cut that were not cut before.
    pub(super) fn merge(&mut self, source: &Source, mut facts: ContainerFacts) -> u64 {
        if self.owner.as_ref() != Some(source) {
            self.owner = Some(source.clone());
        }
        self.forgotten = false;
        self.lacks_labels = facts.lacks_labels || (self.lacks_labels && facts.labels.is_none());
        let cut_before = self.labels_cut;
        if let Some(sandbox) = &facts.sandbox {
            self.sandbox = Some(source.key(sandbox));
        }
        if let Some(labels) = facts.pod_labels.take() {
            self.pod_labels = Some(Arc::new(labels));
        }
        let workload = self.workload(source, &facts);
        if *self.shown.workload != workload {
            self.shown.workload = Arc::new(workload);
        }
        let shown = &mut self.shown;
        shown.state = facts.state.unwrap_or(shown.state);
        shown.started_at = facts.started_at.or(shown.started_at);
        shown.privileged = facts.privileged.unwrap_or(shown.privileged);
        shown.host_network = facts.host_network.unwrap_or(shown.host_network);
        // A user's runtime could claim any process, and its addresses mean nothing in the host's network.
        shown.pid = facts.pid.filter(|_| source.user.is_none()).unwrap_or(shown.pid);
        if let Some(mut addresses) = facts.addresses.filter(|_| source.user.is_none()) {
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

    fn workload(&mut self, source: &Source, facts: &ContainerFacts) -> Workload {
        let mut workload = (*self.shown.workload).clone();
        workload.runtime = Some(source.runtime);
        if let Some(image) = &facts.image {
            workload.image = Some(clean(image, IMAGE_LIMIT));
        }
        if let Some(digest) = facts.image_digest.as_deref().and_then(digest) {
            workload.image_digest = Some(digest);
        }
        if let Some(labels) = &facts.labels {
            workload.kubernetes = kubernetes(labels);
            if self.sandbox.is_some() {
                self.own_labels = of_kubelet(labels);
                workload.labels = self.labels();
            } else {
                (workload.project, workload.service) = compose(labels);
                (workload.labels, self.labels_cut) = bounded(labels);
            }
        }
        if let Some(name) = &facts.name {
            self.own_name = Some(clean(name, NAME_LIMIT)).filter(|name| !name.is_empty());
        }
        let told = match (&workload.kubernetes, &workload.project, &workload.service) {
            (Some(place), _, _) => Some(place.to_string()),
            (None, Some(project), Some(service)) => Some(format!("{project}/{service}")),
            _ => None,
        };
        let own = self.own_name.as_ref();
        // A user's containers must not pass for the system's, nor by their labels the system's for a user's.
        workload.user = workload.user.or(source.user);
        let free = workload.user.is_some() || workload.kubernetes.is_some();
        let fits = |name: &&String| free || of_user(name).is_none();
        let id = workload.id.as_deref().unwrap_or_default();
        let name = told.as_ref().filter(fits).or(own.filter(fits));
        workload.name = called(name.map_or(short(id), String::as_str), workload.user);
        workload.container_name = own.filter(|own| **own != workload.name).cloned();
        workload
    }
}

/// The name of a container, with the user before it who runs it himself.
fn called(name: &str, user: Option<u32>) -> String {
    user.map_or_else(|| name.to_owned(), |user| format!("user-{user}/{name}"))
}

/// A digest as all runtimes mean it: Podman leaves out which sort it is.
fn digest(told: &str) -> Option<String> {
    let digits = told.strip_prefix("sha256:").unwrap_or(told);
    let fits = digits.len() == DIGEST_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    fits.then(|| format!("sha256:{digits}"))
}

/// The beginning of an id that is a number. One that somebody chose is a name as it is.
fn short(id: &str) -> &str {
    let number = id.len() > SHORT_ID_DIGITS && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    id.get(..SHORT_ID_DIGITS).filter(|_| number).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2a9c0d3f2a9c0d";

    fn docker() -> Source {
        Source::api(Runtime::Docker, "docker.sock")
    }

    fn facts(name: &str, labels: &[(&str, &str)]) -> ContainerFacts {
        ContainerFacts {
            name: Some(name.to_owned()),
            labels: Some(labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()),
            ..ContainerFacts::new(ID)
        }
    }

    fn shop() -> [(&'static str, &'static str); 2] {
        [("com.docker.compose.project", "shop"), ("com.docker.compose.service", "web")]
    }

    #[test]
    fn a_container_without_a_name_is_called_by_its_short_id() {
        assert_eq!(Entry::new(ID, None).shown.workload.name, "3f2a9c0d3f2a");
        assert_eq!(Entry::new("a-name-that-was-chosen", None).shown.workload.name, "a-name-that-was-chosen");
    }

    #[test]
    fn a_digest_is_taken_as_it_is_and_nothing_else_for_one() {
        let digits = "a1".repeat(32);
        let mut entry = Entry::new(ID, None);
        let mut told = |digest: &str| {
            let facts = ContainerFacts { image_digest: Some(digest.to_owned()), ..ContainerFacts::new(ID) };
            entry.merge(&docker(), facts);
            entry.shown.workload.image_digest.clone()
        };
        assert_eq!(told("shop:1"), None);
        for digest in [format!("sha256:{digits}"), digits.clone(), "sha256:\n".to_owned()] {
            assert_eq!(told(&digest), Some(format!("sha256:{digits}")));
        }
    }

    #[test]
    fn compose_labels_make_the_name_and_the_own_name_stays_beside_it() {
        let mut entry = Entry::new(ID, None);
        entry.merge(&docker(), facts("shop_web_1", &shop()));
        assert_eq!(entry.shown.workload.name, "shop/web");
        assert_eq!(entry.shown.workload.container_name.as_deref(), Some("shop_web_1"));

        let renamed = ContainerFacts { name: Some("renamed".to_owned()), ..ContainerFacts::new(ID) };
        entry.merge(&docker(), renamed);
        assert_eq!(entry.shown.workload.name, "shop/web");
        assert_eq!(entry.shown.workload.container_name.as_deref(), Some("renamed"));

        entry.merge(&docker(), facts("renamed", &[]));
        assert_eq!(entry.shown.workload.name, "renamed");
        assert_eq!(entry.shown.workload.container_name, None);
    }

    #[test]
    fn a_container_of_a_pod_is_called_by_its_place_in_the_cluster() {
        let mut entry = Entry::new(ID, None);
        let labels = [
            ("io.kubernetes.pod.namespace", "shop"),
            ("io.kubernetes.pod.name", "web-1"),
            ("io.kubernetes.container.name", "nginx"),
        ];
        entry.merge(&Source::api(Runtime::Containerd, "containerd.sock"), facts("", &labels));
        assert_eq!(entry.shown.workload.name, "shop/web-1/nginx");
        assert_eq!(entry.shown.workload.kubernetes.as_ref().unwrap().pod, "web-1");
    }

    #[test]
    fn a_container_of_a_pod_has_the_labels_of_its_pod_and_none_of_its_image() {
        let (containerd, sandbox) = (Source::api(Runtime::Containerd, "containerd.sock"), "a".repeat(64));
        let mut entry = Entry::new(ID, None);
        let own = [
            ("app", "db"),
            ("com.docker.compose.project", "shop"),
            ("io.kubernetes.container.name", "nginx"),
            ("io.kubernetes.pod.name", "web-1"),
            ("io.kubernetes.pod.namespace", "shop"),
        ];
        let told = ContainerFacts { sandbox: Some(sandbox), ..facts("", &own) };
        entry.merge(&containerd, told.clone());
        assert!(entry.is_told() && !entry.is_told_whole(|_, _| true), "its pod has not told");
        assert_eq!(entry.shown.workload.labels.len(), 3);
        assert_eq!(entry.shown.workload.project, None);

        let labels = |app: &str| Arc::new(BTreeMap::from([("app".to_owned(), app.to_owned())]));
        entry.join_pod(&labels("web"));
        assert!(entry.is_told_whole(|_, _| true));
        assert_eq!(entry.shown.workload.labels["app"], "web");
        assert_eq!(entry.shown.workload.name, "shop/web-1/nginx");
        entry.merge(&containerd, told);
        assert_eq!(entry.shown.workload.labels["app"], "web");
        entry.join_pod(&labels("other"));
        assert_eq!((&*entry.shown.workload.labels["app"], entry.shown.workload.labels.len()), ("other", 4));
    }

    #[test]
    fn a_pods_labels_stay_where_there_are_too_many() {
        let mut entry = Entry::new(ID, None);
        let many: Vec<_> = (0..40).map(|number| format!("io.kubernetes.{number}")).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), "")).collect();
        let told = ContainerFacts { sandbox: Some("a".repeat(64)), ..facts("", &many) };
        assert_eq!(entry.merge(&docker(), told), 8);
        let cut = entry.join_pod(&Arc::new(BTreeMap::from([("tier".to_owned(), "front".to_owned())])));
        assert_eq!((cut, entry.shown.workload.labels.contains_key("tier")), (1, true));
    }

    #[test]
    fn a_users_container_cannot_pass_for_one_of_the_system() {
        let mut entry = Entry::new(ID, None);
        let user = Source { user: Some(1000), ..Source::api(Runtime::Podman, "podman.sock") };
        let claims =
            ContainerFacts { addresses: Some(vec!["198.18.0.2".parse().unwrap()]), ..facts("db", &shop()) };
        entry.merge(&user, claims);
        assert_eq!(entry.shown.workload.name, "user-1000/shop/web");
        assert_eq!(entry.shown.workload.of_user(), Some((1000, "shop/web")));
        assert!(entry.shown.addresses.is_empty());
    }

    #[test]
    fn a_container_of_the_system_cannot_pass_for_a_users() {
        let mut entry = Entry::new(ID, None);
        let claims = [("com.docker.compose.project", "user-1000"), ("com.docker.compose.service", "web")];
        entry.merge(&docker(), facts("web", &claims));
        assert_eq!(entry.shown.workload.name, "web");
    }

    #[test]
    fn labels_that_are_cut_are_counted_once() {
        let many: Vec<_> = (0..40).map(|number| number.to_string()).collect();
        let many: Vec<_> = many.iter().map(|key| (key.as_str(), "")).collect();
        let mut entry = Entry::new(ID, None);
        assert_eq!(entry.merge(&docker(), facts("web", &many)), 8);
        assert_eq!(entry.merge(&docker(), facts("web", &many)), 0);
    }

    #[test]
    fn escapes_in_names_images_and_labels_are_written_out() {
        let mut entry = Entry::new(ID, None);
        let hostile =
            ContainerFacts { image: Some("i\u{202e}".to_owned()), ..facts("w\u{1b}", &[("k\n", "v\u{7}")]) };
        entry.merge(&docker(), hostile);
        let workload = &entry.shown.workload;
        assert_eq!(workload.name, r"w\u{1b}");
        assert_eq!(workload.image.as_deref(), Some(r"i\u{202e}"));
        assert_eq!(workload.labels.iter().next().unwrap(), (&r"k\n".to_owned(), &r"v\u{7}".to_owned()));
    }

    #[test]
    fn a_runtime_does_not_overwrite_what_another_told_by_its_api() {
        let containerd = Source::api(Runtime::Containerd, "containerd.sock");
        let disk = Source { voice: Voice::Disk, ..docker() };
        let mut entry = Entry::new(ID, None);
        entry.merge(&disk, facts("web", &[]));
        assert!(entry.may_tell(&disk) && entry.may_tell(&docker()) && entry.may_tell(&containerd));
        entry.merge(&docker(), facts("web", &[]));
        assert!(entry.may_tell(&docker()) && !entry.may_tell(&disk) && !entry.may_tell(&containerd));
        entry.forgotten = true;
        assert!(entry.may_tell(&containerd) && !entry.may_tell(&disk));
    }

    #[test]
    fn a_path_that_names_its_runtime_is_believed() {
        let mut entry = Entry::new(ID, None);
        entry.seen(Some(Runtime::Podman), true);
        assert!(!entry.may_tell(&docker()));
        let mut entry = Entry::new(ID, None);
        entry.seen(Some(Runtime::Containerd), false);
        assert!(entry.may_tell(&docker()));
        entry.merge(&docker(), facts("web", &[]));
        entry.seen(Some(Runtime::Containerd), false);
        assert_eq!(entry.shown.workload.runtime, Some(Runtime::Docker));
    }
}
