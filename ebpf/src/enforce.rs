//! What a policy makes of packets: those of a flow as the flow was judged, all others one by one.
//!
//! What happens once per flow, or for a denied packet, is a *global* function: the verifier looks at it once, and not on
//! each of the many ways that lead to it.
//!
//! Fail direction: as in [`crate::policy`].

use aya_ebpf::{bindings::__sk_buff, programs::SkBuffContext};
use cofferdam_common::{
    case::{Case, Party},
    ids::{Address, CgroupId},
    network::{Flow, VERDICT_AUDIT, VERDICT_DENY, VERDICT_HOLD, flag, service_port},
    policy::{Judgement, layer, service},
    stats::failure,
};

use crate::{
    atomic::compare_exchange,
    budget::{account, introduce},
    emit::{count_failure, monotonic_time},
    flow::{find, remove},
    ledger,
    packet::{Packet, is_by_hand, is_kernels},
    policy::{generation, judge_by, judge_forged, or_by_name, owner_of_socket, packed, unpacked},
    translation::forget_sender,
    verdict::{self, Attempt, deny, report},
};

/// Whether one more packet of a flow may pass. What a generation said holds until there is another.
#[inline(always)]
pub(crate) fn passes(context: &SkBuffContext, packet: &Packet, egress: bool, flow: &mut Flow) -> bool {
    let generation = generation();
    if generation == 0 {
        if flow.generation != 0 {
            flow.generation = 0;
            flow.judgement = Judgement::ALLOW;
        }
        return true;
    }
    if let Some(how) = of_stranger(context, packet, egress, flow) {
        return passes_alone(context, packet, how);
    }
    if flow.generation == generation && flow.judgement.verdict < VERDICT_DENY {
        return true;
    }
    if flow.generation != generation {
        judge_flow(context.skb.skb, packet, flow, egress.into());
        if flow.judgement.is_for_lack_of_a_rule() {
            name_flow(packet, flow);
        }
        if flow.judgement.verdict == VERDICT_AUDIT
            && flow.flags & flag::DECIDED != 0
            && flow.audited != flow.audit()
        {
            audit_flow(packet, flow, egress.into());
        }
    }
    if flow.judgement.passes() {
        return true;
    }
    if flow.judgement.verdict == VERDICT_HOLD {
        // Asked again with the next packet.
        flow.generation = 0;
        count_failure(failure::HELD);
        return false;
    }
    if ends_it(packet, flow) {
        return true;
    }
    deny_packet(packet, flow, egress.into());
    if flow.flags & flag::DECIDED == 0 {
        if flow.flags & (flag::SHADOW | flag::ADOPTED) == 0 {
            // It never was one.
            forget_sender(&packet.key, flow);
            remove(&packet.key);
        } else {
            // Kept to be cut. Asked again with the next packet, when more may be known of its ends.
            flow.generation = 0;
        }
    }
    false
}

/// How a packet is judged of which the flow does not speak, because another socket sends or receives it than the flow's.
#[inline(always)]
fn of_stranger(context: &SkBuffContext, packet: &Packet, egress: bool, flow: &Flow) -> Option<u32> {
    if !egress {
        // A connection does not outlive its end, and several may listen for the answer to a ping.
        if packet.is_tcp() || packet.is_echo() {
            return None;
        }
        // Whoever has come to the address of another gets what may come to himself.
        let receiver = receiver(packet, flow);
        return (receiver != packet.cgroup && receiver != CgroupId::NONE).then_some(INGRESS);
    }
    let sender = sender(packet, flow);
    // The kernel answers pings for others.
    if sender == packet.cgroup || is_kernels(context) {
        return None;
    }
    // A connection is its socket's: whoever else sends there forges it.
    Some(if packet.is_tcp() && sender != CgroupId::NONE { FORGED } else { EGRESS })
}

/// Whose packet a flow says that this is, where it has its socket here.
#[inline(always)]
pub(crate) fn sender(packet: &Packet, flow: &Flow) -> CgroupId {
    let (client, server) = parties(flow);
    if packet.is_from_client(flow) { client } else { server }
}

/// Whether a packet of a connection that is denied tells the other end that it is over, and nothing else. So the other end
/// learns of it when an open connection is cut.
#[inline(always)]
fn ends_it(packet: &Packet, flow: &Flow) -> bool {
    packet.is_reset()
        && packet.payload == 0
        && flow.flags & (flag::OPENED | flag::SHADOW | flag::ADOPTED) != 0
}

/// Whom a flow says that a packet is for.
#[inline(always)]
fn receiver(packet: &Packet, flow: &Flow) -> CgroupId {
    let (client, server) = parties(flow);
    let from_client = packet.is_from_client(flow);
    if from_client { server } else { client }
}

