//! Family policy: the host's end of a container's virtual Ethernet link (veth), which each of its frames passes, also
//! those that no socket of the IP stack sends: of AF_PACKET, of TUN devices, of what the container forwards, with
//! whatever source address.
//!
//! What a flow says that was judged at its sender's socket holds here as well. All other frames are judged one by one, as
//! the container's.
//!
//! Fail direction: deny, where a policy selects one of the ends. A frame that is not IP is judged as one of protocol 255 to
//! all nodes. ARP as the kernel sends it passes, as does what else the kernel itself sends.

use aya_ebpf::{
    macros::classifier,
    programs::{SkBuffContext, TcContext},
};
use cofferdam_common::{
    case::{Case, Party},
    ids::{Address, CgroupId},
    network::{Flow, VERDICT_ALLOW, flag, service_port},
    policy::{Judgement, layer, service},
};

use crate::{
    budget::introduce,
    emit::{coarse_time, count_failure},
    enforce::{name_alone, tell_alone, tell_answer},
    flow::find,
    maps::{LINKS, WAYS},
    packet::{AT_LINK, FOLLOWED, Packet, is_by_hand, is_kernels},
    policy::{generation, judge_by, judge_forged, owner_of_address, owner_of_socket, packed, unpacked},
};

/// `TCX_NEXT`, which is `TC_ACT_UNSPEC` for older kernels: what else is attached decides.
const PASS: i32 = -1;
/// `TCX_DROP`, `TC_ACT_SHOT`.
const DROP: i32 = 2;

/// As it stands in `__sk_buff.protocol` (network order).
const ARP: u32 = 0x0806_u16.to_be() as u32;
/// An ARP packet in the shortest frame of Ethernet.
const ARP_FRAME: u32 = 60;

/// After so many nanoseconds without a frame it is forgotten who began: as of flows (`sensor/sweep.rs` of the daemon).
const DATAGRAM_IDLE: u64 = 30_000_000_000;
const TCP_IDLE: u64 = 6 * 3_600_000_000_000;

const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_PACKET: u32 = 17;

/// Who began, where no flow tells.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// When a frame passed last, in nanoseconds of the coarse monotonic clock.
    seen: u64,
    /// 1 for the low end.
    began_low: u32,
    /// By which link to a container whoever began reaches somebody outside, or [`NO_LINK`].
    link: u32,
}

/// No link has this number.
const NO_LINK: u32 = 0;

/// kernel: static __always_inline enum tcx_action_base tcx_run(const struct bpf_mprog_entry *entry, struct sk_buff *skb,
/// const bool needs_mac); before 6.6 cls_bpf_classify(). The container sends.
#[classifier]
pub(crate) fn veth_ingress(context: TcContext) -> i32 {
    let context = SkBuffContext::new(context.skb.skb);
    if from_container(&context) { PASS } else { DROP }
}

/// As above. The container receives.
#[classifier]
pub(crate) fn veth_egress(context: TcContext) -> i32 {
    let context = SkBuffContext::new(context.skb.skb);
    if to_container(&context) { PASS } else { DROP }
}

#[inline(always)]
fn from_container(context: &SkBuffContext) -> bool {
    if generation() == 0 {
        return true;
    }
    // SAFETY: copied at once.
    let container = unsafe { LINKS.get(link(context)) }.copied().unwrap_or(CgroupId::UNKNOWN);
    // Behind it is no container.
    if container == CgroupId::NONE {
        return true;
    }
    if is_kernels_arp(context) {
        return true;
    }
    match Packet::read(context, AT_LINK) {
        Ok(mut packet) => may_leave(context, &mut packet, container),
        Err(reason) => no_packet(reason),
    }
}

/// Whether a frame may pass that comes from a container.
#[inline(always)]
fn may_leave(context: &SkBuffContext, packet: &mut Packet, container: CgroupId) -> bool {
    let owner = if packet.cgroup == CgroupId::NONE {
        packet.cgroup = container;
        container
    } else {
        owner_of_socket(context, packet.cgroup)
    };
    if packet.unfollowed != FOLLOWED {
        // A socket's datagram was judged in whole.
        if is_kernels(context) || packet.is_fragment() && is_of(context, &[AF_INET, AF_INET6]) {
            return true;
        }
    } else if is_of_flow(packet, owner) {
        return true;
    }
    // What the kernel itself answers has a socket of nobody's.
    let owner = if owner == CgroupId::ROOT { container } else { owner };
    frame_passes(context, packet, owner)
}

