//! The first packet of a flow.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_NOEXIST},
    programs::SkBuffContext,
};
use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{Flow, Sender, Volume, flag},
    policy::Judgement,
    stats::failure,
};

use crate::{
    emit::{boot_time, coarse_time, count_failure},
    enforce::{EGRESS, FORGED, judge_alone, sender},
    flow::Hook,
    maps::{FLOWS, SENDERS},
    packet::{Packet, is_kernels},
    policy::{generation, owner_of_address, owner_of_socket, unpacked},
};

/// A handshake over the remains of a connection between the same two ports.
#[inline(always)]
pub(super) fn begins_anew(packet: &Packet, hook: Hook, flow: &Flow) -> bool {
    const USED: u64 = flag::OPENED | flag::CLIENT_FIN | flag::SERVER_FIN | flag::RESET_SENT;
    // Where the client's own hook sees the flow too, it has begun it anew before the server's hook runs.
    let first_to_see =
        hook == Hook::Egress || flow.client == CgroupId::NONE || flow.flags & flag::TRANSLATED != 0;
    packet.is_syn() && flow.flags & USED != 0 && first_to_see
}

/// Whether it is somebody else who sends now from one of the ends: nothing but a connection holds a port for whoever had it.
/// Also where nobody here was known at that end: what was sent there reached no socket of this host.
#[inline(always)]
pub(super) fn is_anothers(context: &SkBuffContext, packet: &Packet, hook: Hook, flow: &Flow) -> bool {
    // Of SCTP whoever accepts an association has another socket than whoever listens.
    let is_accepted = packet.is_sctp() && !packet.is_from_client(flow);
    if hook == Hook::Ingress || packet.is_tcp() || packet.is_echo() || is_accepted {
        return false;
    }
    sender(packet, flow) != packet.cgroup && !is_kernels(context)
}

/// Of [`pretends`]: he does not.
pub(super) const HAS_COME: u32 = u32::MAX;

/// How it is denied that somebody sends now from one of the ends, if it is and he cannot have come there: another has its
/// address, or nobody is known to have it and nobody of this host was there before. He shall not end what others have begun.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn pretends(context: *mut __sk_buff, packet: *const Packet, flow: *const Flow) -> u32 {
    // SAFETY: the verifier has both checked for null, and knows their sizes.
    let (Some(packet), Some(flow)) = (unsafe { (packet.as_ref(), flow.as_ref()) }) else { return HAS_COME };
    // A copy: for kernels before 6.2 what a global function was handed is no key of a map.
    let address = *packet.ends().0.0;
    let how = match owner_of_address(&address) {
        // Of those that share an address, only a socket can tell.
        Some(CgroupId::ROOT) => return HAS_COME,
        Some(owner) if owner == owner_of_socket(&SkBuffContext::new(context), packet.cgroup) => {
            return HAS_COME;
        }
        Some(_) => FORGED,
        None if sender(packet, flow) == CgroupId::NONE => EGRESS,
        None => return HAS_COME,
    };
    if generation() == 0 || unpacked(judge_alone(context, packet, how)).passes() { HAS_COME } else { how }
}

/// Whether it is somebody else who receives now what a client sends: another than before, or anybody at all where the
/// target was taken for outside. Who that is, he has not said anew.
#[inline(always)]
pub(super) fn is_for_another(packet: &Packet, hook: Hook, flow: &Flow) -> bool {
    if hook == Hook::Egress || packet.is_tcp() || packet.is_echo() || !packet.is_from_client(flow) {
        return false;
    }
    if flow.flags & flag::SERVER_IS_LOCAL == 0 {
        return flow.flags & (flag::DECIDED | flag::SHADOW) != 0;
    }
    flow.server != packet.cgroup && !packet.is_sctp()
}

/// Enters a new flow; false when there is no room. `own_listens`: of a connection that was there before, whether this end is
/// the server's.
#[inline(never)]
pub(super) fn begin(packet: &Packet, egress: bool, own_listens: bool) -> bool {
    let adopted = packet.is_tcp() && !packet.is_syn();
    let (source, target) = (packet.source(), packet.target());
    let source_is_client = if !packet.is_tcp() {
        // Not a late answer of a well-known service to an ephemeral port, after the flow was given up as idle.
        source.1 >= 1024 || target.1 < 32_768
    } else {
        !adopted || own_listens != egress
    };

    let mut flow = Flow {
        flags: if adopted { flag::ADOPTED } else { 0 },
        client: CgroupId::NONE,
        server: CgroupId::NONE,
        row: 0,
        other_end_port: 0,
        padding: 0,
        other_end: Address::NONE,
        opened_at: boot_time(),
        last_seen: coarse_time(),
        volume: Volume { bytes_sent: 0, bytes_received: 0, packets_sent: 0, packets_received: 0 },
        client_owner: CgroupId::NONE,
        server_owner: CgroupId::NONE,
        judgement: Judgement::ALLOW,
        generation: 0,
        awaited: 0,
        audited: 0,
    };
    if !adopted && !source_is_client {
        flow.flags |= flag::BEGUN_BY_SERVER;
    }
    if packet.source_is_low == source_is_client {
        flow.flags |= flag::CLIENT_IS_LOW;
    }
    if source_is_client == egress {
        flow.client = packet.cgroup;
        flow.client_owner = packet.cgroup;
    } else {
        flow.server = packet.cgroup;
        flow.server_owner = packet.cgroup;
        flow.flags |= flag::SERVER_IS_LOCAL;
    }
    let enter = || FLOWS.insert(&packet.key, &flow, u64::from(BPF_NOEXIST));
    let entered = match enter() {
        // There is no memory at hand (ENOMEM): the kernel brings some by an interrupt, which may have come by now.
        Err(-12) => enter(),
        entered => entered,
    };
    match entered {
        // Another CPU was first (EEXIST): its entry is the one.
        Ok(()) | Err(-17) => true,
        Err(_) => {
            count_failure(failure::FLOWS_FULL);
            false
        }
    }
}

/// Remembers who began a flow, should its target be translated on the way.
#[inline(never)]
pub(super) fn note_sender(packet: &Packet) {
    let (dialled, dialled_port) = packet.target();
    let sender = Sender { cgroup: packet.cgroup, dialled, dialled_port, padding: [0; 6] };
    if SENDERS.insert(packet.sender(), &sender, 0).is_err() {
        count_failure(failure::SENDERS_FULL);
    }
}