/// Judges a flow by the generation in force. Whoever is denied is to pay for what is told of it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_flow(
    context: *mut __sk_buff,
    packet: *const Packet,
    flow: *mut Flow,
    egress: u32,
) -> u32 {
    // SAFETY: the verifier has both checked for null, and knows their sizes.
    let (Some(packet), Some(flow)) = (unsafe { (packet.as_ref(), flow.as_mut()) }) else { return 0 };
    let generation = generation();
    let from_client = packet.is_from_client(flow);
    let target_is_local = flow.flags & flag::SERVER_IS_LOCAL != 0;
    let owner = owner_of_socket(&SkBuffContext::new(context), packet.cgroup);
    // Not where the kernel answers in another's place.
    if from_client == (egress != 0) {
        if packet.cgroup == flow.client {
            flow.client_owner = owner;
        }
    } else if target_is_local && packet.cgroup == flow.server {
        flow.server_owner = owner;
    }
    flow.judgement = judge_by(&Case::of_flow(&packet.key, flow), generation);
    flow.generation = generation;
    if !flow.judgement.passes() {
        introduce(&SkBuffContext::new(context), packet.cgroup);
    }
    0
}

/// Judges a flow by the name of its target.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn name_flow(packet: *const Packet, flow: *mut Flow) -> u32 {
    // SAFETY: as in `judge_flow`.
    let (Some(packet), Some(flow)) = (unsafe { (packet.as_ref(), flow.as_mut()) }) else { return 0 };
    let (client, server) = packet.key.ends(flow.flags);
    let (owner, target, port) = if flow.flags & flag::BEGUN_BY_SERVER == 0 {
        (flow.client_owner, server.0, service_port(server))
    } else {
        (flow.server_owner, client.0, client.1)
    };
    let service = service(packet.key.protocol, port);
    flow.judgement = unpacked(or_by_name(owner.0, target, service, packed(flow.judgement)));
    0
}

/// Counts and reports a packet of a flow that is denied.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn deny_packet(packet: *const Packet, flow: *const Flow, egress: u32) -> u32 {
    // SAFETY: as in `judge_flow`.
    let (Some(packet), Some(flow)) = (unsafe { (packet.as_ref(), flow.as_ref()) }) else { return 0 };
    deny(&attempt(packet, at(egress != 0), ends(packet, flow), flow.judgement));
    0
}

/// Counts and reports a flow that would be denied, and was not when it began, or by another rule.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn audit_flow(packet: *const Packet, flow: *mut Flow, egress: u32) -> u32 {
    // SAFETY: as in `judge_flow`.
    let (Some(packet), Some(flow)) = (unsafe { (packet.as_ref(), flow.as_mut()) }) else { return 0 };
    let (before, now) = (flow.audited, flow.audit());
    if before == now || compare_exchange(&mut flow.audited, before, now) != before {
        // The other end's hook was first.
        return 0;
    }
    let attempt = attempt(packet, at(egress != 0), ends(packet, flow), flow.judgement);
    let row = verdict::row(&attempt);
    ledger::count_again(row, flow.has_opened());
    report(&attempt, row, monotonic_time());
    0
}

/// Reports a flow that would be denied. It is counted where all flows are.
#[inline(always)]
pub(crate) fn tell(packet: &Packet, egress: bool, flow: &Flow) {
    report_flow(packet, flow, egress.into());
}

/// [`tell`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn report_flow(packet: *const Packet, flow: *const Flow, egress: u32) -> u32 {
    // SAFETY: as in `judge_flow`.
    let (Some(packet), Some(flow)) = (unsafe { (packet.as_ref(), flow.as_ref()) }) else { return 0 };
    report(&attempt(packet, at(egress != 0), ends(packet, flow), flow.judgement), flow.row, monotonic_time());
    0
}

/// Where a packet is judged alone: at its receiver's socket; at its sender's; there, where it pretends to be of a
/// connection that is another socket's.
pub(crate) const INGRESS: u32 = 0;
pub(crate) const EGRESS: u32 = 1;
pub(crate) const FORGED: u32 = 2;

/// Whether a packet may pass that belongs to no flow, or not to the flow that it says.
#[inline(always)]
pub(crate) fn passes_alone(context: &SkBuffContext, packet: &Packet, how: u32) -> bool {
    if generation() == 0 || packet.is_empty() && !is_by_hand(context) {
        return true;
    }
    let mut judgement = judge_alone(context.skb.skb, packet, how);
    if how == EGRESS && unpacked(judgement).is_for_lack_of_a_rule() {
        let owner = owner_of_socket(context, packet.cgroup);
        judgement = name_alone(packet, owner.0, judgement);
    }
    if unpacked(judgement).passes() {
        return true;
    }
    tell_alone(packet, judgement, at(how != INGRESS).into());
    false
}

