//! Who did it: cgroups, processes and addresses become workloads with names.
//!
//! All state is in memory behind locks that are held for single look-ups. Whatever reads from the system does so
//! without a lock, outside of the data path ([`keep`], [`runtime`]), and then puts the result in.
//! `docs/attribution.md` tells the rules.

mod text;

mod cgroup;

mod addresses;

mod scope;

mod dns;

mod names;

mod told;

mod outside;

mod container;

mod labels;

mod entry;

mod claims;

mod published;

mod nameless;

mod tables;

mod process;

mod attribute;

mod sentence;

mod counts;

mod policy;

mod home;

mod upkeep;

pub mod runtime;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::AtomicU64,
    },
};

use cofferdam_common::{ids::CgroupId, network::Party};
use tokio::sync::Notify;

use self::{cgroup::Walk, nameless::Nameless, process::ProcessTable, tables::Tables};
pub use self::{
    container::{Container, ContainerFacts, ContainerState, PublishedPort, Source, Voice},
    counts::{DNS_OUTCOMES, Overflows},
    home::Home,
    outside::Networks,
    runtime::{RuntimeState, RuntimeStatus},
    tables::{Canary, Networked, Placed},
    told::Told,
    upkeep::keep,
};
use crate::event::{RuleName, Workload};

/// Most unknown cgroups that one search is asked for.
const WANTED_LIMIT: usize = 1_024;

/// How many cgroups of a walk are put into the tables at once.
const WALK_PART: usize = 512;

/// What is known of this host. Shared by the pipeline, the watchers of runtimes and the API.
pub struct Attribution {
    cgroup_root: PathBuf,
    tables: RwLock<Tables>,
    processes: Mutex<ProcessTable>,
    runtimes: Mutex<Vec<RuntimeStatus>>,
    /// Cgroups that turned up unknown and are to be searched for.
    wanted: Mutex<HashSet<CgroupId>>,
    wake: Notify,
    /// There are cgroups whose names are to be looked for on disk.
    nameless: Notify,
    unattributed: AtomicU64,
    dns_answers: [AtomicU64; DNS_OUTCOMES.len()],
    /// What workloads were told by resolvers that are believed.
    told: Mutex<told::Waiting>,
    /// Whether something changed since somebody waited for it.
    changed: (Mutex<bool>, Condvar),
    /// The rules of policies, by the numbers that the kernel knows.
    rules: RwLock<[HashMap<u32, Arc<RuleName>>; 2]>,
}

impl Attribution {
    /// Knows nothing yet but the host. `cgroup_root` is where the v2 tree is mounted: `/sys/fs/cgroup`, or
    /// `/sys/fs/cgroup/unified` on a hybrid host.
    #[must_use]
    pub fn new(cgroup_root: PathBuf) -> Self {
        Self {
            cgroup_root,
            tables: RwLock::new(Tables::new()),
            processes: Mutex::new(ProcessTable::new()),
            runtimes: Mutex::default(),
            wanted: Mutex::default(),
            wake: Notify::new(),
            nameless: Notify::new(),
            unattributed: AtomicU64::new(0),
            dns_answers: std::array::from_fn(|_| AtomicU64::new(0)),
            told: Mutex::default(),
            changed: Default::default(),
            rules: RwLock::default(),
        }
    }

    /// Learns what is there already: the cgroup tree, processes, addresses of the host. Blocks; to be called after
    /// the hooks were attached and before the first record is attributed, so that nothing falls between.
    ///
    /// # Errors
    /// When the cgroup tree, `/proc` or the interfaces cannot be read.
    pub fn seed(&self) -> io::Result<()> {
        self.walk()?;
        let running = process::running()?;
        self.processes().seed(running);
        let host = addresses::of_host()?;
        self.tables_mut().addresses.set_host(host);
        Ok(())
    }

    /// Who lives in a cgroup. One that is not known is searched for in the background, and is
    /// [`crate::event::WorkloadKind::Unknown`] meanwhile.
    #[must_use]
    pub fn workload(&self, cgroup: CgroupId) -> Arc<Workload> {
        let resident = self.tables().resident(cgroup);
        resident.unwrap_or_else(|| self.search(cgroup))
    }

    /// Who lives, or lived, in a cgroup, as far as it is known now.
    #[must_use]
    pub fn resident(&self, cgroup: CgroupId) -> Option<Arc<Workload>> {
        self.tables().resident(cgroup)
    }

