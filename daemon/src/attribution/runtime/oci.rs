//! Names from disk: what a runtime writes down before it starts a container.
//!
//! A cgroup is made some ten milliseconds before the container's own process runs, and its record wakes us. So a
//! container has its name although its runtime's API answers late or never. What an API tells comes before it.

mod file;
mod spec;
mod storage;

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    ffi::{OsStr, OsString},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::unistd::{Uid, User};
use tokio::{
    sync::oneshot,
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use self::spec::is_number;
pub(super) use self::spec::{from_spec, whole_id};
use super::super::{
    Attribution,
    container::{ContainerFacts, Source, Voice},
    nameless::{LIMIT, Nameless},
};
use crate::event::Runtime;

/// How often one container is looked for: some is written a moment after its cgroup is made.
const TRIES: u32 = 4;
/// How long to wait before the next try.
const PAUSE: Duration = Duration::from_millis(50);
/// Most namespaces of one containerd that are looked through.
const NAMESPACES_LIMIT: usize = 64;

/// What the lists of containers are called (containers/storage, `containers.go`).
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// Where runtimes keep what they write down. None need exist.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Docker's data root.
    pub docker: PathBuf,
    /// State folders of containerds: the system's, and those that Docker and K3s start themselves.
    pub containerd: Vec<PathBuf>,
    /// Containers' storage, which Podman and CRI-O share.
    pub storage: PathBuf,
    /// The same at run time.
    pub storage_run: PathBuf,
}

impl Default for Roots {
    /// Where runtimes keep it unless told otherwise.
    fn default() -> Self {
        Self {
            docker: "/var/lib/docker".into(),
            containerd: vec![
                "/run/containerd".into(),
                "/run/docker/containerd/daemon".into(),
                "/run/k3s/containerd".into(),
            ],
            storage: "/var/lib/containers/storage".into(),
            storage_run: "/run/containers/storage".into(),
        }
    }
}

/// What these bytes tell, taken for each kind of file in turn: the door of the fuzz targets.
#[must_use]
pub fn told_by(json: &[u8]) -> Vec<ContainerFacts> {
    let kinds =
        [from_spec("k8s.io", "web", json), storage::from_docker(json), storage::from_list(json, "web")];
    kinds.into_iter().flatten().collect()
}

/// Looks for the names of containers that no runtime told about, until `cancel`. `first_look` is dropped once all that
/// were there when we came have been looked for.
pub async fn watch(
    attribution: Arc<Attribution>,
    roots: Roots,
    first_look: oneshot::Sender<Infallible>,
    cancel: CancellationToken,
) {
    let mut looks = Looks::new(attribution, roots);
    let (mut first_look, mut again) = (Some(first_look), Vec::new());
    // When it is tried again; whatever turns up meanwhile does not put it off.
    let mut due = None;
    loop {
        looks.start();
        if looks.busy.is_empty() {
            drop(first_look.take());
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = looks.attribution.nameless_turned_up() => {}
            Some(Ok((user, missing))) = looks.under_way.join_next() => {
                looks.busy.remove(&user);
                again.extend(missing);
                due = due.or_else(|| (!again.is_empty()).then(|| Instant::now() + PAUSE));
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                due = None;
                looks.want(again.drain(..));
            }
        }
    }
}

/// One who is looked for, and how often he was.
type Wanted = (Nameless, u32);

/// Looks of which each is at what one user has: a home that lies on a server that does not answer holds up no others.
struct Looks {
    attribution: Arc<Attribution>,
    roots: Arc<Roots>,
    /// Who is looked for next, by user; none for the system's own.
    wanted: HashMap<Option<u32>, Vec<Wanted>>,
    /// At whose a look is under way.
    busy: HashSet<Option<u32>>,
    under_way: JoinSet<(Option<u32>, Vec<Wanted>)>,
}

impl Looks {
    fn new(attribution: Arc<Attribution>, roots: Roots) -> Self {
        let (wanted, busy, under_way) = Default::default();
        Self { attribution, roots: Arc::new(roots), wanted, busy, under_way }
    }

    fn want(&mut self, wanted: impl IntoIterator<Item = Wanted>) {
        for one in wanted {
            let of_user = self.wanted.entry(one.0.user).or_default();
            if of_user.len() < LIMIT {
                of_user.push(one);
            }
        }
    }

    /// Looks for all who are wanted, but for those of users at whose a look is under way.
    fn start(&mut self) {
        self.want(self.attribution.take_nameless().into_iter().map(|nameless| (nameless, 0)));
        let free: Vec<_> = self.wanted.extract_if(|user, _| !self.busy.contains(user)).collect();
        for (user, wanted) in free {
            self.busy.insert(user);
            let (attribution, roots) = (Arc::clone(&self.attribution), Arc::clone(&self.roots));
            // What panicked is not looked for again.
            let look = move || catch_unwind(AssertUnwindSafe(|| look(&attribution, &roots, wanted)));
            self.under_way.spawn_blocking(move || (user, look().unwrap_or_default()));
        }
    }
}

/// Tells what is on disk; what was not found and may yet be. Blocks.
fn look(attribution: &Attribution, roots: &Roots, wanted: Vec<(Nameless, u32)>) -> Vec<(Nameless, u32)> {
    let mut again = Vec::new();
    for (nameless, tries) in wanted {
        if attribution.is_told(&nameless.key) {
            continue;
        }
        match roots.find(&nameless) {
            Some((source, facts)) => attribution.learn(&source, facts),
            None if tries + 1 < TRIES => again.push((nameless, tries + 1)),
            None => {}
        }
    }
    again
}