#[inline(always)]
fn to_container(context: &SkBuffContext) -> bool {
    if generation() == 0 {
        return true;
    }
    match Packet::read(context, AT_LINK) {
        Ok(packet) => may_enter(context, &packet),
        Err(reason) => no_packet(reason),
    }
}

/// Whether a frame may pass that goes to a container.
#[inline(always)]
fn may_enter(context: &SkBuffContext, packet: &Packet) -> bool {
    // Of all that comes to a container this alone has passed no hook of its sender, should he share the host's network.
    if is_of(context, &[AF_PACKET]) {
        let owner = owner_of_socket(context, packet.cgroup);
        return frame_passes(context, packet, owner);
    }
    if packet.unfollowed == FOLLOWED {
        match find(&packet.key) {
            None => note_way(packet, NO_LINK),
            // The way to somebody outside leads through this container: it brings his answers.
            Some(flow) if flow.flags & flag::SERVER_IS_LOCAL == 0 && packet.is_from_client(flow) => {
                note_way(packet, link(context));
            }
            Some(_) => {}
        }
    }
    true
}

/// A frame that says it is IP and is too short for that.
#[inline(always)]
fn no_packet(reason: u32) -> bool {
    count_failure(reason);
    false
}

/// Whether a flow may pass that a frame belongs to, and is sent by whom it says.
#[inline(never)]
fn is_of_flow(packet: &Packet, owner: CgroupId) -> bool {
    let Some(flow) = find(&packet.key) else { return false };
    flow.generation == generation() && flow.judgement.passes() && owner_of_sender(packet, flow) == owner
}

/// Whose packet a flow says that this is.
#[inline(always)]
fn owner_of_sender(packet: &Packet, flow: &Flow) -> CgroupId {
    if packet.is_from_client(flow) { flow.client_owner } else { flow.server_owner }
}

/// Whether no socket has been seen yet of the end that sends this.
#[inline(always)]
fn is_unknown(packet: &Packet, flow: &Flow) -> bool {
    if packet.is_from_client(flow) {
        flow.client == CgroupId::NONE
    } else {
        flow.flags & flag::SERVER_IS_LOCAL == 0 || flow.server == CgroupId::NONE
    }
}

/// What a frame is that no socket's flow speaks for.
const BEGINS: u32 = 0;
const ANSWERS: u32 = 1;
/// It answers a flow that may pass.
const IS_AWAITED: u32 = 2;

/// Whether a frame that passes a link answers what the other end has begun.
#[inline(never)]
fn answers(packet: &Packet, link: u32) -> u32 {
    if let Some(flow) = find(&packet.key) {
        if packet.is_from_client(flow) == (flow.flags & flag::BEGUN_BY_SERVER == 0) {
            return BEGINS;
        }
        let passes = flow.generation == generation() && flow.judgement.passes();
        if !passes || !is_unknown(packet, flow) {
            return ANSWERS;
        }
        // An address that nobody here has, anybody can give out for his own.
        let brings =
            owner_of_address(&packet.source().0).is_some() || way(packet).is_some_and(|way| way.link == link);
        return if brings { IS_AWAITED } else { BEGINS };
    }
    if way(packet).is_some_and(|way| way.began_low != u32::from(packet.source_is_low)) {
        ANSWERS
    } else {
        BEGINS
    }
}

