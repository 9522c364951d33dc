//! Which open connections the policies in force deny: of those that send something the kernel says so, of all others it is
//! decided here in the same way ([`Case::judge`]).

use std::net::{IpAddr, Ipv6Addr};

use cofferdam_common::{
    case::{Case, Names, Places},
    ids::{Address, CgroupId},
    network::{Flow, FlowKey, PROTOCOL_TCP, VERDICT_DENY, flag},
    policy::{EGRESS, Identity, Judgement, judge, why},
};

use super::Sync;
use crate::{
    policy::Plan,
    sensor::policy::{PolicyMaps, Slot},
};

impl Sync {
    /// Whether a flow is an open TCP connection that the policies in force deny. Not where that is so only because it is
    /// not known yet who somebody is.
    #[must_use]
    pub fn denies(&self, key: &FlowKey, flow: &Flow) -> bool {
        let open = key.protocol == PROTOCOL_TCP && (flow.has_opened() || flow.flags & flag::SHADOW != 0);
        let Some(plan) = self.plan.as_ref().filter(|_| open) else { return false };
        let judgement = if flow.generation == self.generation() {
            flow.judgement
        } else {
            let slot = self.maps.slot();
            Case::of_flow(key, flow).judge_whole(&InForce { plan, maps: &self.maps, slot })
        };
        judgement.verdict == VERDICT_DENY && judgement.why != why::UNRESOLVED
    }
}

/// What the kernel has in the slot that is in use.
struct InForce<'a> {
    plan: &'a Plan,
    maps: &'a PolicyMaps,
    slot: Slot,
}

impl Places for InForce<'_> {
    fn owner_of_address(&self, address: &Address) -> Option<CgroupId> {
        self.maps.owner_of_address(address)
    }

    fn identity(&self, owner: CgroupId) -> Identity {
        let resident = self.maps.resident(owner);
        resident.map_or(Identity::UNRESOLVED, |resident| resident.identities[usize::from(self.slot)])
    }

    fn outside(&self, address: &Address) -> Identity {
        let address = IpAddr::V6(Ipv6Addr::from(address.0)).to_canonical();
        self.plan.identity_of_address(address)
    }

    fn judge_end(&self, direction: u8, subject: Identity, peer: Identity, service: u32) -> Judgement {
        judge(self.plan, self.slot, direction, subject, peer, service)
    }
}

impl Names for InForce<'_> {
    fn judge_names(&self, owner: CgroupId, address: &Address, from: Identity, service: u32) -> Judgement {
        let names = self.maps.names_of(owner, address).into_iter();
        let peers = names.filter_map(|id| self.plan.identity_of_pattern(id));
        peers.fold(Judgement::NAMELESS, |judgement, peer| {
            judgement.or(self.judge_end(EGRESS, from, peer, service))
        })
    }
}
