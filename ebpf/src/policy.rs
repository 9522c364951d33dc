//! Decides: the one reader of the policy maps. May the two ends of a flow, or of a single packet, interact?
//!
//! How that is decided is in `common`, for the daemon decides in the same way. A decision is made once per flow and
//! generation, and kept with the flow.
//!
//! Fail direction: deny, where a policy selects one of the parties and the other cannot be told. Where no policy is in
//! force nothing is looked up at all.

use core::mem;

use aya_ebpf::{bindings::__sk_buff, maps::lpm_trie::Key, programs::SkBuffContext};
use cofferdam_common::{
    case::{Case, Places},
    ids::{Address, CgroupId},
    name::{NamedKey, PatternId},
    network::VERDICT_HOLD,
    policy::{
        EGRESS, Identity, Interval, Judgement, NETWORK_KEY_BITS, NetworkKey, PairKey, RULE_NONE, Span,
        Subject, Tables, judge, service, why,
    },
};

use crate::{
    ancestors,
    maps::{
        ADDRESSES, GENERATION, INTERVALS, NAMED, NETWORKS, PAIRS, PATTERN_IDENTITIES, RESIDENTS, SUBJECTS,
    },
    offsets::KernelPointer,
    packet::PROTOCOL_RESERVED,
};

/// The generation in force; zero while there is none.
#[inline(always)]
pub(crate) fn generation() -> u32 {
    GENERATION.get(0).copied().unwrap_or(0)
}

/// The maps of policies, of which one slot is in use.
struct Kernel {
    slot: u8,
}

impl Tables for Kernel {
    #[inline(always)]
    fn subject(&self, slot: u8, identity: Identity) -> Option<Subject> {
        SUBJECTS.get(identity.0 * 2 + u32::from(slot)).copied()
    }

    #[inline(always)]
    fn pair(&self, key: &PairKey) -> Option<Span> {
        // SAFETY: copied at once. Entries of the slot in use are added, but never changed.
        unsafe { PAIRS.get(key) }.copied()
    }

    #[inline(always)]
    fn interval(&self, slot: u8, index: u32) -> Option<Interval> {
        INTERVALS.get(index * 2 + u32::from(slot)).copied()
    }
}

impl Places for Kernel {
    #[inline(always)]
    fn owner_of_address(&self, address: &Address) -> Option<CgroupId> {
        owner_of_address(address)
    }

    #[inline(always)]
    fn identity(&self, owner: CgroupId) -> Identity {
        identity(self.slot, owner)
    }

    #[inline(always)]
    fn outside(&self, address: &Address) -> Identity {
        outside(self.slot, address)
    }

    #[inline(always)]
    fn judge_end(&self, direction: u8, subject: Identity, peer: Identity, service: u32) -> Judgement {
        judge_end(self.slot, direction, subject, peer, service)
    }
}

/// What a generation says of a case.
#[inline(always)]
pub(crate) fn judge_by(case: &Case, generation: u32) -> Judgement {
    let judgement = case.judge(&Kernel { slot: (generation & 1) as u8 });
    if self::generation() == generation { judgement } else { CHANGED }
}

/// What holds for one end towards another.
#[inline(always)]
fn judge_end(slot: u8, direction: u8, subject: Identity, peer: Identity, service: u32) -> Judgement {
    unpacked(look_up(slot.into(), direction.into(), subject.0, peer.0, service))
}

/// [`judge_end`]. Global, so that the verifier looks at it once and not on each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_up(slot: u32, direction: u32, subject: u32, peer: u32, service: u32) -> u64 {
    // Whatever the verifier takes for possible, there are no more.
    let (slot, direction) = ((slot & 1) as u8, (direction & 1) as u8);
    packed(judge(&Kernel { slot }, slot, direction, Identity(subject), Identity(peer), service))
}

/// What names make of a judgement on what `owner` sends to an address, as `Case::judge_whole` of cofferdam-common says. A
/// function of its own, for the stack is small.
///
/// Fail direction: deny, where no name is known.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn or_by_name(
    owner: u64,
    address: *const Address,
    service: u32,
    judgement: u64,
) -> u64 {
    // SAFETY: the verifier has it checked for null, and knows its size.
    let Some(address) = (unsafe { address.as_ref() }) else { return judgement };
    // One copy for all that is looked up: the stack would not do for a case.
    let key = NamedKey { owner: CgroupId(owner), address: *address };
    let here =
        key.address.is_loopback() || key.address.is_unspecified() || owner_of_address(&key.address).is_some();
    if here || key.owner == CgroupId::NONE {
        return judgement;
    }
    let (generation, mut judgement) = (generation(), unpacked(judgement));
    let slot = (generation & 1) as u8;
    let from = identity(slot, key.owner);
    // SAFETY: read in place; each pattern is written in one piece.
    if let Some(named) = unsafe { NAMED.get(&key) } {
        for held in &named.held {
            judgement = judgement.or(judge_name(slot, from, held.pattern, service));
        }
    }
    packed(if self::generation() == generation { judgement } else { CHANGED })
}

