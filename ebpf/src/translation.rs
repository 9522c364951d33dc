//! Flows whose addresses are translated on the way (DNAT): the two ends see them under different names.
//!
//! What happens here happens at most once per flow or answer: functions of their own, see [`crate::flow`].

use cofferdam_common::{
    network::{Flow, FlowKey, SenderKey, end, flag, service_port},
    record::kind,
};

use crate::{
    atomic::set_bits,
    ends::{End, is_low, key_between},
    flow::{find, finished, remove, report},
    maps::SENDERS,
    packet::Packet,
};

/// The client dialled another address than the one that the packet arrived at, or is outside.
#[inline(never)]
pub(crate) fn recognise_sender(packet: &Packet, flow: &mut Flow) {
    let sender: SenderKey = packet.sender();
    // SAFETY: only read, at once; what a flow's entry says changes only when the flow begins anew.
    let Some(sender) = (unsafe { SENDERS.get(&sender) }) else { return };
    let (dialled, target) = ((sender.dialled, sender.dialled_port), packet.target());
    flow.client = sender.cgroup;
    flow.client_owner = sender.cgroup;
    if dialled == target {
        return;
    }
    flow.other_end = dialled.0;
    flow.other_end_port = dialled.1;
    set_bits(&mut flow.flags, flag::TRANSLATED);

    let client_view = between(packet.source(), dialled, &packet.key);
    if let Some(shadow) = find(&client_view) {
        shadow.other_end = target.0;
        shadow.other_end_port = target.1;
        set_bits(&mut shadow.flags, flag::SHADOW);
    }
}

/// An answer whose source was translated on the way, by the namespace of the client (Docker's DNS, a service's
/// address on the host): finds the flow by whom it is for, and names its source as that flow knows it.
///
/// The egress hook runs behind the translation of the sender's namespace, the ingress hook behind the receiver's:
/// a question that its own namespace translates bears the real target at both hooks, but its answer does not.
#[inline(never)]
pub(crate) fn rename_answer(packet: &mut Packet, egress: bool) -> bool {
    if packet.is_echo_request() {
        return false;
    }
    let asker = packet.target();
    let Some(asked) = asked_by(packet) else { return false };
    let key = between(asker, asked, &packet.key);
    let Some(flow) = find(&key) else { return false };
    let this_end = if egress { flow.server } else { flow.client };
    let answers = flow.flags & flag::SERVER_IS_LOCAL != 0
        && this_end == packet.cgroup
        && (egress || can_be_answer(packet, &asked, flow));
    if answers {
        packet.source_is_low = is_low(&asked, &asker);
        packet.key = key;
    }
    answers
}

/// Whether what has come to the client can be an answer of this flow. What comes to the socket of a connection is of its other
/// end, but a datagram to a port that has asked may be anybody's.
#[inline(always)]
fn can_be_answer(packet: &Packet, asked: &End, flow: &Flow) -> bool {
    packet.is_tcp() || is_same_service(&packet.source(), asked) || flow.awaited != 0
}

/// Whether only the port was translated on the way, as that of Docker's DNS is.
#[inline(always)]
fn is_same_service(source: &End, asked: &End) -> bool {
    source.0.words() == asked.0.words()
        && service_port((&source.0, source.1)) == service_port((&asked.0, asked.1))
}

/// Whom the receiver of an answer asked last.
#[inline(always)]
fn asked_by(packet: &Packet) -> Option<End> {
    let (address, port) = packet.target();
    let FlowKey { namespace, protocol, .. } = packet.key;
    let key = SenderKey { address, namespace, port, protocol, padding: [0; 5] };
    // SAFETY: as in `recognise_sender`.
    let sender = unsafe { SENDERS.get(&key) }?;
    Some((sender.dialled, sender.dialled_port))
}

/// The flow that a packet answers, also where the port of its source was translated on the way, as Docker's DNS is. Not
/// where its address was: it could be anybody's packet to a port that has asked somebody else.
#[inline(always)]
pub(crate) fn flow_of_answer(packet: &Packet) -> Option<&'static mut Flow> {
    if let Some(flow) = find(&packet.key) {
        return Some(flow);
    }
    let asked = asked_by(packet)?;
    if is_same_service(&packet.source(), &asked) {
        find(&between(packet.target(), asked, &packet.key))
    } else {
        None
    }
}

/// The client's view of a translated flow: only its end matters, for which the server's hooks may be blind
/// (a socket in TIME-WAIT runs no hook).
#[inline(never)]
pub(crate) fn follow_shadow(packet: &Packet, from_client: bool, flow: &mut Flow) {
    if packet.is_reset() {
        forget_sender(&packet.key, flow);
        remove(&packet.key);
    } else if finished(packet, from_client, flow) {
        let (client, _) = packet.key.ends(flow.flags);
        let client = (*client.0, client.1);
        let server = (flow.other_end, flow.other_end_port);
        let server_view = between(client, server, &packet.key);
        if let Some(flow) = find(&server_view) {
            report(kind::FLOW_CLOSE, &server_view, flow, end::CLOSED);
            remove(&server_view);
        }
        forget_sender(&packet.key, flow);
        remove(&packet.key);
    }
}

/// The flow has ended: its client does not send for it any more.
#[inline(never)]
pub(crate) fn forget_sender(key: &FlowKey, flow: &Flow) {
    // Of a flow without a local client there is no entry.
    let _ = SENDERS.remove(&SenderKey::of_client(key, flow.flags));
}

/// The key of a flow like `like` between other ends, of which the first is the client's.
#[inline(always)]
fn between(one: End, two: End, like: &FlowKey) -> FlowKey {
    key_between(one, two, like.protocol, like.namespace)
}
