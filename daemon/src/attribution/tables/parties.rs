//! Who is at the ends of a flow, and under which names they looked each other up.

use std::{net::IpAddr, sync::Arc};

use cofferdam_common::{
    ids::{Address, CgroupId},
    network::Party,
};

use super::{
    super::{addresses::Owner, dns::Answer, scope},
    Resident, Tables,
};
use crate::event::{Workload, WorkloadKind};

impl Tables {
    /// Whose end of a flow this is, seen from the other end; `None` when it is a cgroup that nothing was ever heard of.
    pub(in super::super) fn party(&self, party: &Party, other_end: CgroupId) -> Option<Arc<Workload>> {
        match party.cgroup {
            CgroupId::OTHER => Some(Arc::clone(&self.other)),
            CgroupId::NONE if party.address == Address::NONE => Some(Arc::clone(&self.unknown)),
            CgroupId::NONE => {
                let address = IpAddr::from(party.address);
                let outside = || {
                    self.outside
                        .name(address)
                        .unwrap_or_else(|| Arc::new(self.by_address(address, other_end)))
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

    /// A peer outside that has no name of its own: it goes by its address, and has the name under which the other end
    /// looked it up.
    fn by_address(&self, address: IpAddr, other_end: CgroupId) -> Workload {
        let name = self.keeper_of_names(other_end).and_then(|keeper| self.names.of(keeper, address));
        Workload {
            dns_name: name.map(str::to_owned),
            scope: Some(scope::of(address)),
            ..Workload::named(WorkloadKind::Outside, address.to_string())
        }
    }

    /// A cgroup was told that `name` has these addresses; `now` is boot time.
    pub(in super::super) fn looked_up(&mut self, by: CgroupId, answer: &Answer, now: u64) {
        if let Some(keeper) = self.keeper_of_names(by).map(str::to_owned) {
            self.names.learn(&keeper, &answer.name, &answer.addresses, answer.ttl, now);
        }
    }

    /// Under which key the names are kept that a cgroup was told: a container has them as a whole. Keys of containers
    /// look like no unit's name.
    fn keeper_of_names(&self, id: CgroupId) -> Option<&str> {
        if id == CgroupId::ROOT {
            return Some(&self.host.name);
        }
        match &self.cgroups.get(&id)?.resident {
            Resident::Container(key) => Some(key),
            Resident::Other(workload) => Some(&workload.name),
            Resident::Nobody => None,
        }
    }
}
