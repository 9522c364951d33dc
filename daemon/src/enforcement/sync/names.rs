//! DNS names: whose answers are believed, and what workloads were told. The kernel learns it first, from the answer
//! itself; here it is learned what it could not read, and what policies say of names that were told before they were there.

use std::{
    collections::{HashMap, HashSet, hash_map},
    net::IpAddr,
    sync::Arc,
};

use cofferdam_common::{
    ids::{Address, CgroupId},
    name::{HELD_LIMIT, NamedKey, PatternId, Resolver, can_be_told, valid_for},
    network::{Flow, FlowKey},
};

use super::Sync;
use crate::{
    attribution::{Placed, Told},
    config::Resolvers,
    event::Workload,
    policy::Plan,
    sensor::policy::{PolicyMaps, Slot},
};

/// Most addresses that are remembered with the names under which they were told.
const LIMIT: usize = 16_384;

/// What workloads were told, and until when that is valid (`CLOCK_MONOTONIC`, in nanoseconds).
#[derive(Default)]
pub(super) struct Heard {
    names: HashMap<NamedKey, Vec<(Arc<str>, u64)>>,
    /// What there was no room for, here or in the kernel.
    missed: u64,
}

impl Heard {
    fn add(&mut self, at: NamedKey, name: &Arc<str>, valid_until: u64) {
        let full = self.names.len() >= LIMIT;
        let names = match self.names.entry(at) {
            hash_map::Entry::Vacant(_) if full => {
                self.missed += 1;
                return;
            }
            entry => entry.or_default(),
        };
        names.retain(|(known, _)| known != name);
        names.push((Arc::clone(name), valid_until));
        // The latest count.
        if names.len() > HELD_LIMIT {
            names.remove(0);
        }
    }
}

impl Sync {
    /// Takes in what workloads were told by resolvers that are believed; `now` is monotonic time.
    pub fn hear(&mut self, told: &[Told], now: u64) {
        let Self { plan, maps, heard, .. } = self;
        for Told { owner, name, addresses, ttl } in told {
            let pattern = plan.as_ref().map_or(PatternId::NONE, |plan| plan.pattern_of(name));
            let valid_until = now + valid_for(*ttl);
            for address in addresses.iter().filter(|address| can_be_told(address)) {
                let at = NamedKey { owner: *owner, address: *address };
                heard.add(at, name, valid_until);
                heard.missed += missed(maps, at, pattern, valid_until);
            }
        }
    }

    /// Says whose answers are believed.
    ///
    /// # Errors
    /// There is no room for more, or the map cannot be written.
    pub fn believe(
        &mut self,
        resolvers: &Resolvers,
        addresses: &[IpAddr],
        placed: &[Placed],
    ) -> anyhow::Result<()> {
        let here = placed
            .iter()
            .filter(|placed| placed.told)
            .filter(|placed| resolvers.workloads().iter().any(|selector| selector.selects(&placed.workload)));
        let here = here.map(|placed| Resolver { owner: placed.cgroup, address: Address::NONE });
        let outside = addresses.iter().map(|it| Resolver { owner: CgroupId::NONE, address: (*it).into() });
        self.maps.set_resolvers(&here.chain(outside).collect())
    }

    /// Writes the names of a plan into a slot that is not in use, and finds in what was told before those that it speaks of.
    pub(super) fn write_names(&mut self, plan: &Plan, slot: Slot) -> anyhow::Result<()> {
        let wanted = plan.patterns().map(|(pattern, id, identity)| (pattern.key(slot), (id, identity)));
        self.maps.set_patterns(slot, &wanted.collect())?;
        let Self { maps, heard, .. } = self;
        for (at, names) in &heard.names {
            for (name, valid_until) in names {
                heard.missed += missed(maps, *at, plan.pattern_of(name), *valid_until);
            }
        }
        Ok(())
    }

    /// Under which names of the policies a workload knows an address.
    pub(in crate::enforcement) fn names_of(&self, workload: &Workload, address: IpAddr) -> Vec<String> {
        let Some(plan) = self.plan.as_ref().filter(|plan| plan.patterns().next().is_some()) else {
            return Vec::new();
        };
        let address = address.into();
        let homes = self.residents.iter().filter(|(_, known)| *known.workload == *workload);
        let ids: HashSet<_> = homes.flat_map(|(cgroup, _)| self.maps.names_of(*cgroup, &address)).collect();
        let mut names: Vec<_> =
            ids.into_iter().filter_map(|id| plan.pattern(id)).map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    /// Addresses that were told and are not valid any more, or whose asker is gone.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn stale_names(&mut self, now: u64) -> anyhow::Result<Vec<NamedKey>> {
        let judges = self.plan.is_some();
        // Nobody is known to be here while nothing is judged.
        let here = |owner: CgroupId| !judges || self.residents.contains_key(&owner);
        self.heard.names.retain(|at, names| {
            names.retain(|(_, valid_until)| *valid_until > now);
            !names.is_empty() && here(at.owner)
        });
        if judges { self.maps.stale_names(now, here) } else { Ok(Vec::new()) }
    }

    /// Forgets those of them that no flow uses.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn forget_names(
        &mut self,
        stale: &[NamedKey],
        flows: &HashMap<FlowKey, Flow>,
        now: u64,
    ) -> anyhow::Result<()> {
        let used: HashSet<NamedKey> = flows.iter().flat_map(|(key, flow)| uses(key, flow)).collect();
        for at in stale {
            let here = self.residents.contains_key(&at.owner);
            if !here || !used.contains(at) {
                self.maps.forget_name(at, now, here)?;
            }
        }
        Ok(())
    }

    /// How many names rules speak of, how many addresses with one there are, and how many there was no room for.
    #[must_use]
    pub fn names(&self) -> (usize, usize, u64) {
        let (patterns, addresses) = self.maps.count_of_names();
        (patterns, addresses, self.heard.missed)
    }
}

/// Has the kernel know an address under a pattern, if it is one. Returns 1 where there was no room.
fn missed(maps: &mut PolicyMaps, at: NamedKey, pattern: PatternId, valid_until: u64) -> u64 {
    u64::from(pattern != PatternId::NONE && maps.name(at, pattern, valid_until).is_err())
}

/// Whom the ends of a flow know.
fn uses(key: &FlowKey, flow: &Flow) -> [NamedKey; 2] {
    let (client, server) = key.ends(flow.flags);
    [
        NamedKey { owner: flow.client_owner, address: *server.0 },
        NamedKey { owner: flow.server_owner, address: *client.0 },
    ]
}
