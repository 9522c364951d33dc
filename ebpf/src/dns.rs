//! Family network: answers of the DNS. The daemon names peers outside by them; policies allow by them (`names`) what comes
//! from a resolver that is believed.
//!
//! Only answers that somebody here asked for: of a datagram that comes from a resolver's port unasked nothing is
//! handed on. Whether it answers the very question that was asked is not known here (`docs/attribution.md`).

use core::{arch::asm, ptr};

use aya_ebpf::{helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext};
use cofferdam_common::{
    dns::{DNS_LIMIT, DNS_PORT, DnsRecord},
    ids::{Address, CgroupId},
    name::{Entrance, Resolver},
    network::{Flow, PROTOCOL_UDP, flag, service_port},
    record::{family, kind},
};

use crate::{
    budget::account,
    emit::{emit, header},
    maps::{ENTRANCES, FLOW_RECORDS, RESOLVERS},
    names::learn,
    packet::Packet,
    policy::owner_of_socket,
    translation::flow_of_answer,
};

/// Whether answers are handed on. Set by the daemon as `OFFSETS` is: zero removes all that follows.
#[unsafe(no_mangle)]
static DNS_ANSWERS: u32 = 1;

/// The header of a message (RFC 1035 section 4.1.1), in network order.
#[repr(C)]
pub(crate) struct Head {
    id: u16,
    /// QR, OPCODE, AA, TC, RD.
    kind: u8,
    /// RA, Z, RCODE.
    outcome: u8,
    questions: u16,
    /// How many records are in the answer.
    pub(crate) answers: u16,
    authorities: u16,
    additional: u16,
}

impl Head {
    /// A reply to a standard query, without error, with one question and at least one answer.
    #[inline(always)]
    fn answers(&self) -> bool {
        const REPLY: u8 = 1 << 7;
        const OPERATION: u8 = 0xf << 3;
        const ERROR: u8 = 0xf;
        self.kind & (REPLY | OPERATION) == REPLY
            && self.outcome & ERROR == 0
            && self.questions == 1u16.to_be()
            && self.answers != 0
    }
}

/// Whether this may be an answer: all that is asked of most packets.
#[inline(always)]
pub(crate) fn may_answer(packet: &Packet) -> bool {
    let (source, _) = packet.ends();
    packet.key.protocol == PROTOCOL_UDP && service_port(source) == DNS_PORT
}

/// Who asked, and whether the answer is believed.
struct Asked {
    client: CgroupId,
    owner: CgroupId,
    trusted: bool,
}

/// An answer that arrives: reports it if its receiver has asked for it, and has it learned if it is believed. It is, if it
/// comes from a resolver outside and by the receiver's own link. Those of resolvers of this host that are believed were told
/// when they left.
#[inline(never)]
pub(crate) fn arrives(context: &SkBuffContext, packet: &Packet) {
    let Some(flow) = flow_of_answer(packet) else { return };
    let told = flow.server != CgroupId::NONE
        && is_believed(&Resolver { owner: flow.server_owner, address: Address::NONE });
    if told || !was_asked(flow, packet) {
        return;
    }
    let client = packet.cgroup;
    let owner = owner_of_socket(context, client);
    let trusted = is_believed(&Resolver { owner: CgroupId::NONE, address: packet.source().0 })
        && came_from_outside(context, owner);
    take_in(context, packet, flow, &Asked { client, owner, trusted });
}

/// An answer that leaves a resolver of this host: reports it and has it learned, if that is believed. Where it arrives it
/// could be anybody's, for whoever may send raw packets can put it on the loopback.
#[inline(never)]
pub(crate) fn leaves(context: &SkBuffContext, packet: &Packet, flow: &Flow) {
    let resolver = Resolver { owner: owner_of_socket(context, packet.cgroup), address: Address::NONE };
    if is_believed(&resolver) && flow.client != CgroupId::NONE && flow.volume.packets_sent != 0 {
        let asked = Asked { client: flow.client, owner: flow.client_owner, trusted: true };
        take_in(context, packet, flow, &asked);
    }
}

