//! Family policy: `connect`, which names whom to talk to. Whoever may not is told at once (`EPERM`) and need not wait for
//! an answer that never comes.
//!
//! The packets are judged as well, and are what decides: these hooks only see the address that was dialled, and not all
//! that sends passes them. Whoever sends a datagram is told the same by the hook of its packet, within the call.
//!
//! Fail direction: allow, the packet hooks deny.

use aya_ebpf::{macros::cgroup_sock_addr, programs::SockAddrContext};
use cofferdam_common::{
    case::{Case, Party},
    ids::{Address, CgroupId},
    network::{PROTOCOL_TCP, VERDICT_DENY},
    policy::{layer, service},
};

use crate::{
    budget::account_of_current,
    emit::current_cgroup,
    policy::{self, generation, judge_by, or_by_name, packed, unpacked},
    verdict::{Attempt, deny},
};

/// Let the call go on (`BPF_CGROUP_RUN_SA_PROG`: anything else is `EPERM`).
const PASS: i32 = 1;
const REFUSE: i32 = 0;

/// MPTCP is TCP on the wire (include/uapi/linux/in.h).
const IPPROTO_MPTCP: u32 = 262;

/// kernel: BPF_CGROUP_RUN_PROG_INET4_CONNECT(sk, uaddr, uaddrlen)
#[cgroup_sock_addr(connect4)]
pub(crate) fn connect4(context: SockAddrContext) -> i32 {
    watch(&context, v4(&context))
}

/// kernel: BPF_CGROUP_RUN_PROG_INET6_CONNECT(sk, uaddr, uaddrlen)
#[cgroup_sock_addr(connect6)]
pub(crate) fn connect6(context: SockAddrContext) -> i32 {
    watch(&context, v6(&context))
}

#[inline(always)]
fn v4(context: &SockAddrContext) -> Address {
    // SAFETY: the context is valid for the whole program.
    Address::mapped(unsafe { (*context.sock_addr).user_ip4 })
}

#[inline(always)]
fn v6(context: &SockAddrContext) -> Address {
    // SAFETY: as in `v4`. Word by word: the verifier allows no other access.
    let words = unsafe {
        let address = &(*context.sock_addr).user_ip6;
        [address[0], address[1], address[2], address[3]]
    };
    Address::from_words(words)
}

/// Whether the socket has a port of its own already: it was bound, or has sent before.
#[inline(always)]
fn has_port(context: &SockAddrContext) -> bool {
    // SAFETY: the context is valid for the whole program, and so is its socket where there is one.
    unsafe {
        let socket = (*context.sock_addr).__bindgen_anon_1.sk;
        !socket.is_null() && (*socket).src_port != 0
    }
}

#[inline(always)]
fn watch(context: &SockAddrContext, address: Address) -> i32 {
    let generation = generation();
    if generation == 0 {
        return PASS;
    }
    // SAFETY: the context is valid for the whole program.
    let (port, protocol) = unsafe { ((*context.sock_addr).user_port, (*context.sock_addr).protocol) };
    let port = u16::from_be(port as u16);
    let protocol = if protocol == IPPROTO_MPTCP { PROTOCOL_TCP } else { protocol as u8 };
    if protocol != PROTOCOL_TCP && has_port(context) {
        // It may be an answer, which flows alone can tell. Where it is none, its packet is denied.
        return PASS;
    }
    let cgroup = current_cgroup();
    let case = Case {
        source: Party { owner: policy::owner_of_task(cgroup), address: Address::NONE },
        target: Party { owner: CgroupId::NONE, address },
        service: service(protocol, port),
    };
    let mut judgement = judge_by(&case, generation);
    if judgement.is_for_lack_of_a_rule() {
        let named = or_by_name(case.source.owner.0, &case.target.address, case.service, packed(judgement));
        judgement = unpacked(named);
    }
    // What is only to wait is held at the packet, which is sent again.
    if judgement.verdict != VERDICT_DENY {
        return PASS;
    }
    deny(&Attempt {
        source: cgroup,
        target: CgroupId::NONE,
        source_address: &Address::NONE,
        target_address: &case.target.address,
        source_port: 0,
        port,
        protocol,
        layer: layer::CONNECT,
        judgement,
        here: cgroup,
        payer: account_of_current(cgroup),
    });
    REFUSE
}