/// Judges a packet. Whoever is denied is to pay for what is told of it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn judge_alone(context: *mut __sk_buff, packet: *const Packet, how: u32) -> u64 {
    // SAFETY: as in `judge_flow`.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let (generation, none) = (generation(), CgroupId::NONE);
    let (source, target) = packet.ends();
    let service = service(packet.key.protocol, service_port(target));
    let judgement = if how == FORGED {
        judge_forged(generation, service)
    } else {
        let egress = how == EGRESS;
        let owner = owner_of_socket(&SkBuffContext::new(context), packet.cgroup);
        let source = Party { owner: if egress { owner } else { none }, address: *source.0 };
        let target = Party { owner: if egress { none } else { owner }, address: *target.0 };
        judge_by(&Case { source, target, service }, generation)
    };
    if !judgement.passes() {
        introduce(&SkBuffContext::new(context), packet.cgroup);
    }
    packed(judgement)
}

/// Judges what `owner` sends by the name of its target.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn name_alone(packet: *const Packet, owner: u64, judgement: u64) -> u64 {
    // SAFETY: as in `judge_flow`.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return judgement };
    let (_, target) = packet.ends();
    or_by_name(owner, target.0, service(packet.key.protocol, service_port(target)), judgement)
}

/// Counts a packet that may not pass, or not unnoticed, and reports it unless it is to be sent again.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn tell_alone(packet: *const Packet, judgement: u64, layer: u32) -> u32 {
    // SAFETY: as in `judge_flow`.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let judgement = unpacked(judgement);
    if judgement.verdict == VERDICT_HOLD {
        count_failure(failure::HELD);
        return 0;
    }
    let (here, none) = (packet.cgroup, CgroupId::NONE);
    let (from, to) = if layer == u32::from(layer::INGRESS) { (none, here) } else { (here, none) };
    let (source, target) = packet.ends();
    deny(&attempt(packet, layer as u8, ((from, source), (to, target)), judgement));
    0
}

/// [`tell_alone`], of a frame that answers what its target has begun: who that is, is told as the source. Apart, for the stack
/// is small.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn tell_answer(packet: *const Packet, judgement: u64) -> u32 {
    // SAFETY: as in `judge_flow`.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let judgement = unpacked(judgement);
    if judgement.verdict == VERDICT_HOLD {
        count_failure(failure::HELD);
        return 0;
    }
    let (sender, asker) = packet.ends();
    let ends = ((CgroupId::NONE, asker), (packet.cgroup, sender));
    deny(&attempt(packet, layer::LINK, ends, judgement));
    0
}

/// Whether a copy may pass that a raw socket gets of a packet to another socket.
#[inline(never)]
pub(crate) fn copy_passes(context: &SkBuffContext, packet: &Packet) -> bool {
    let generation = generation();
    if generation == 0 {
        return true;
    }
    match find(&packet.key) {
        Some(flow) if flow.generation == generation => flow.judgement.passes(),
        _ => passes_alone(context, packet, INGRESS),
    }
}

/// At which socket a packet is.
#[inline(always)]
fn at(egress: bool) -> u8 {
    if egress { layer::EGRESS } else { layer::INGRESS }
}

/// The cgroups of client and server.
#[inline(always)]
fn parties(flow: &Flow) -> (CgroupId, CgroupId) {
    let server = if flow.flags & flag::SERVER_IS_LOCAL != 0 { flow.server } else { CgroupId::NONE };
    (flow.client, server)
}

/// One end of what is told: whose it is, and where.
type End<'a> = (CgroupId, (&'a Address, u16));

/// Who began a flow, and with whom, whichever of them sends this packet.
#[inline(always)]
fn ends<'a>(packet: &'a Packet, flow: &Flow) -> (End<'a>, End<'a>) {
    let ((client, server), (client_at, server_at)) = (parties(flow), packet.key.ends(flow.flags));
    let (client, server) = ((client, client_at), (server, server_at));
    if flow.flags & flag::BEGUN_BY_SERVER == 0 { (client, server) } else { (server, client) }
}

#[inline(always)]
fn attempt<'a>(
    packet: &Packet,
    layer: u8,
    (source, target): (End<'a>, End<'a>),
    judgement: Judgement,
) -> Attempt<'a> {
    Attempt {
        source: source.0,
        target: target.0,
        source_address: source.1.0,
        target_address: target.1.0,
        source_port: source.1.1,
        port: service_port(target.1),
        protocol: packet.key.protocol,
        layer,
        judgement,
        here: packet.cgroup,
        payer: account(if source.0 == CgroupId::NONE { packet.cgroup } else { source.0 }),
    }
}
