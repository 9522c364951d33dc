//! The tables: cgroup -> who lives there, container -> what is known of it, address -> whose it is. No I/O, no locks.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use cofferdam_common::ids::CgroupId;

use self::canaries::Canaries;
use super::{
    addresses::Addresses,
    cgroup::{Place, identify},
    claims::Claims,
    container::{Container, ContainerFacts, ContainerState, Source, Voice, user_of},
    entry::Entry,
    nameless::Queue,
    names::Names,
    outside::Networks,
    published::Ports,
    text::{NAME_LIMIT, PATH_LIMIT, clean},
};
use crate::event::{Runtime, Workload, WorkloadKind};

mod canaries;
mod parties;
mod placed;
mod pods;

pub use self::{
    canaries::Canary,
    placed::{Networked, Placed},
};

/// Most cgroups and most containers in the tables. What exceeds them is unknown, and counted.
const LIMIT: usize = 65_536;
/// How many cgroups are remembered after they were dropped: a socket outlives its cgroup, so that its last packets
/// may come after all else was cleared away.
const DEPARTED_LIMIT: usize = 4_096;

/// Who lives in a cgroup.
enum Resident {
    Container(Arc<str>),
    Other(Arc<Workload>),
    /// It was searched for and not found.
    Nobody,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Life {
    Live,
    /// Removed; its name is still needed.
    Gone,
    /// Removed and dropped; in `departed`.
    Departed,
}

struct Cgroup {
    path: Arc<str>,
    resident: Resident,
    life: Life,
}

pub(super) struct Tables {
    cgroups: HashMap<CgroupId, Cgroup>,
    containers: HashMap<Arc<str>, Entry>,
    claims: Claims,
    canaries: Canaries,
    pub(super) nameless: Queue,
    pub(super) addresses: Addresses,
    pub(super) outside: Networks,
    pub(super) names: Names,
    pub(super) ports: Ports,
    departed: VecDeque<CgroupId>,
    host: Arc<Workload>,
    unknown: Arc<Workload>,
    other: Arc<Workload>,
    pub(super) overflow: u64,
    pub(super) labels_cut: u64,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            cgroups: HashMap::new(),
            containers: HashMap::new(),
            claims: Claims::default(),
            canaries: Canaries::default(),
            nameless: Queue::default(),
            addresses: Addresses::default(),
            outside: Networks::default(),
            names: Names::new(),
            ports: Ports::new(),
            departed: VecDeque::new(),
            host: Arc::new(Workload::host()),
            unknown: Arc::new(Workload::named(WorkloadKind::Unknown, "unknown")),
            other: Arc::new(Workload::named(WorkloadKind::Other, "other")),
            overflow: 0,
            labels_cut: 0,
        }
    }

    /// A cgroup exists. A path that is already known stays.
    pub(super) fn made(&mut self, id: CgroupId, path: &str) {
        if self.cgroups.get(&id).is_some_and(|cgroup| !matches!(cgroup.resident, Resident::Nobody)) {
            return;
        }
        if self.cgroups.len() >= LIMIT {
            self.overflow += 1;
            return;
        }
        let Some(resident) = self.house(id, path) else { return };
        let path = clean(path, PATH_LIMIT).into();
        self.cgroups.insert(id, Cgroup { path, resident, life: Life::Live });
    }

    /// Finds out who lives in a new cgroup; `None` when there is no room for a new container.
    fn house(&mut self, id: CgroupId, path: &str) -> Option<Resident> {
        let place = identify(path);
        let shaped = if let Place::Container(place) = &place { place.own.len() } else { usize::MAX };
        // The outermost container counts, whether its path tells or its runtime had to.
        if let Some((own, key)) = self.claims.outermost(path).filter(|(own, _)| own.len() <= shaped)
            && let Some(entry) = self.containers.get_mut(&key)
        {
            entry.moved_in(id, own.len() == path.len());
            return Some(Resident::Container(key));
        }
        let told = matches!(&place, Place::Container(place) if self.is_told(&place.key()));
        if !told {
            self.nameless.made(path, &place);
        }
        let other = |kind, name: &str, user| {
            let mut workload = Workload { user, ..Workload::named(kind, clean(name, NAME_LIMIT)) };
            workload.runtime = (kind == WorkloadKind::Unit).then_some(Runtime::Systemd);
            Resident::Other(Arc::new(workload))
        };
        Some(match place {
            Place::Container(place) => {
                let key = place.key();
                let entry = self.entry(&key, place.id)?;
                entry.seen(place.runtime, place.sure);
                entry.moved_in(id, place.own.len() == path.len());
                Resident::Container(key)
            }
            Place::Unit(name) => other(WorkloadKind::Unit, name, None),
            Place::UserUnit(user, name) => {
                other(WorkloadKind::Unit, &format!("user-{user}/{name}"), Some(user))
            }
            Place::Unclaimed => other(WorkloadKind::Cgroup, path, None),
            Place::Host => Resident::Other(Arc::clone(&self.host)),
        })
    }

    fn entry(&mut self, key: &Arc<str>, id: &str) -> Option<&mut Entry> {
        if self.containers.len() >= LIMIT && !self.containers.contains_key(key) {
            self.overflow += 1;
            return None;
        }
        Some(self.containers.entry(Arc::clone(key)).or_insert_with(|| Entry::new(id, user_of(key))))
    }

    /// A runtime says that this is a container's cgroup: whoever was thought to live there does not.
    fn claim(&mut self, key: &Arc<str>, own: &str) {
        if !self.claims.insert(own, key) {
            return;
        }
        let inside = |cgroup: &Cgroup| Claims::covers(own, &cgroup.path);
        let found = self.cgroups.iter().filter(|(_, cgroup)| inside(cgroup) && cgroup.life != Life::Departed);
        let found: Vec<_> = found.map(|(id, cgroup)| (*id, Arc::clone(&cgroup.path))).collect();
        for (id, path) in found {
            let Some(cgroup) = self.cgroups.get_mut(&id) else { continue };
            // Containers whose paths tell were there before anybody claimed what is around them.
            if matches!(cgroup.resident, Resident::Container(_)) {
                continue;
            }
            cgroup.resident = Resident::Container(Arc::clone(key));
            let live = cgroup.life == Life::Live;
            if let Some(entry) = self.containers.get_mut(key) {
                entry.moved_in(id, *path == *own);
                entry.live_cgroups -= usize::from(!live);
            }
        }
    }

    /// A cgroup was removed. It keeps its name until [`Self::drop_gone`].
    pub(super) fn removed(&mut self, id: CgroupId) {
        let Some(cgroup) = self.cgroups.get_mut(&id).filter(|cgroup| cgroup.life == Life::Live) else {
            return;
        };
        cgroup.life = Life::Gone;
        if let Resident::Container(key) = &cgroup.resident
            && let Some(entry) = self.containers.get_mut(key)
        {
            entry.live_cgroups -= 1;
            if entry.cgroup() == Some(id) {
                entry.shown.cgroup_id = None;
            }
        }
    }

    /// A walk did not find this cgroup: searching again would not either.
    pub(super) fn not_found(&mut self, id: CgroupId) {
        if !self.cgroups.contains_key(&id) && self.cgroups.len() < LIMIT {
            self.cgroups
                .insert(id, Cgroup { path: "".into(), resident: Resident::Nobody, life: Life::Departed });
            self.depart(id);
        }
    }

    /// The cgroups that are containers' own and not yet gone.
    pub(super) fn containers_own(&self) -> impl Iterator<Item = CgroupId> {
        self.containers.values().filter_map(Entry::cgroup)
    }

    /// The own cgroup of the container that a cgroup belongs to.
    pub(super) fn container_of(&self, id: CgroupId) -> Option<CgroupId> {
        let Resident::Container(key) = &self.cgroups.get(&id)?.resident else { return None };
        self.containers.get(key)?.cgroup()
    }

    pub(super) fn is_live(&self, id: CgroupId) -> bool {
        id == CgroupId::ROOT || self.cgroups.get(&id).is_some_and(|cgroup| cgroup.life == Life::Live)
    }

    pub(super) fn live(&self) -> HashSet<CgroupId> {
        self.in_state(Life::Live).collect()
    }

    pub(super) fn gone(&self) -> Vec<CgroupId> {
        self.in_state(Life::Gone).collect()
    }

    fn in_state(&self, life: Life) -> impl Iterator<Item = CgroupId> {
        self.cgroups.iter().filter(move |(_, cgroup)| cgroup.life == life).map(|(id, _)| *id)
    }

    pub(super) fn drop_gone(&mut self, ids: &[CgroupId]) {
        for id in ids {
            if let Some(cgroup) = self.cgroups.get_mut(id).filter(|cgroup| cgroup.life == Life::Gone) {
                cgroup.life = Life::Departed;
                self.depart(*id);
            }
        }
    }

    fn depart(&mut self, id: CgroupId) {
        self.departed.push_back(id);
        if self.departed.len() <= DEPARTED_LIMIT {
            return;
        }
        let Some(oldest) = self.departed.pop_front() else { return };
        // One that nobody knew and that turned up after all is alive and stays.
        let Some(cgroup) = self.cgroups.get(&oldest).filter(|cgroup| cgroup.life == Life::Departed) else {
            return;
        };
        if let Resident::Container(key) = &cgroup.resident {
            let key = Arc::clone(key);
            if let Some(entry) = self.containers.get_mut(&key) {
                entry.cgroups -= 1;
            }
            self.clear_away(&key);
        }
        self.cgroups.remove(&oldest);
    }

    /// Removes a container that neither a runtime nor a cgroup refers to.
    fn clear_away(&mut self, key: &Arc<str>) {
        let Some(entry) = self.containers.get(key).filter(|entry| entry.cgroups == 0 && !entry.known())
        else {
            return;
        };
        if let Some(path) = &entry.cgroup_path {
            self.claims.remove(path, key);
        }
        self.containers.remove(key);
        self.names.forget(key);
    }

    /// A runtime told about a container. What it may not tell ([`super::entry`]) changes nothing.
    pub(super) fn learn(&mut self, source: &Source, facts: ContainerFacts) {
        let id = clean(&facts.id, NAME_LIMIT);
        let key = source.key(&facts.id);
        let cgroup_path = facts.cgroup_path.clone();
        let Some(entry) = self.entry(&key, &id) else { return };
        if !entry.may_tell(source) {
            tracing::debug!(id, runtime = %source.runtime, "another runtime told about this container already");
            return;
        }
        let old = entry.shown.addresses.clone();
        let cut = entry.merge(source, facts);
        let Container { workload, addresses: new, ports, .. } = entry.shown.clone();
        // A user could list any number.
        if source.user.is_none() {
            self.ports.note(&key, workload, ports);
        }
        self.labels_cut += cut;
        self.share_pod_labels(&key);
        if old != new {
            self.addresses.moved(&key, &old, &new);
        }
        // Most paths tell by themselves.
        let tells = |path: &str| matches!(identify(path), Place::Container(place) if place.key() == key);
        let told = cgroup_path.filter(|own| source.user.is_none() && Claims::allowed(own) && !tells(own));
        if let Some(own) = told {
            let own: Arc<str> = own.into();
            let before =
                self.containers.get_mut(&key).and_then(|entry| entry.cgroup_path.replace(Arc::clone(&own)));
            if let Some(before) = before.filter(|before| *before != own) {
                self.claims.remove(&before, &key);
            }
            self.claim(&key, &own);
        }
        if source.voice == Voice::Disk {
            // Its cgroup may have been dropped while the disk was read.
            self.clear_away(&key);
        }
    }

    /// A runtime does not know a container any more. Nothing changes when it is not who told about it.
    pub(super) fn forget(&mut self, source: &Source, id: &str) {
        self.forget_key(source, &source.key(id));
    }

    fn forget_key(&mut self, source: &Source, key: &Arc<str>) {
        let Some(entry) = self.containers.get_mut(key).filter(|entry| entry.belongs_to(source)) else {
            return;
        };
        let addresses = std::mem::take(&mut entry.shown.addresses);
        entry.forgotten = true;
        self.addresses.moved(key, &addresses, &[]);
        self.clear_away(key);
    }

    /// Forgets all containers that `source` told about, except `known`.
    pub(super) fn retain(&mut self, source: &Source, known: &HashSet<String>) {
        let known: HashSet<Arc<str>> = known.iter().map(|id| source.key(id)).collect();
        let told = self.containers.iter().filter(|(_, entry)| entry.belongs_to(source) && !entry.forgotten);
        let lost: Vec<_> = told.map(|(key, _)| Arc::clone(key)).filter(|key| !known.contains(key)).collect();
        for key in lost {
            self.forget_key(source, &key);
        }
    }

    /// Whether `source` told about a container.
    pub(super) fn belongs_to(&self, source: &Source, id: &str) -> bool {
        self.containers.get(&source.key(id)).is_some_and(|entry| entry.belongs_to(source))
    }

    /// Whether anybody told about a container.
    pub(super) fn is_told(&self, key: &str) -> bool {
        self.containers.get(key).is_some_and(Entry::is_told)
    }

    /// Who lives in a cgroup; `None` when nothing was ever heard of it.
    pub(super) fn resident(&self, id: CgroupId) -> Option<Arc<Workload>> {
        if id == CgroupId::ROOT {
            return Some(Arc::clone(&self.host));
        }
        Some(match &self.cgroups.get(&id)?.resident {
            Resident::Container(key) => Arc::clone(&self.containers.get(key)?.shown.workload),
            Resident::Other(workload) => Arc::clone(workload),
            Resident::Nobody => Arc::clone(&self.unknown),
        })
    }

    pub(super) fn path(&self, id: CgroupId) -> Option<Arc<str>> {
        self.cgroups.get(&id).map(|cgroup| Arc::clone(&cgroup.path)).filter(|path| !path.is_empty())
    }

    /// Cgroups that exist and are nobody's.
    pub(super) fn unclaimed(&self) -> u64 {
        let nobodys = |cgroup: &&Cgroup| {
            cgroup.life == Life::Live
                && matches!(&cgroup.resident, Resident::Other(workload) if workload.kind == WorkloadKind::Cgroup)
        };
        self.cgroups.values().filter(nobodys).count() as u64
    }

    pub(super) fn unknown(&self) -> Arc<Workload> {
        Arc::clone(&self.unknown)
    }

    /// Containers that a runtime knows or that run, by name.
    pub(super) fn containers(&self) -> Vec<Container> {
        let known = self.containers.values().filter(|entry| entry.live_cgroups > 0 || entry.known());
        let mut containers: Vec<_> = known
            .map(|entry| {
                let mut shown = entry.shown.clone();
                if !entry.known() {
                    shown.state = ContainerState::Running;
                }
                shown
            })
            .collect();
        containers.sort_by(|left, right| left.workload.cmp(&right.workload));
        containers
    }
}