/// What holds for who was told an address under a pattern.
#[inline(always)]
fn judge_name(slot: u8, from: Identity, pattern: PatternId, service: u32) -> Judgement {
    // SAFETY: copied at once.
    let Some([one, two]) = (unsafe { PATTERN_IDENTITIES.get(pattern) }).copied() else {
        return Judgement::NAMELESS;
    };
    let peer = if slot == 0 { one } else { two };
    // Of the other slot's policies.
    if peer == Identity::UNRESOLVED {
        return Judgement::NAMELESS;
    }
    judge_end(slot, EGRESS, from, peer, service)
}

/// A judgement, for a register: global functions take and return nothing else.
#[inline(always)]
pub(crate) fn packed(judgement: Judgement) -> u64 {
    // SAFETY: plain bytes, as many.
    unsafe { mem::transmute::<Judgement, u64>(judgement) }
}

/// The judgement that [`packed`] has packed.
#[inline(always)]
pub(crate) fn unpacked(judgement: u64) -> Judgement {
    // SAFETY: plain bytes, as many.
    unsafe { mem::transmute::<u64, Judgement>(judgement) }
}

/// What holds for what pretends to be another's.
#[inline(always)]
pub(crate) fn judge_forged(generation: u32, service: u32) -> Judgement {
    judge_end((generation & 1) as u8, EGRESS, Identity::FORGED, Identity::NOBODY, service)
}

/// What holds for what `owner` sends, where nobody can read what it is or for whom; nothing is said against it where each of
/// his frames is judged at a link of his own. A function of its own: the verifier looks at it once.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn judge_unread(owner: u64) -> u64 {
    let (owner, generation) = (CgroupId(owner), generation());
    if generation == 0 {
        return packed(Judgement::ALLOW);
    }
    // SAFETY: copied at once.
    let resident = unsafe { RESIDENTS.get(owner) }.copied();
    if resident.is_some_and(|resident| resident.covered != 0) {
        return packed(Judgement::ALLOW);
    }
    let (slot, service) = ((generation & 1) as u8, service(PROTOCOL_RESERVED, 0));
    let judgement = judge_end(slot, EGRESS, identity(slot, owner), Identity::NOBODY, service);
    packed(if self::generation() == generation { judgement } else { CHANGED })
}

/// The generation changed meanwhile: what was found may be of both. What is sent again is judged again.
const CHANGED: Judgement =
    Judgement { rule: RULE_NONE, verdict: VERDICT_HOLD, why: why::UNRESOLVED, direction: EGRESS, padding: 0 };

/// Whose an address is of this host: a container's by its cgroup, or the root's where several may share it.
#[inline(always)]
pub(crate) fn owner_of_address(address: &Address) -> Option<CgroupId> {
    // SAFETY: copied at once, in one piece.
    unsafe { ADDRESSES.get(address) }.copied()
}

/// Fail direction: as the policy says of workloads that are not resolved.
#[inline(always)]
fn identity(slot: u8, owner: CgroupId) -> Identity {
    // SAFETY: copied at once. The number of the slot in use is written before anybody can need it.
    let resident = unsafe { RESIDENTS.get(owner) }.copied();
    resident.map_or(Identity::UNRESOLVED, |resident| {
        if slot == 0 { resident.identities[0] } else { resident.identities[1] }
    })
}

#[inline(always)]
fn outside(slot: u8, address: &Address) -> Identity {
    let data = NetworkKey { slot: u32::from(slot).to_be_bytes(), address: address.0 };
    NETWORKS.get(Key::new(NETWORK_KEY_BITS + 128, data)).copied().unwrap_or(Identity::NOBODY)
}

/// Whose identity the socket of a packet has: its own cgroup's, or that of the container that this lies below.
#[inline(always)]
pub(crate) fn owner_of_socket(context: &SkBuffContext, cgroup: CgroupId) -> CgroupId {
    CgroupId(owner_below(context.skb.skb, cgroup.0))
}

/// [`owner_of_socket`]. Global, so that the verifier looks at it once and not on each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn owner_below(context: *mut __sk_buff, cgroup: u64) -> u64 {
    let cgroup = CgroupId(cgroup);
    if is_known(cgroup) {
        return cgroup.0;
    }
    ancestors::of_socket(&SkBuffContext::new(context), cgroup, owner).unwrap_or(cgroup).0
}

/// Whose identity a cgroup has that a structure of the kernel's points to.
#[inline(never)]
pub(crate) fn owner_at(pointer: KernelPointer, cgroup: CgroupId) -> CgroupId {
    if is_known(cgroup) {
        return cgroup;
    }
    ancestors::of_cgroup(pointer, cgroup, owner).unwrap_or(cgroup)
}

/// Whose identity the current task has.
#[inline(never)]
pub(crate) fn owner_of_task(cgroup: CgroupId) -> CgroupId {
    if is_known(cgroup) {
        return cgroup;
    }
    ancestors::of_current(cgroup, owner).unwrap_or(cgroup)
}

#[inline(always)]
fn is_known(cgroup: CgroupId) -> bool {
    // SAFETY: only asked whether it is there.
    cgroup == CgroupId::NONE || unsafe { RESIDENTS.get(cgroup) }.is_some()
}

/// A cgroup that has all below it as well.
#[inline(always)]
fn owner(cgroup: CgroupId) -> Option<CgroupId> {
    // SAFETY: read at once.
    let resident = unsafe { RESIDENTS.get(cgroup) }?;
    (resident.owns_below != 0).then_some(cgroup)
}
