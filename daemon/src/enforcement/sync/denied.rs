//! Which open connections the policies in force deny: of those that send something the kernel says so, of all others it is
//! decided here in the same way ([`Case::judge`]).

use cofferdam_common::{
    case::{Case, Names, Places},
    ids::{Address, CgroupId},
    network::{Flow, FlowKey, PROTOCOL_TCP, VERDICT_DENY, flag},
    policy::{Identity, Judgement, judge, why},
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
        self.plan.identity_of_address((*address).into())
    }

    fn judge_end(&self, direction: u8, subject: Identity, peer: Identity, service: u32) -> Judgement {
        judge(self.plan, self.slot, direction, subject, peer, service)
    }
}

impl Names for InForce<'_> {
    fn by_name(&self, owner: CgroupId, address: &Address) -> impl Iterator<Item = Identity> {
        let patterns = self.maps.names_of(owner, address).into_iter();
        patterns.filter_map(|id| self.plan.identity_of_pattern(id))
    }
}