impl Roots {
    /// What is written down about a container.
    fn find(&self, nameless: &Nameless) -> Option<(Source, ContainerFacts)> {
        let may_be = |runtime| nameless.runtime.is_none_or(|known| known == runtime);
        let of = |runtime, endpoint: &Path| Source {
            runtime,
            endpoint: endpoint.to_owned(),
            voice: Voice::Disk,
            user: nameless.user,
        };
        if let Some(user) = nameless.user {
            let home = User::from_uid(Uid::from_raw(user)).ok().flatten()?.dir;
            let (runtime, root, facts) = at_home(&home, nameless)?;
            return Some((of(runtime, &root), facts));
        }
        // An id below any parent is Docker's or containerd's: what `docker` made is in both.
        if nameless.is_id && (may_be(Runtime::Docker) || may_be(Runtime::Containerd)) {
            let path = self.docker.join("containers").join(&nameless.id).join("config.v2.json");
            if let Some(facts) = file::read(&path).and_then(|bytes| storage::from_docker(&bytes)) {
                return Some((of(Runtime::Docker, &self.docker), facts));
            }
        }
        if may_be(Runtime::Containerd) {
            let found = self.containerd.iter().find_map(|root| Some((root, bundled(root, nameless)?)));
            if let Some((root, facts)) = found {
                return Some((of(Runtime::Containerd, root), facts));
            }
        }
        let (runtime, facts) = match nameless.runtime? {
            Runtime::Podman => (Runtime::Podman, listed(&self.storage, nameless)?),
            Runtime::Crio => (Runtime::Crio, stored(&self.storage, &self.storage_run, nameless)?),
            _ => return None,
        };
        Some((of(runtime, &self.storage), facts))
    }
}

/// What a user's own Docker or Podman has written down about a container, and where.
fn at_home(home: &Path, nameless: &Nameless) -> Option<(Runtime, PathBuf, ContainerFacts)> {
    let data = home.join(".local/share");
    if nameless.runtime == Some(Runtime::Podman) {
        let root = data.join("containers/storage");
        let facts = listed(&root, nameless)?;
        return Some((Runtime::Podman, root, facts));
    }
    let root = data.join("docker");
    let path = root.join("containers").join(&nameless.id).join("config.v2.json");
    let facts = storage::from_docker(&file::read(&path)?)?;
    Some((Runtime::Docker, root, facts))
}

/// A bundle of containerd's shim: `<state>/io.containerd.runtime.v2.task/<namespace>/<id>/config.json`.
fn bundled(state: &Path, nameless: &Nameless) -> Option<ContainerFacts> {
    let tasks = state.join("io.containerd.runtime.v2.task");
    let namespaces = std::fs::read_dir(tasks).ok()?.take(NAMESPACES_LIMIT).flatten();
    namespaces.into_iter().find_map(|namespace| {
        let name = namespace.file_name();
        let name = name.to_str().filter(|name| *name != super::DOCKERS_NAMESPACE)?;
        let bytes = file::read(&namespace.path().join(&nameless.id).join("config.json"))?;
        let facts = from_spec(name, &nameless.id, &bytes)?;
        // A name that somebody chose is in many places: only the cgroup tells which one is meant.
        (nameless.is_id || facts.cgroup_path.as_ref() == Some(&nameless.path)).then_some(facts)
    })
}

/// What Podman wrote down, in one file for all containers. Their annotations are elsewhere, and are no labels of Podman's.
fn listed(storage: &Path, nameless: &Nameless) -> Option<ContainerFacts> {
    let facts = drivers(storage).find_map(|driver| in_list(storage, &driver, nameless))?;
    Some(ContainerFacts { lacks_labels: true, ..facts })
}

/// What CRI-O wrote down: names in such a file, and labels as annotations, in one for each container. Those of the pod are its
/// sandbox's, which has no cgroup of its own unless the pod needs a process for it.
fn stored(storage: &Path, run: &Path, nameless: &Nameless) -> Option<ContainerFacts> {
    drivers(storage).find_map(|driver| {
        let annotated = |id: &str| {
            let path = Path::new(&driver).join(id).join("userdata/config.json");
            let spec = file::read(&run.join(&path)).or_else(|| file::read(&storage.join(&path)))?;
            from_spec("", id, &spec)
        };
        let told = annotated(&nameless.id)?;
        let of_sandbox = || annotated(told.sandbox.as_deref().filter(|id| is_number(id))?)?.pod_labels;
        let pod_labels = told.pod_labels.clone().or_else(of_sandbox);
        let ContainerFacts { name, image, image_digest, .. } =
            in_list(storage, &driver, nameless).unwrap_or_else(|| told.clone());
        let image = image.or_else(|| told.image.clone());
        Some(ContainerFacts { name, image, image_digest, pod_labels, ..told })
    })
}

/// What the lists of containers of a driver say of one: of those that stay, and of those that are removed when they end.
fn in_list(storage: &Path, driver: &OsStr, nameless: &Nameless) -> Option<ContainerFacts> {
    LISTS.iter().find_map(|list| {
        let list = file::read(&storage.join(driver).join(list))?;
        storage::from_list(&list, &nameless.id)
    })
}

/// One folder per driver: `overlay-containers`.
fn drivers(storage: &Path) -> impl Iterator<Item = OsString> {
    let entries = std::fs::read_dir(storage).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    names.filter(|name| name.to_str().is_some_and(|name| name.ends_with("-containers")))
}

#[cfg(test)]
mod tests;