    /// The cgroups that exist, and who lives in each; without the daemon's own.
    #[must_use]
    pub fn live(&self) -> Vec<(CgroupId, Arc<Workload>)> {
        let tables = self.tables();
        let live = tables.live().into_iter().filter(|cgroup| !tables.is_canary(*cgroup));
        live.filter_map(|cgroup| Some((cgroup, tables.resident(cgroup)?))).collect()
    }

    /// Whose end of a flow this is, seen from the other end: by cgroup, else by address (a container's, the host's, or
    /// outside). Loopback without a cgroup counts as the host.
    fn party(&self, party: &Party, other_end: CgroupId) -> Arc<Workload> {
        let known = self.tables().party(party, other_end);
        known.unwrap_or_else(|| self.search(party.cgroup))
    }

    /// Both ends of a flow. A peer outside has the name under which the other end looked it up. A loopback end that has
    /// no cgroup (nobody listens there) is in the network of the other end, and counts as the same workload.
    #[must_use]
    pub fn parties(&self, source: &Party, target: &Party) -> (Arc<Workload>, Arc<Workload>) {
        let nameless = |party: &Party| party.cgroup == CgroupId::NONE && party.address.is_loopback();
        match (nameless(source), nameless(target)) {
            (false, true) => {
                let source = self.party(source, target.cgroup);
                (Arc::clone(&source), source)
            }
            (true, false) => {
                let target = self.party(target, source.cgroup);
                (Arc::clone(&target), target)
            }
            _ => (self.party(source, target.cgroup), self.party(target, source.cgroup)),
        }
    }

    /// All containers that run or that a runtime knows, sorted by name. Those that ended are among them until they
    /// are removed ([`ContainerState::Exited`]).
    #[must_use]
    pub fn containers(&self) -> Vec<Container> {
        self.tables().containers()
    }

    /// Ports of the host that lead to containers, and behind them those that led to some that are gone.
    #[must_use]
    pub fn published(&self) -> Vec<(Arc<Workload>, PublishedPort)> {
        self.tables().published()
    }

    /// The cgroups that are containers' own and not yet gone: what lies below them is the container's too.
    #[must_use]
    pub fn containers_own(&self) -> Vec<CgroupId> {
        self.tables().containers_own().collect()
    }

    /// The own cgroup of the container that a cgroup belongs to.
    #[must_use]
    pub fn container_of(&self, cgroup: CgroupId) -> Option<CgroupId> {
        self.tables().container_of(cgroup)
    }

    /// Whether a cgroup is known and not removed.
    #[must_use]
    pub fn is_live(&self, cgroup: CgroupId) -> bool {
        self.tables().is_live(cgroup)
    }

    /// A runtime told about a container. What another may tell only ([`entry`]) changes nothing.
    pub fn learn(&self, source: &Source, facts: ContainerFacts) {
        self.tables_mut().learn(source, facts);
        self.change();
    }

    /// A runtime told more about a container that it told about before.
    pub(crate) fn tell(&self, source: &Source, facts: ContainerFacts) {
        let mut tables = self.tables_mut();
        if tables.belongs_to(source, &facts.id) {
            tables.learn(source, facts);
            drop(tables);
            self.change();
        }
    }

    /// A runtime does not know a container of its own any more. Its name is kept until its cgroups are dropped.
    pub fn forget(&self, source: &Source, id: &str) {
        self.tables_mut().forget(source, id);
        self.change();
    }

    /// A runtime knows these containers and no others.
    pub fn retain(&self, source: &Source, known: &HashSet<String>) {
        self.tables_mut().retain(source, known);
        self.change();
    }

    /// Cgroups that were removed and whose names are kept, because rows of the ledger are still about them.
    #[must_use]
    pub fn gone(&self) -> Vec<CgroupId> {
        self.tables().gone()
    }

    /// The rows of these were folded. The last few thousand are remembered all the same, for packets that come late.
    pub fn drop_gone(&self, cgroups: &[CgroupId]) {
        self.tables_mut().drop_gone(cgroups);
    }

    /// Runtimes that are listened to.
    #[must_use]
    pub fn runtimes(&self) -> Vec<RuntimeStatus> {
        lock(&self.runtimes).clone()
    }

