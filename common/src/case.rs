//! Who the two ends of an interaction are, and what the policies say of them. It runs in the kernel, and in the daemon
//! wherever that has to say what the kernel would.
//!
//! Who a party is, its socket's cgroup says; only where there is none its address does.

use crate::{
    ids::{Address, CgroupId},
    network::{Flow, FlowKey, flag, is_echo, service_port},
    policy::{EGRESS, INGRESS, Identity, Judgement, service},
};

/// One end of an interaction, as far as it is known.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Party {
    /// Whose identity it has, or [`CgroupId::NONE`] where no socket is known.
    pub owner: CgroupId,
    /// Its address.
    pub address: Address,
}

/// Whose a party is.
#[derive(Clone, Copy)]
enum Whose {
    /// A cgroup's.
    Cgroup(CgroupId),
    /// Of this host, and its socket will tell whose.
    Open,
    /// Nobody's of this host.
    Outside,
}

/// Who a party is.
#[derive(Clone, Copy)]
enum Who {
    /// A workload of this host.
    Here(Identity),
    /// A peer outside.
    Outside(Identity),
    /// It is of this host, and its socket will tell who.
    Open,
}

/// Where it is looked up who somebody is and what he may, by one generation of the policies.
pub trait Places {
    /// Whose an address is of this host: a container's by its cgroup, or the root's where several may share it.
    fn owner_of_address(&self, address: &Address) -> Option<CgroupId>;
    /// The identity of whoever lives in a cgroup; [`Identity::UNRESOLVED`] where nobody is known there.
    fn identity(&self, owner: CgroupId) -> Identity;
    /// The identity of a peer outside.
    fn outside(&self, address: &Address) -> Identity;
    /// What holds for one end towards another: see [`crate::policy::judge`].
    fn judge_end(&self, direction: u8, subject: Identity, peer: Identity, service: u32) -> Judgement;
}

/// Where it is looked up under which names somebody was told an address.
pub trait Names: Places {
    /// Who has an address outside, by each name under which `owner` was told it.
    fn by_name(&self, owner: CgroupId, address: &Address) -> impl Iterator<Item = Identity>;
}

impl Party {
    /// By its socket, or else by its address, unless that may be several's.
    #[inline(always)]
    fn whose(&self, places: &impl Places) -> Whose {
        if self.owner != CgroupId::NONE {
            return Whose::Cgroup(self.owner);
        }
        if self.address.is_loopback() || self.address.is_unspecified() {
            return Whose::Open;
        }
        match places.owner_of_address(&self.address) {
            Some(CgroupId::ROOT) => Whose::Open,
            Some(cgroup) => Whose::Cgroup(cgroup),
            None => Whose::Outside,
        }
    }
}

/// What is to be judged.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Who sends.
    pub source: Party,
    /// To whom.
    pub target: Party,
    /// The target's.
    pub service: u32,
}

impl Case {
    /// What a flow is as a case: who began it sends.
    #[inline(always)]
    #[must_use]
    pub fn of_flow(key: &FlowKey, flow: &Flow) -> Self {
        let target_is_local = flow.flags & flag::SERVER_IS_LOCAL != 0;
        let (client, server) = key.ends(flow.flags);
        let client_owner = if flow.client == CgroupId::NONE { CgroupId::NONE } else { flow.client_owner };
        let server_owner = if target_is_local { flow.server_owner } else { CgroupId::NONE };
        let one = Party { owner: client_owner, address: *client.0 };
        let two = Party { owner: server_owner, address: *server.0 };
        let (source, target, port) = if flow.flags & flag::BEGUN_BY_SERVER == 0 {
            (one, two, service_port(server))
        } else {
            (two, one, client.1)
        };
        Self { source, target, service: service(key.protocol, port) }
    }

    /// What the policies say of it, by who the two are, and by names where nothing allows it. In the kernel two functions
    /// do so, one after the other, for there is little room at once.
    pub fn judge_whole(&self, places: &impl Names) -> Judgement {
        let judgement = self.judge(places);
        let (Whose::Cgroup(owner), Whose::Outside) = (self.source.whose(places), self.target.whose(places))
        else {
            return judgement;
        };
        let from = places.identity(owner);
        let by_name = places.by_name(owner, &self.target.address);
        judgement.or_by_names(by_name.map(|to| places.judge_end(EGRESS, from, to, self.service)))
    }

    /// What the policies say of it by who the two are.
    ///
    /// A target whose address is this host's own, or a loopback address, is judged where the packet arrives; what the
    /// sender may ping there is what `any` may be.
    #[inline(always)]
    pub fn judge(&self, places: &impl Places) -> Judgement {
        let Self { source, target, service } = self;
        let whose = target.whose(places);
        if source.owner != CgroupId::NONE && matches!(whose, Whose::Cgroup(owner) if owner == source.owner) {
            // No policy comes between a workload and itself.
            return Judgement::ALLOW;
        }
        let (from, to) = (who(places, source, source.whose(places)), who(places, target, whose));
        let mut judgement = Judgement::ALLOW;
        // Where several share an address the kernel answers an echo, and no socket will tell whom it is for.
        let to_whom = match to {
            Who::Here(to) | Who::Outside(to) => Some(to),
            Who::Open => is_echo((*service >> 16) as u8).then_some(Identity::NOBODY),
        };
        if let (Who::Here(from), Some(to)) = (from, to_whom) {
            judgement = places.judge_end(EGRESS, from, to, *service);
        }
        if let Who::Here(to) = to {
            let from = match from {
                Who::Here(from) | Who::Outside(from) => from,
                // A sender of this host whose socket nobody saw: a frame that no socket owns, or a translated source.
                Who::Open => Identity::NOBODY,
            };
            judgement = judgement.and(places.judge_end(INGRESS, to, from, *service));
        }
        judgement
    }
}

#[inline(always)]
fn who(places: &impl Places, party: &Party, whose: Whose) -> Who {
    match whose {
        Whose::Cgroup(cgroup) => Who::Here(places.identity(cgroup)),
        Whose::Open => Who::Open,
        Whose::Outside => Who::Outside(places.outside(&party.address)),
    }
}
