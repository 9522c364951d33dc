//! The daemon's own two workloads, which it tells of itself. Nothing else makes a cgroup one of theirs.

use std::{net::IpAddr, sync::Arc};

use cofferdam_common::ids::{Address, CgroupId};

use super::{Cgroup, Life, Networked, Resident, Tables};
use crate::event::{Workload, WorkloadKind};

/// One of the daemon's own workloads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Canary {
    /// What it is called.
    pub name: &'static str,
    /// Its cgroup, with nothing below.
    pub cgroup: CgroupId,
    /// Its process, once it has a network.
    pub pid: Option<u32>,
    /// Its addresses, by which others know that it is it.
    pub addresses: Vec<IpAddr>,
}

/// Those that there are now, and the cgroups of all that there have been.
#[derive(Default)]
pub(super) struct Canaries {
    now: Vec<Canary>,
    ever: Vec<CgroupId>,
}

/// How many cgroups are remembered: the ledger may still have rows of them.
const REMEMBERED: usize = 64;

impl Tables {
    /// These are the daemon's own, and no others.
    pub(in super::super) fn set_canaries(&mut self, canaries: Vec<Canary>) {
        for Canary { name, cgroup, .. } in &canaries {
            if !self.canaries.ever.contains(cgroup) {
                self.canaries.ever.push(*cgroup);
                let excess = self.canaries.ever.len().saturating_sub(REMEMBERED);
                self.canaries.ever.drain(..excess);
            }
            // Its path was taken for that of the daemon's own unit, if it was seen.
            let path = self.cgroups.get(cgroup).map_or_else(|| "".into(), |known| Arc::clone(&known.path));
            let workload = Arc::new(Workload::named(WorkloadKind::Canary, *name));
            let resident = Resident::Other(workload);
            self.cgroups.insert(*cgroup, Cgroup { path, resident, life: Life::Live });
        }
        self.canaries.now = canaries;
    }

    /// Whether a cgroup is, or was, one of the daemon's own.
    pub(in super::super) fn is_canary(&self, cgroup: CgroupId) -> bool {
        self.canaries.ever.contains(&cgroup)
    }

    /// The daemon's own, by which their links are found.
    pub(in super::super) fn networked_canaries(&self) -> Vec<Networked> {
        let networked = |canary: &Canary| {
            Some(Networked { cgroup: canary.cgroup, pid: canary.pid?, name: canary.name.into() })
        };
        self.canaries.now.iter().filter_map(networked).collect()
    }

    /// Whose their addresses are.
    pub(super) fn addresses_of_canaries(&self) -> impl Iterator<Item = (Address, CgroupId)> {
        let of = |canary: &Canary| {
            let cgroup = canary.cgroup;
            let mapped = canary.addresses.iter().map(|address| Address::from(*address));
            mapped.map(move |address| (address, cgroup)).collect::<Vec<_>>()
        };
        self.canaries.now.iter().flat_map(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_the_daemons_own_when_the_daemon_says_so_whatever_its_path_says() {
        let mut tables = Tables::new();
        let (canary, other) = (CgroupId(7), CgroupId(8));
        tables.made(canary, "/system.slice/cofferdam.service/cofferdam-canary-sender");
        tables.made(other, "/system.slice/evil.service/cofferdam-canary-sender");
        let address: IpAddr = "169.254.255.241".parse().unwrap();
        let told = Canary {
            name: "cofferdam-canary-sender",
            cgroup: canary,
            pid: Some(1),
            addresses: vec![address],
        };
        tables.set_canaries(vec![told]);
        let kind = |tables: &Tables, cgroup| tables.resident(cgroup).unwrap().kind;
        assert_eq!(kind(&tables, canary), WorkloadKind::Canary);
        assert_eq!(kind(&tables, other), WorkloadKind::Unit);
        assert!(tables.placed(|_, _| true).iter().any(|it| it.cgroup == canary && it.told && !it.own));
        assert_eq!(tables.owners_of_addresses()[&Address::from(address)], canary);
        assert_eq!(tables.networked_canaries().len(), 1);
        assert!(tables.networked().is_empty());
        tables.set_canaries(Vec::new());
        assert!(tables.owners_of_addresses().is_empty() && tables.networked_canaries().is_empty());
        assert!(tables.is_canary(canary) && !tables.is_canary(other));
    }
}