    /// Whether some runtime has neither answered nor failed to: it may yet tell more of who is here.
    #[must_use]
    pub fn awaits_runtimes(&self) -> bool {
        let runtimes = lock(&self.runtimes);
        runtimes.is_empty() || runtimes.iter().any(|runtime| runtime.state == RuntimeState::Awaited)
    }

    /// Whether peers outside are called by these names.
    #[must_use]
    pub fn calls_outside(&self, networks: &Networks) -> bool {
        self.tables().outside == *networks
    }

    /// Peers outside are called by these names from now on, wherever a name is looked up.
    pub fn name_outside(&self, networks: Networks) {
        let old = std::mem::replace(&mut self.tables_mut().outside, networks);
        // After the lock was given back.
        drop(old);
    }

    /// How a runtime is heard now.
    pub fn report(&self, status: RuntimeStatus) {
        let mut runtimes = lock(&self.runtimes);
        match runtimes.iter_mut().find(|known| known.endpoint == status.endpoint) {
            Some(known) => *known = status,
            None => runtimes.push(status),
        }
    }

    /// A runtime is not listened to any more.
    pub(crate) fn unreport(&self, endpoint: &str) {
        lock(&self.runtimes).retain(|known| known.endpoint != endpoint);
    }

    /// Networks changed: addresses of the host are to be read soon.
    pub(crate) fn networks_changed(&self) {
        self.wake.notify_one();
    }

    /// Reads again what may have changed; `whole` also repairs what lost records left behind. Blocks.
    fn refresh(&self, whole: bool) {
        match addresses::of_host() {
            Ok(host) => self.tables_mut().addresses.set_host(host),
            Err(error) => tracing::warn!(%error, "addresses of the host cannot be read"),
        }
        let wanted = std::mem::take(&mut *lock(&self.wanted));
        if whole || !wanted.is_empty() {
            if let Err(error) = self.walk() {
                tracing::warn!(%error, root = %self.cgroup_root.display(), "the cgroup tree cannot be read");
                return;
            }
            let mut tables = self.tables_mut();
            wanted.into_iter().for_each(|cgroup| tables.not_found(cgroup));
        }
        if whole {
            let before = self.processes().tgids();
            match process::running_tgids() {
                Ok(running) => self.processes().sweep(&before, &running),
                Err(error) => tracing::warn!(%error, "processes cannot be read"),
            }
        }
    }

    fn walk(&self) -> io::Result<()> {
        let before = self.tables().live();
        let Walk { found, complete } = cgroup::walk(&self.cgroup_root)?;
        // In parts, so that the data path never waits long for the lock.
        for part in found.chunks(WALK_PART) {
            let mut tables = self.tables_mut();
            part.iter().for_each(|(id, path)| tables.made(*id, path));
        }
        self.nameless.notify_one();
        self.change();
        if complete {
            let found: HashSet<_> = found.iter().map(|(id, _)| *id).collect();
            let mut tables = self.tables_mut();
            before.difference(&found).for_each(|id| tables.removed(*id));
        }
        Ok(())
    }

    /// A cgroup was made. Who lives there is looked for on disk, if nobody told yet.
    fn made(&self, id: CgroupId, path: &str) {
        let mut tables = self.tables_mut();
        tables.made(id, path);
        if !tables.nameless.is_empty() {
            self.nameless.notify_one();
        }
        drop(tables);
        self.change();
    }

    /// Waits until there is something to look for on disk.
    async fn nameless_turned_up(&self) {
        self.nameless.notified().await;
    }

    /// What is to be looked for on disk.
    fn take_nameless(&self) -> Vec<Nameless> {
        self.tables_mut().nameless.take()
    }

    /// Whether anybody told about a container.
    fn is_told(&self, key: &str) -> bool {
        self.tables().is_told(key)
    }

    fn search(&self, cgroup: CgroupId) -> Arc<Workload> {
        let mut wanted = lock(&self.wanted);
        if wanted.len() < WANTED_LIMIT && wanted.insert(cgroup) {
            self.wake.notify_one();
        }
        self.tables().unknown()
    }

    fn tables(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables_mut(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn processes(&self) -> MutexGuard<'_, ProcessTable> {
        lock(&self.processes)
    }
}

/// A panic elsewhere leaves single entries at worst incomplete; the daemon goes on with them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