/// Whether a frame may pass that no flow speaks for.
#[inline(always)]
fn frame_passes(context: &SkBuffContext, packet: &Packet, owner: CgroupId) -> bool {
    // As the kernel makes it for a connection.
    if packet.is_empty() && is_of(context, &[AF_INET, AF_INET6]) && !is_by_hand(context) {
        return true;
    }
    let answers = answers(packet, link(context));
    let mut judgement = judge_frame(packet, owner.0, answers);
    if answers != ANSWERS && unpacked(judgement).is_for_lack_of_a_rule() {
        judgement = name_alone(packet, owner.0, judgement);
    }
    if unpacked(judgement).verdict != VERDICT_ALLOW {
        introduce(context, packet.cgroup);
        if answers == ANSWERS {
            tell_answer(packet, judgement);
        } else {
            tell_alone(packet, judgement, layer::LINK.into());
        }
    }
    if !unpacked(judgement).passes() {
        return false;
    }
    note_way(packet, NO_LINK);
    true
}

/// The link that a frame passes.
#[inline(always)]
fn link(context: &SkBuffContext) -> u32 {
    // SAFETY: the context is valid for the whole program.
    unsafe { (*context.skb.skb).ifindex }
}

/// Judges a frame.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_frame(packet: *const Packet, owner: u64, answers: u32) -> u64 {
    // SAFETY: the verifier has it checked for null, and knows its size.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let (owner, generation) = (CgroupId(owner), generation());
    let (source, target) = packet.ends();
    // Copies: for kernels before 6.2 what a global function was handed is no key of a map.
    let here = Party { owner, address: *source.0 };
    let there = Party { owner: CgroupId::NONE, address: *target.0 };
    let protocol = packet.key.protocol;
    let judgement = if is_forged(&here.address, &there.address, owner) {
        judge_forged(generation, service(protocol, target.1))
    } else if answers == IS_AWAITED {
        Judgement::ALLOW
    } else {
        let (source, target, port) = if answers == ANSWERS {
            (there, here, service_port(source))
        } else {
            (here, there, service_port(target))
        };
        judge_by(&Case { source, target, service: service(protocol, port) }, generation)
    };
    packed(judgement)
}

/// Whether the sender has not this address. Of one that nobody here has, that only matters where the target's rules will
/// go by it, for they cannot go by the sender.
#[inline(always)]
fn is_forged(source: &Address, target: &Address, owner: CgroupId) -> bool {
    match owner_of_address(source) {
        // Of those that share an address, only a socket can tell.
        Some(CgroupId::ROOT) => false,
        Some(other) => other != owner && owner != CgroupId::UNKNOWN,
        None if source.is_unspecified() || source.is_link_local() => false,
        None => owner_of_address(target) == Some(CgroupId::ROOT),
    }
}

/// Who began, until nothing was sent for long.
#[inline(always)]
fn way(packet: &Packet) -> Option<&'static mut Way> {
    let idle = if packet.is_tcp() { TCP_IDLE } else { DATAGRAM_IDLE };
    // SAFETY: the memory stays a `Way` until the program ends (RCU); each field is changed in one piece.
    let way = WAYS.get_ptr_mut(packet.key).map(|way| unsafe { &mut *way })?;
    (coarse_time().saturating_sub(way.seen) < idle).then_some(way)
}

/// Whoever was first stays, and so does the link that was last.
#[inline(never)]
fn note_way(packet: &Packet, link: u32) {
    if let Some(way) = way(packet) {
        way.seen = coarse_time();
        if link != NO_LINK {
            way.link = link;
        }
        return;
    }
    let new = Way { seen: coarse_time(), began_low: packet.source_is_low.into(), link };
    // Without it answers are judged as if they began something.
    let _ = WAYS.insert(packet.key, new, 0);
}

/// Whether the kernel asks for, or tells, the address of a neighbour.
#[inline(always)]
fn is_kernels_arp(context: &SkBuffContext) -> bool {
    // SAFETY: the context is valid for the whole program.
    let (protocol, socket) = unsafe { ((*context.skb.skb).protocol, (*context.skb.skb).__bindgen_anon_2.sk) };
    protocol == ARP && socket.is_null() && context.len() <= ARP_FRAME
}

/// Whether a socket of one of these families has sent it (include/linux/socket.h).
#[inline(always)]
fn is_of(context: &SkBuffContext, families: &[u32]) -> bool {
    // SAFETY: the context is valid for the whole program, and so is its socket where there is one.
    unsafe {
        let socket = (*context.skb.skb).__bindgen_anon_2.sk;
        !socket.is_null() && families.contains(&(*socket).family)
    }
}
