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

/// Where runtimes keep what they write down. None need exist.
#[derive(Clone, Debug)]
pub struct Roots {
    /// Docker's data root.
    pub docker: PathBuf,
    /// State folders of containerds: the system's, and the one that Docker starts itself.
    pub containerd: Vec<PathBuf>,
    /// Containers' storage, which Podman and CRI-O share.
    pub storage: PathBuf,
    /// The same at run time.
    pub storage_run: PathBuf,
    /// Users' own, at run time, are below: `<uid>/containers`.
    pub users: PathBuf,
}

impl Default for Roots {
    /// Where runtimes keep it unless told otherwise.
    fn default() -> Self {
        Self {
            docker: "/var/lib/docker".into(),
            containerd: vec!["/run/containerd".into(), "/run/docker/containerd/daemon".into()],
            storage: "/var/lib/containers/storage".into(),
            storage_run: "/run/containers/storage".into(),
            users: "/run/user".into(),
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
            let storage = home.join(".local/share/containers/storage");
            let run = self.users.join(user.to_string()).join("containers");
            return Some((of(Runtime::Podman, &storage), stored(&storage, &run, Runtime::Podman, nameless)?));
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
        let stores = [Runtime::Podman, Runtime::Crio];
        let runtime = stores.into_iter().find(|runtime| nameless.runtime == Some(*runtime))?;
        Some((of(runtime, &self.storage), stored(&self.storage, &self.storage_run, runtime, nameless)?))
    }
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

/// What Podman or CRI-O wrote down: names in one file for all containers; CRI-O labels in one for each, as annotations.
/// Podman's annotations are not its labels.
fn stored(storage: &Path, run: &Path, runtime: Runtime, nameless: &Nameless) -> Option<ContainerFacts> {
    // One folder per driver: `overlay-containers`.
    let drivers = std::fs::read_dir(storage).ok()?.flatten().map(|entry| entry.file_name());
    let mut drivers = drivers.filter(|name| name.to_str().is_some_and(|name| name.ends_with("-containers")));
    drivers.find_map(|driver| {
        let listed = file::read(&storage.join(&driver).join("containers.json"));
        let named = listed.and_then(|bytes| storage::from_list(&bytes, &nameless.id));
        if runtime == Runtime::Podman {
            return Some(ContainerFacts { lacks_labels: true, ..named? });
        }
        let path = Path::new(&driver).join(&nameless.id).join("userdata/config.json");
        let spec = file::read(&run.join(&path)).or_else(|| file::read(&storage.join(&path)));
        match (named, spec.and_then(|bytes| from_spec("", &nameless.id, &bytes))) {
            (Some(ContainerFacts { name, image, image_digest, .. }), Some(told)) => {
                let image = image.or(told.image);
                Some(ContainerFacts { name, image, image_digest, lacks_labels: false, ..told })
            }
            (named, told) => named.or(told),
        }
    })
}

#[cfg(test)]
mod tests;
