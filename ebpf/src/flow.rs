//! Follows flows: who began, who answered, what passed, how it ended.
//!
//! Both ends of a flow between two local sockets pass through the hooks. The *server's* hooks count what passes,
//! because only they know both ends, also behind an address translation; the *client's* hooks count where the
//! server is no socket of this host. So nothing is counted twice.
//!
//! What most packets need is one function; what happens once per flow is a function of its own in the program
//! (`inline(never)`), for a call chain may use no more than 512 bytes of stack.

mod adopt;
mod begin;
mod decide;
mod told;

use core::arch::asm;

use aya_ebpf::{bindings::__sk_buff, programs::SkBuffContext};
use cofferdam_common::{
    ids::CgroupId,
    network::{Flow, FlowKey, Volume, end, flag},
    record::kind,
};

pub(crate) use self::told::report;
use self::{
    adopt::{is_adopted, listens},
    begin::{HAS_COME, begin, begins_anew, is_anothers, is_for_another, note_sender, pretends},
    decide::{decide, decide_and_tell},
};
use crate::{
    atomic::{add, set_bits},
    budget::introduce,
    dns,
    emit::coarse_time,
    enforce::{EGRESS, INGRESS, passes, passes_alone},
    ledger,
    maps::FLOWS,
    packet::Packet,
    translation::{follow_shadow, forget_sender, recognise_sender, rename_answer},
};

/// A datagram to a local socket arrives within microseconds. When the next one leaves this much later and the
/// first has arrived nowhere here, the target is outside.
const DECIDE_AFTER: u64 = 100_000_000;

/// At which end of the packet's way the hook runs.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Hook {
    /// At the sender's socket.
    Egress,
    /// At the receiver's socket.
    Ingress,
}

impl Hook {
    /// How a packet is judged there that is of no flow.
    #[inline(always)]
    pub(crate) fn alone(self) -> u32 {
        match self {
            Self::Egress => EGRESS,
            Self::Ingress => INGRESS,
        }
    }
}

/// One packet: whether it passes.
#[inline(always)]
pub(crate) fn observe(context: &SkBuffContext, packet: &mut Packet, hook: Hook) -> bool {
    if hook == Hook::Ingress && packet.is_multicast() {
        // One packet, many receivers: each has a flow of its own. What the group as such got is the sender's flow.
        packet.key.namespace = packet.cgroup.0;
    }
    let how = 'alone: {
        // The client of a flow that goes on with another server.
        let mut client = (CgroupId::NONE, CgroupId::NONE);
        if let Some(flow) = find(&packet.key) {
            if is_for_another(packet, hook, flow) {
                client = (flow.client, flow.client_owner);
            } else if !begins_anew(packet, hook, flow) && !is_anothers(context, packet, hook, flow) {
                return go_on(context, packet, hook, flow);
            } else if hook == Hook::Egress {
                let how = pretends(context.skb.skb, packet, flow);
                if how != HAS_COME {
                    break 'alone how;
                }
            }
            let end = flow.end_by_remains();
            close(&packet.key, flow, end);
        }
        if !packet.is_syn()
            && rename_answer(packet, hook == Hook::Egress)
            && let Some(flow) = find(&packet.key)
        {
            return go_on(context, packet, hook, flow);
        }
        let adopted = is_adopted(packet);
        let own_listens = adopted && listens(context.skb.skb, packet, (hook == Hook::Egress).into()) != 0;
        if (adopted || packet.is_syn() || (packet.begins && !packet.is_tcp()))
            && begin(packet, hook == Hook::Egress, own_listens)
            && let Some(flow) = find(&packet.key)
        {
            introduce(context, packet.cgroup);
            if client.0 != CgroupId::NONE {
                (flow.client, flow.client_owner) = client;
            }
            if hook == Hook::Egress && packet.is_from_client(flow) {
                note_sender(packet);
            }
            return go_on(context, packet, hook, flow);
        }
        hook.alone()
    };
    passes_alone(context, packet, how)
}

#[inline(always)]
pub(crate) fn find(key: &FlowKey) -> Option<&'static mut Flow> {
    // SAFETY: the memory stays a `Flow` until the program ends (RCU). If another CPU removes the entry just now, it
    // may already be another flow's, which then gets a packet too many; ledger rows are never reused that way.
    // Counters and flags are only changed atomically, the rest by the one packet that decides.
    FLOWS.get_ptr_mut(key).map(|flow| unsafe { &mut *flow })
}