#[inline(always)]
fn take_in(context: &SkBuffContext, packet: &Packet, flow: &Flow, asked: &Asked) {
    if report(context, packet, flow, asked) && asked.trusted {
        learn(context, packet, asked.owner);
    }
}

/// Reports an answer, if it is one. Returns whether it is.
#[inline(never)]
fn report(context: &SkBuffContext, packet: &Packet, flow: &Flow, asked: &Asked) -> bool {
    let start = u64::from(context.len()).saturating_sub(packet.payload) as usize;
    let Ok(head) = context.load::<Head>(start) else { return false };
    if !head.answers() {
        return false;
    }
    // SAFETY: a valid, aligned static; volatile, so that the compiler does not fold the value it sees.
    if unsafe { ptr::read_volatile(&DNS_ANSWERS) } == 0 {
        return true;
    }
    emit::<DnsRecord>(&FLOW_RECORDS, family::NETWORK, account(asked.client), |entry, now| {
        let record = entry.as_mut_ptr();
        // SAFETY: the ring handed out memory for one record, of which every field is written here, in place. Of
        // `message` the helper writes `length` bytes, or fails; what lies behind them is nobody's (`DnsRecord`).
        unsafe {
            (*record).header = header(kind::DNS_ANSWER, asked.client, now);
            (*record).resolver = flow.server;
            (*record).resolver_address = packet.source().0;
            (*record).total = packet.payload as u32;
            (*record).trusted = asked.trusted.into();
            (*record).length = load(context, start, packet.payload, ptr::addr_of_mut!((*record).message));
        }
    });
    true
}

#[inline(always)]
fn is_believed(resolver: &Resolver) -> bool {
    // SAFETY: only asked whether it is there.
    unsafe { RESOLVERS.get(resolver) }.is_some()
}

/// Whether a packet came by a link to the outside, and not by one that the receiver has made himself (TUN), nor by the
/// loopback.
///
/// Fail direction: deny, where no link is known.
#[inline(always)]
fn came_from_outside(context: &SkBuffContext, owner: CgroupId) -> bool {
    /// `LOOPBACK_IFINDEX` (include/net/flow.h).
    const LOOPBACK: u32 = 1;
    // SAFETY: the context is valid for the whole program.
    let link = unsafe { (*context.skb.skb).ifindex };
    // SAFETY: only asked whether they are there.
    let by = |link| unsafe { ENTRANCES.get(Entrance { owner, link, padding: 0 }) }.is_some();
    link != LOOPBACK && (by(link) || by(0))
}

/// Copies the beginning of a message of `total` bytes; returns how many.
#[inline(always)]
fn load(context: &SkBuffContext, start: usize, total: u64, message: *mut [u8; DNS_LIMIT]) -> u16 {
    let mut length = total;
    // SAFETY: no instruction at all: the compiler forgets what it knows of the number, and compares it here, where the
    // verifier of older kernels has to see it.
    unsafe { asm!("/* {0} */", inout(reg) length, options(nostack)) };
    if length > DNS_LIMIT as u64 {
        length = DNS_LIMIT as u64;
    }
    if length < size_of::<Head>() as u64 {
        return 0;
    }
    // SAFETY: the helper writes `length` bytes, at most DNS_LIMIT, or fails.
    let result =
        unsafe { bpf_skb_load_bytes(context.skb.skb.cast(), start as u32, message.cast(), length as u32) };
    if result == 0 { length as u16 } else { 0 }
}

/// Whether the receiver is the client of the flow and has sent something: whoever sends to a port of a container
/// from port 53 begins a flow that looks like a late answer. What the client's view of a translated flow has sent
/// is counted elsewhere; such a flow was begun by the client.
#[inline(always)]
fn was_asked(flow: &Flow, packet: &Packet) -> bool {
    flow.client == packet.cgroup
        && flow.client != CgroupId::NONE
        && (flow.volume.packets_sent != 0 || flow.flags & flag::SHADOW != 0)
}
