//! The tables: cgroup -> who lives there, container -> what is known of it, address -> whose it is. No I/O, no locks.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use cofferdam_common::{
    ids::{Address, CgroupId},
    network::Party,
};

use super::{
    addresses::{self, Addresses, Owner},
    cgroup::{ContainerPlace, Place, identify},
    container::{Container, ContainerFacts, ContainerState, Entry},
    outside::Networks,
    text::{NAME_LIMIT, PATH_LIMIT, clean},
};
use crate::event::{Runtime, Workload, WorkloadKind};

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
    pub(super) addresses: Addresses,
    pub(super) outside: Networks,
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
            addresses: Addresses::default(),
            outside: Networks::default(),
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
        let resident = match identify(path) {
            Place::Container(place) => match self.moved_in(id, &place) {
                Some(key) => Resident::Container(key),
                None => return,
            },
            Place::Unit(name) => {
                let mut unit = Workload::named(WorkloadKind::Unit, clean(name, NAME_LIMIT));
                unit.runtime = Some(Runtime::Systemd);
                Resident::Other(Arc::new(unit))
            }
            Place::Host => Resident::Other(Arc::clone(&self.host)),
        };
        let path = clean(path, PATH_LIMIT).into();
        self.cgroups.insert(id, Cgroup { path, resident, life: Life::Live });
    }

    fn moved_in(&mut self, id: CgroupId, place: &ContainerPlace<'_>) -> Option<Arc<str>> {
        let key: Arc<str> = match place.user_slice {
            Some(slice) => format!("{slice}/{}", place.id).into(),
            None => place.id.into(),
        };
        let entry = self.entry(&key, place.runtime, place.id)?;
        entry.cgroups += 1;
        entry.live_cgroups += 1;
        if !place.nested {
            entry.shown.cgroup_id = Some(id.0);
        }
        Some(key)
    }

    fn entry(&mut self, key: &Arc<str>, runtime: Runtime, id: &str) -> Option<&mut Entry> {
        if self.containers.len() >= LIMIT && !self.containers.contains_key(key) {
            self.overflow += 1;
            return None;
        }
        Some(self.containers.entry(Arc::clone(key)).or_insert_with(|| Entry::new(runtime, id)))
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
        let unused = |entry: &Entry| entry.cgroups == 0 && (entry.forgotten || !entry.learned);
        if self.containers.get(key).is_some_and(unused) {
            self.containers.remove(key);
        }
    }

    /// A runtime of the system told about a container.
    pub(super) fn learn(&mut self, facts: ContainerFacts) {
        let key: Arc<str> = clean(&facts.id, NAME_LIMIT).into();
        let Some(entry) = self.entry(&key, facts.runtime, &key) else { return };
        let old = entry.shown.addresses.clone();
        let cut = entry.merge(facts);
        let new = entry.shown.addresses.clone();
        self.labels_cut += cut;
        if old != new {
            self.addresses.moved(&key, &old, &new);
        }
    }

    /// A runtime does not know a container any more.
    pub(super) fn forget(&mut self, id: &str) {
        let Some((key, entry)) = self.containers.get_key_value(id) else { return };
        let (key, addresses) = (Arc::clone(key), entry.shown.addresses.clone());
        self.addresses.moved(&key, &addresses, &[]);
        if let Some(entry) = self.containers.get_mut(&key) {
            entry.forgotten = true;
            entry.shown.addresses.clear();
        }
        self.clear_away(&key);
    }

    /// Forgets all containers that `runtime` told about, except `known`.
    pub(super) fn retain(&mut self, runtime: Runtime, known: &HashSet<String>) {
        let lost: Vec<_> = self
            .containers
            .iter()
            .filter(|(key, entry)| {
                entry.learned && entry.shown.workload.runtime == Some(runtime) && !known.contains(&***key)
            })
            .map(|(key, _)| Arc::clone(key))
            .collect();
        for key in lost {
            self.forget(&key);
        }
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

    /// Whose end of a flow this is; `None` when it is a cgroup that nothing was ever heard of.
    pub(super) fn party(&self, party: &Party) -> Option<Arc<Workload>> {
        match party.cgroup {
            CgroupId::OTHER => Some(Arc::clone(&self.other)),
            CgroupId::NONE if party.address == Address::NONE => Some(Arc::clone(&self.unknown)),
            CgroupId::NONE => {
                let address = addresses::address(party.address);
                let outside = || {
                    self.outside.name(address).unwrap_or_else(|| {
                        Arc::new(Workload::named(WorkloadKind::Outside, address.to_string()))
                    })
                };
                Some(match self.addresses.owner(address) {
                    Owner::Container(key) => self
                        .containers
                        .get(&key)
                        .map_or_else(outside, |container| Arc::clone(&container.shown.workload)),
                    Owner::Host => Arc::clone(&self.host),
                    Owner::Outside => outside(),
                })
            }
            cgroup => self.resident(cgroup),
        }
    }

    pub(super) fn unknown(&self) -> Arc<Workload> {
        Arc::clone(&self.unknown)
    }

    /// Containers that a runtime knows or that run, by name.
    pub(super) fn containers(&self) -> Vec<Container> {
        let known = self
            .containers
            .values()
            .filter(|entry| entry.live_cgroups > 0 || (entry.learned && !entry.forgotten));
        let mut containers: Vec<_> = known
            .map(|entry| {
                let mut shown = entry.shown.clone();
                if !entry.learned {
                    shown.state = ContainerState::Running;
                }
                shown
            })
            .collect();
        containers.sort_by(|left, right| left.workload.cmp(&right.workload));
        containers
    }
}