/// One more packet of a flow: whether it passes.
#[inline(always)]
fn go_on(context: &SkBuffContext, packet: &Packet, hook: Hook, flow: &mut Flow) -> bool {
    let followed = opaque(match hook {
        Hook::Egress => follow_egress(context.skb.skb, packet, flow),
        Hook::Ingress => follow_ingress(context.skb.skb, packet, flow),
    });
    if followed == PASS_SHADOW {
        // From here, for the stack would not do for one call more.
        follow_shadow(packet, packet.is_from_client(flow), flow);
    }
    followed != DROP
}

/// What [`follow`] returns: the packet is dropped; it passes; it passes, and the flow is a client's view only.
const DROP: u32 = 0;
const PASS: u32 = 1;
const PASS_SHADOW: u32 = 2;

/// [`follow`], at the sender. Global, so that the verifier looks at it once and not on each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn follow_egress(context: *mut __sk_buff, packet: *const Packet, flow: *mut Flow) -> u32 {
    // SAFETY: the verifier has both checked for null, and knows their sizes.
    let (Some(packet), Some(flow)) = (unsafe { (packet.as_ref(), flow.as_mut()) }) else { return 0 };
    follow(&SkBuffContext::new(context), packet, Hook::Egress, flow)
}

/// [`follow`], at the receiver.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn follow_ingress(context: *mut __sk_buff, packet: *const Packet, flow: *mut Flow) -> u32 {
    // SAFETY: as above.
    let (Some(packet), Some(flow)) = (unsafe { (packet.as_ref(), flow.as_mut()) }) else { return 0 };
    follow(&SkBuffContext::new(context), packet, Hook::Ingress, flow)
}

/// What a global function returns may be anything to the verifier. The compiler knows better, and would leave out what
/// tells the verifier.
#[inline(always)]
fn opaque(mut value: u32) -> u32 {
    // SAFETY: nothing is done.
    unsafe { asm!("/* {0} */", inout(reg) value, options(nostack, nomem, pure)) };
    value
}

/// One more packet of a flow.
#[inline(always)]
fn follow(context: &SkBuffContext, packet: &Packet, hook: Hook, flow: &mut Flow) -> u32 {
    let from_client = packet.is_from_client(flow);
    let at_server = from_client == (hook == Hook::Ingress);
    let before = flow.last_seen;
    flow.last_seen = coarse_time();

    let arrives = at_server && hook == Hook::Ingress && flow.flags & (flag::DECIDED | flag::SHADOW) == 0;
    if arrives {
        arrive(packet, flow);
    }
    if !passes(context, packet, hook == Hook::Egress, flow) {
        return DROP;
    }
    if flow.flags & flag::SHADOW != 0 {
        return PASS_SHADOW;
    }
    if at_server {
        if arrives {
            decide_and_tell(packet, hook, flow);
        }
        if flow.flags & flag::SERVER_IS_LOCAL == 0 {
            // The kernel refuses for a socket that does not exist, or the flow was decided as outside: the
            // client's hooks see it too.
            return PASS;
        }
        if hook == Hook::Egress && dns::may_answer(packet) {
            dns::leaves(context, packet, flow);
        }
        if hook == Hook::Egress && !packet.is_tcp() {
            flow.awaited = flow.awaited.saturating_add(1);
        }
        count(packet, from_client, flow);
        // The client's answer to our SYN-ACK; of a local client that came before.
        if hook == Hook::Ingress && !packet.is_syn() && !packet.is_reset() {
            open(&packet.key, flow);
        }
    } else {
        if flow.flags & flag::SERVER_IS_LOCAL != 0 {
            if hook == Hook::Ingress && !packet.is_tcp() {
                flow.awaited = flow.awaited.saturating_sub(1);
            }
            if flow.flags & flag::DECIDED == 0 && flow.client == CgroupId::NONE {
                flow.client = packet.cgroup;
                decide(&packet.key, flow);
            }
        } else {
            let waited = !packet.is_tcp() && flow.last_seen.saturating_sub(before) > DECIDE_AFTER;
            if flow.flags & flag::DECIDED == 0 && (hook == Hook::Ingress || waited) {
                decide_and_tell(packet, hook, flow);
            }
            count(packet, from_client, flow);
        }
        // With the third packet of the handshake: a half-open scan never sends it.
        let answers = hook == Hook::Egress && from_client && !packet.is_syn() && !packet.is_reset();
        if flow.flags & flag::DECIDED != 0 && (answers || !packet.is_tcp()) {
            open(&packet.key, flow);
        }
    }
    if packet.is_tcp() {
        follow_end(packet, hook, from_client, flow);
    }
    PASS
}

