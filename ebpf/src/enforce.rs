//! What a policy makes of packets: those of a flow as the flow was judged, all others one by one.
//!
//! What happens once per flow, or for a denied packet, is a *global* function: the verifier looks at it once, and not on
//! each of the many ways that lead to it.
//!
//! Fail direction: as in [`crate::policy`].

use core::mem;

use aya_ebpf::{bindings::__sk_buff, programs::SkBuffContext};
use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{Flow, VERDICT_AUDIT, VERDICT_DENY, VERDICT_HOLD, flag},
    policy::{Judgement, layer, service},
    stats::failure,
};

use crate::{
    budget::account,
    emit::{count_failure, monotonic_time},
    flow::{find, remove, service_port},
    packet::{Packet, is_kernels},
    policy::{Case, Party, generation, owner_of_socket},
    translation::forget_sender,
    verdict::{Attempt, deny, report},
};

/// Whether one more packet of a flow may pass. What a generation said holds until there is another.
#[inline(always)]
pub(crate) fn passes(context: &SkBuffContext, packet: &Packet, egress: bool, flow: &mut Flow) -> bool {
    let generation = generation();
    if flow.generation == generation && flow.judgement.verdict < VERDICT_DENY {
        if generation == 0 || (!egress && (packet.is_tcp() || packet.is_echo())) {
            return true;
        }
        // Whoever has come to the address of another gets what may come to himself. A connection does not outlive its end,
        // and several may listen for the answer to a ping.
        if !egress {
            let receiver = receiver(packet, flow);
            return receiver == packet.cgroup
                || receiver == CgroupId::NONE
                || passes_alone(context, packet, false);
        }
        // Whoever forges the addresses of another's flow is judged for himself. The kernel answers pings for others.
        let from_client = packet.is_from_client(flow);
        let sender = if from_client { flow.client } else { flow.server };
        return sender == packet.cgroup || is_kernels(context) || passes_alone(context, packet, true);
    }
    if generation == 0 {
        flow.generation = 0;
        flow.judgement = Judgement::ALLOW;
        return true;
    }
    if flow.generation != generation {
        judge_flow(context.skb.skb, packet, flow, egress.into());
        if flow.judgement.verdict == VERDICT_AUDIT && flow.flags & flag::DECIDED != 0 {
            tell(packet, egress, flow);
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
    deny_packet(packet, flow, egress.into());
    if flow.flags & flag::DECIDED == 0 {
        // It never was one.
        forget_sender(&packet.key, flow);
        remove(&packet.key);
    }
    false
}

/// Whom a flow says that a packet is for.
#[inline(always)]
fn receiver(packet: &Packet, flow: &Flow) -> CgroupId {
    let (client, server) = parties(flow);
    let from_client = packet.is_from_client(flow);
    if from_client { server } else { client }
}

/// Judges a flow by the generation in force.
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
    if from_client == (egress != 0) {
        flow.client_owner = owner;
    } else if target_is_local {
        flow.server_owner = owner;
    }
    let (client, server) = packet.key.ends(flow.flags);
    let client_owner = if flow.client == CgroupId::NONE { CgroupId::NONE } else { flow.client_owner };
    let server_owner = if target_is_local { flow.server_owner } else { CgroupId::NONE };
    let one = Party { owner: client_owner, address: *client.0 };
    let two = Party { owner: server_owner, address: *server.0 };
    let (source, target, port) = if flow.flags & flag::BEGUN_BY_SERVER == 0 {
        (one, two, service_port(server))
    } else {
        (two, one, client.1)
    };
    let case = Case { source, target, service: service(packet.key.protocol, port), generation };
    flow.judgement = case.judge();
    flow.generation = generation;
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

/// Whether a packet may pass that belongs to no flow, or not to the flow that it says.
#[inline(always)]
pub(crate) fn passes_alone(context: &SkBuffContext, packet: &Packet, egress: bool) -> bool {
    // Nothing is in it that anybody could read.
    let empty = packet.is_tcp() && packet.payload == 0 && !packet.is_syn();
    if generation() == 0 || empty {
        return true;
    }
    let judgement = judge_alone(context.skb.skb, packet, egress.into());
    if unpacked(judgement).passes() {
        return true;
    }
    tell_alone(packet, judgement, at(egress).into());
    false
}

/// Judges a packet.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn judge_alone(context: *mut __sk_buff, packet: *const Packet, egress: u32) -> u64 {
    // SAFETY: as in `judge_flow`.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let (egress, none) = (egress != 0, CgroupId::NONE);
    let owner = owner_of_socket(&SkBuffContext::new(context), packet.cgroup);
    let (source, target) = packet.ends();
    let case = Case {
        source: Party { owner: if egress { owner } else { none }, address: *source.0 },
        target: Party { owner: if egress { none } else { owner }, address: *target.0 },
        service: service(packet.key.protocol, service_port(target)),
        generation: generation(),
    };
    // SAFETY: plain bytes, as many.
    unsafe { mem::transmute::<Judgement, u64>(case.judge()) }
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

/// A judgement that went through a register, as global functions return nothing else.
#[inline(always)]
pub(crate) fn unpacked(judgement: u64) -> Judgement {
    // SAFETY: plain bytes, as many.
    unsafe { mem::transmute::<u64, Judgement>(judgement) }
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
        _ => passes_alone(context, packet, false),
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
