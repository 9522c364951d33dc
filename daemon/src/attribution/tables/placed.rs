//! Who lives where, for policies.

use std::{collections::HashMap, ffi::OsStr, path::Path, sync::Arc};

use cofferdam_common::{
    ids::{Address, CgroupId},
    policy::LEVELS,
};
use procfs::{ProcResult, process::Process};

use super::{Cgroup, Life, Resident, Tables};
use crate::{
    attribution::{container::PublishedPort, entry::Entry, home::Home},
    event::{Runtime, Workload},
};

/// A cgroup that exists, and who lives there.
pub struct Placed {
    /// Which cgroup.
    pub cgroup: CgroupId,
    /// Who lives there.
    pub workload: Arc<Workload>,
    /// The own cgroup of the container that it is of: itself, or one above it. Of all others the cgroup itself.
    pub home: CgroupId,
    /// Whether it is a container's own: whatever lies below is the container's too.
    pub own: bool,
    /// Whether all is known of it that rules can ask for. Of a container its runtime, or what that left on disk, must
    /// have told.
    pub told: bool,
}

/// A container that runs, by which its network is found.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Networked {
    /// Its own cgroup.
    pub cgroup: CgroupId,
    /// Its first process.
    pub pid: u32,
    /// What it is called.
    pub name: Arc<str>,
}

impl Networked {
    /// Whether there is any interface in its network namespace besides the loopback device. Where that cannot be told it is
    /// taken for granted. Reads from procfs.
    #[must_use]
    pub fn has_network(&self) -> bool {
        let process = i32::try_from(self.pid).ok().and_then(|pid| Process::new(pid).ok());
        let interfaces = process.and_then(|process| process.dev_status().ok());
        interfaces.is_none_or(|interfaces| interfaces.keys().any(|name| name != "lo"))
    }

    /// Whether it uses the host's network; not where that cannot be told. Reads from procfs.
    #[must_use]
    pub fn is_on_hosts_network(&self) -> bool {
        let network = |process: ProcResult<Process>| {
            let namespaces = process.and_then(|process| process.namespaces()).ok()?;
            namespaces.0.get(OsStr::new("net")).map(|namespace| namespace.identifier)
        };
        let own = i32::try_from(self.pid).ok().and_then(|pid| network(Process::new(pid)));
        own.is_some() && own == network(Process::myself())
    }
}

impl Tables {
    /// Every container that runs and has a cgroup.
    pub(in super::super) fn networked(&self) -> Vec<Networked> {
        let running = self.containers.values().filter(|entry| entry.is_told());
        let networked = running.filter_map(|entry| {
            let (cgroup, pid) = (entry.cgroup()?, entry.shown.pid?);
            Some(Networked { cgroup, pid, name: entry.shown.workload.name.as_str().into() })
        });
        networked.collect()
    }

    /// Containers of which it is not known yet by which process their network is found, and what they are called. `root` is where
    /// the tree is mounted.
    pub(in super::super) fn untold(&self, root: &Path) -> Vec<(Home, Arc<str>)> {
        let untold = self.containers.values().filter(|entry| !entry.is_told() || entry.shown.pid.is_none());
        let home = |entry: &Entry| {
            Some((self.home(entry.cgroup()?, root)?, entry.shown.workload.name.as_str().into()))
        };
        untold.filter_map(home).collect()
    }

    /// Where the processes are of whoever lives in a cgroup. `root` is where the tree is mounted.
    pub(in super::super) fn home(&self, cgroup: CgroupId, root: &Path) -> Option<Home> {
        if cgroup == CgroupId::ROOT {
            return Some(Home { cgroup, directory: root.to_owned(), whole: false });
        }
        let cgroup = self.container_of(cgroup).unwrap_or(cgroup);
        let directory = root.join(self.path(cgroup)?.trim_start_matches('/'));
        Some(Home { cgroup, directory, whole: true })
    }

    /// Every cgroup that exists and that the kernel needs to know, the root among them: what lies below a container's own cgroup
    /// it finds by that, and takes for the container itself. `may_tell` says of which runtime, and of which user, the API may
    /// yet tell.
    pub(in super::super) fn placed(&self, may_tell: impl Fn(Runtime, Option<u32>) -> bool) -> Vec<Placed> {
        let other = |cgroup, workload: &Arc<Workload>| Placed {
            cgroup,
            workload: Arc::clone(workload),
            home: cgroup,
            own: false,
            told: true,
        };
        let host = other(CgroupId::ROOT, &self.host);
        let live = self.cgroups.iter().filter(|(_, cgroup)| cgroup.life == Life::Live);
        let placed = live.filter_map(|(id, cgroup)| {
            Some(match &cgroup.resident {
                Resident::Container(key) => {
                    let entry = self.containers.get(key)?;
                    if entry.cgroup().is_some_and(|own| self.speaks_for(own, &cgroup.path)) {
                        return None;
                    }
                    Placed {
                        cgroup: *id,
                        workload: Arc::clone(&entry.shown.workload),
                        home: entry.cgroup().unwrap_or(*id),
                        own: entry.cgroup() == Some(*id),
                        told: entry.is_told_whole(&may_tell),
                    }
                }
                Resident::Other(workload) => other(*id, workload),
                Resident::Nobody => return None,
            })
        });
        std::iter::once(host).chain(placed).collect()
    }

    /// Whether the kernel finds a container by this cgroup, its own, for what lives at `path`, below it.
    fn speaks_for(&self, own: CgroupId, path: &str) -> bool {
        let lives = |cgroup: &&Cgroup| cgroup.life == Life::Live;
        let levels = |own: &str| own.split('/').filter(|name| !name.is_empty()).count();
        let is_below = |own: &str| path.strip_prefix(own).is_some_and(|rest| rest.starts_with('/'));
        let own = self.cgroups.get(&own).filter(lives);
        own.is_some_and(|own| is_below(&own.path) && levels(&own.path) < LEVELS)
    }

    /// Ports of the host that lead to containers, and behind them those that led to some that are gone.
    pub(in super::super) fn published(&self) -> Vec<(Arc<Workload>, PublishedPort)> {
        let of = |entry: &Entry| {
            let shown = &entry.shown;
            shown.ports.iter().map(|port| (Arc::clone(&shown.workload), *port)).collect::<Vec<_>>()
        };
        let here = self.containers.values().flat_map(of);
        let has_none =
            |key: &Arc<str>| self.containers.get(key).is_none_or(|entry| entry.shown.ports.is_empty());
        here.chain(self.ports.of_gone(has_none)).collect()
    }

    /// Whose address each of this host's is: a container's by its own cgroup; the root's where it is the host's, or where
    /// several may share it, so that only a socket can tell.
    pub(in super::super) fn owners_of_addresses(&self) -> HashMap<Address, CgroupId> {
        let shared = |key: &Arc<str>| {
            let entry = self.containers.get(key)?;
            // The containers of a pod share one network.
            if entry.shown.workload.kubernetes.is_some() { None } else { entry.cgroup() }
        };
        let host = self.addresses.of_host().map(|address| (Address::from(address), CgroupId::ROOT));
        let containers = self.addresses.of_containers();
        let containers =
            containers.map(|(address, key)| (Address::from(address), shared(key).unwrap_or(CgroupId::ROOT)));
        // Should somebody else have such an address, it is his.
        self.addresses_of_canaries().chain(host).chain(containers).collect()
    }
}
