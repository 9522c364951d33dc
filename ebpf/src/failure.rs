//! Attempts that no packet of their own ends: a router says that there is no way, or nobody answers until the
//! kernel gives up. Both only show as an error of the socket.

use cofferdam_common::{
    ids::Address,
    network::{FlowKey, PROTOCOL_TCP, PROTOCOL_UDP, end, flag},
};

use crate::{
    ends::{End, key_between},
    flow::{close, find},
    offsets::{KernelPointer, offset},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// errno(3), as `icmp_err_convert` (net/ipv4/icmp.c), `icmpv6_err_convert` (net/ipv6/icmp.c) and `tcp_write_err`
/// (net/ipv4/tcp_timer.c) set them.
const EACCES: i32 = 13;
const ENETUNREACH: i32 = 101;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTUNREACH: i32 = 113;

/// The socket's error ends the flow that the socket is the client of.
#[inline(always)]
pub(crate) fn observe(socket: KernelPointer) {
    let error: i32 = socket.read(offset!(sock_err)).unwrap_or(0);
    let failed = match error {
        ECONNREFUSED => end::REFUSED,
        EACCES | ENETUNREACH | EHOSTUNREACH => end::UNREACHABLE,
        ETIMEDOUT => end::UNANSWERED,
        _ => return,
    };
    let Some(key) = read(socket) else { return };
    let Some(flow) = find(&key) else { return };
    let opened = flow.has_opened();
    // The server's view of a translated connection ends by its own socket's error, or by silence.
    if flow.flags & flag::SHADOW != 0 || (opened && (error != ETIMEDOUT || key.protocol != PROTOCOL_TCP)) {
        return;
    }
    close(&key, flow, if opened { end::TIMED_OUT } else { failed });
}

/// The flow of a connected socket.
#[inline(always)]
fn read(socket: KernelPointer) -> Option<FlowKey> {
    let protocol = socket.read::<u16>(offset!(sock_protocol))? as u8;
    if protocol != PROTOCOL_TCP && protocol != PROTOCOL_UDP {
        return None;
    }
    let (own, other) = match socket.read::<u16>(offset!(sock_family))? {
        AF_INET => {
            let own = Address::mapped(socket.read(offset!(sock_rcv_saddr))?);
            (own, Address::mapped(socket.read(offset!(sock_daddr))?))
        }
        AF_INET6 => {
            let own = Address(socket.read(offset!(sock_v6_rcv_saddr))?);
            (own, Address(socket.read(offset!(sock_v6_daddr))?))
        }
        _ => return None,
    };
    // Not `skc_num`, which is 0 once the kernel has given the port back: newer ones report the error after that.
    let own: End = (own, u16::from_be(socket.read(offset!(sock_sport))?));
    let other: End = (other, u16::from_be(socket.read(offset!(sock_dport))?));
    let namespace = if own.0.is_loopback() { socket.read(offset!(sock_net))? } else { 0 };
    Some(key_between(own, other, protocol, namespace))
}