/// Does this packet end the connection?
#[inline(always)]
fn follow_end(packet: &Packet, hook: Hook, from_client: bool, flow: &mut Flow) {
    if packet.is_reset() {
        let both_local = flow.client != CgroupId::NONE && flow.flags & flag::SERVER_IS_LOCAL != 0;
        if hook == Hook::Egress && both_local && flow.flags & flag::TRANSLATED == 0 {
            // What was sent before it may still be on its way: the receiving end closes.
            let by_client = if from_client { flag::RESET_BY_CLIENT } else { 0 };
            set_bits(&mut flow.flags, flag::RESET_SENT | by_client);
        } else {
            let end = flow.end_by_reset(from_client);
            close(&packet.key, flow, end);
        }
    } else if finished(packet, from_client, flow) {
        close(&packet.key, flow, end::CLOSED);
    }
}

/// Keeps track of FINs; true with the acknowledgement that comes after both.
#[inline(always)]
pub(crate) fn finished(packet: &Packet, from_client: bool, flow: &mut Flow) -> bool {
    const BOTH: u64 = flag::CLIENT_FIN | flag::SERVER_FIN;
    if packet.is_fin() {
        set_bits(&mut flow.flags, if from_client { flag::CLIENT_FIN } else { flag::SERVER_FIN });
        return false;
    }
    packet.payload == 0 && flow.flags & BOTH == BOTH
}

/// The first packet reached the server's socket: both ends are known, and are to be judged and counted.
#[inline(always)]
fn arrive(packet: &Packet, flow: &mut Flow) {
    if flow.flags & flag::SERVER_IS_LOCAL == 0 {
        // From here on this end counts, this packet included: drop what the client's hook has counted.
        flow.volume = Volume { bytes_sent: 0, bytes_received: 0, packets_sent: 0, packets_received: 0 };
        flow.server = packet.cgroup;
        flow.server_owner = packet.cgroup;
        set_bits(&mut flow.flags, flag::SERVER_IS_LOCAL);
    }
    if flow.client == CgroupId::NONE {
        recognise_sender(packet, flow);
    }
    // What was said before both ends were known does not count.
    flow.generation = 0;
}

/// The flow has opened: once.
#[inline(always)]
fn open(key: &FlowKey, flow: &mut Flow) {
    if flow.has_opened() || set_bits(&mut flow.flags, flag::OPENED) & flag::OPENED != 0 {
        return;
    }
    if let Some(row) = ledger::get(flow.row) {
        add(&mut row.flows, 1);
    }
    report(kind::FLOW_OPEN, key, flow, end::OPEN);
}

/// Counts a packet, in the flow and, once it is decided, in the ledger.
#[inline(always)]
fn count(packet: &Packet, from_client: bool, flow: &mut Flow) {
    add_to(&mut flow.volume, packet.payload, from_client);
    if flow.flags & flag::DECIDED != 0
        && let Some(row) = ledger::get(flow.row)
    {
        add_to(&mut row.volume, packet.payload, from_client);
        row.last_seen = flow.last_seen;
    }
}

#[inline(always)]
fn add_to(volume: &mut Volume, bytes: u64, from_client: bool) {
    if from_client {
        add(&mut volume.bytes_sent, bytes);
        add(&mut volume.packets_sent, 1);
    } else {
        add(&mut volume.bytes_received, bytes);
        add(&mut volume.packets_received, 1);
    }
}

/// The flow has ended: reports it and forgets it. `flow` must not be used afterwards.
#[inline(always)]
pub(crate) fn close(key: &FlowKey, flow: &mut Flow, end: u8) {
    if flow.flags & flag::SHADOW == 0 {
        if flow.flags & flag::DECIDED == 0 {
            decide(key, flow);
        }
        if !flow.has_opened() {
            ledger::count_failed(flow.row, end);
        }
        report(kind::FLOW_CLOSE, key, flow, end);
    }
    forget_sender(key, flow);
    remove(key);
}

#[inline(never)]
pub(crate) fn remove(key: &FlowKey) {
    // A copy: for kernels before 6.2 what a global function was handed is no key of a map.
    let key = *key;
    // It may be gone already: the other end's hook on another CPU was quicker.
    let _ = FLOWS.remove(&key);
}
