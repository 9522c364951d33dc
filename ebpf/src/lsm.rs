//! Family policy: frames that are sent past the IP stack (AF_PACKET, AF_XDP) by whoever has no link of his own where each of
//! them is judged: on the host's network, or behind macvlan or ipvlan. Only where the kernel runs BPF among its security
//! modules.
//!
//! What is in such a frame, and where it goes, cannot be read in time. So it is judged as a frame that is not IP is, and as
//! sent to somebody whom no rule names. To listen is left alone, but with AF_XDP: there a driver sends without a further call.
//!
//! Both are judged, who made the socket and who uses it, and the stricter counts. What the kernel sends for a process
//! without asking (vhost-net with a packet socket) does not pass here, nor does what is written to a TUN device.
//!
//! Fail direction: whoever is not known, or cannot be read, is judged as the policy says of workloads that are not resolved.
//! A socket whose family cannot be read passes: nearly all are of others. What would be held is denied, for nobody sends it again: the caller may.

use aya_ebpf::{macros::lsm, programs::LsmContext};
use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{VERDICT_ALLOW, VERDICT_HOLD},
    policy::{Judgement, layer},
    stats::failure,
};

use crate::{
    budget::{account, account_of_current},
    container,
    emit::{count_failure, current_cgroup},
    offsets::{KernelPointer, offset},
    packet::{ALL_NODES, PROTOCOL_RESERVED},
    policy::{self, generation, judge_unread, packed, unpacked},
    verdict::{Attempt, deny},
};

const AF_PACKET: u32 = 17;
const AF_XDP: u32 = 44;

const PASS: i32 = 0;
/// `-EPERM`.
const REFUSE: i32 = -1;

/// kernel: int security_socket_sendmsg(struct socket *sock, struct msghdr *msg, int size)
///
/// Every message of every socket passes here: with no policy in force it costs a look-up, and else the socket's family.
#[lsm(hook = "socket_sendmsg")]
pub(crate) fn socket_sendmsg(context: LsmContext) -> i32 {
    if generation() == 0 {
        return PASS;
    }
    let Some(socket) = KernelPointer(context.arg(0)).follow(offset!(socket_sk)) else { return PASS };
    match socket.read::<u16>(offset!(sock_family)).map(u32::from) {
        Some(AF_PACKET | AF_XDP) => {}
        _ => return PASS,
    }
    let (user, maker) = (current_cgroup(), Maker::of(socket));
    let mut source = user;
    let mut judgement = judge_unread(policy::owner_of_task(user).0);
    if maker.cgroup != user {
        let of_maker = judge_unread(maker.owner.0);
        if unpacked(judgement).verdict < unpacked(of_maker).verdict {
            (source, judgement) = (maker.cgroup, of_maker);
        }
    }
    answer(source, unpacked(judgement))
}

/// kernel: int security_socket_create(int family, int type, int protocol, int kern)
#[lsm(hook = "socket_create")]
pub(crate) fn socket_create(context: LsmContext) -> i32 {
    let (family, for_kernel): (u32, u32) = (context.arg(0), context.arg(3));
    if family != AF_XDP || for_kernel != 0 || generation() == 0 {
        return PASS;
    }
    let user = current_cgroup();
    answer(user, unpacked(judge_unread(policy::owner_of_task(user).0)))
}

/// Who made a socket.
struct Maker {
    /// In which cgroup.
    cgroup: CgroupId,
    /// Whose identity he has.
    owner: CgroupId,
}

impl Maker {
    #[inline(always)]
    fn of(socket: KernelPointer) -> Self {
        // kernel: sock_cgroup_ptr()
        let at = offset!(sock_cgrp_data) + offset!(cgrp_data_cgroup);
        let found = socket.follow(at).and_then(|cgroup| Some((cgroup, container::id(cgroup)?)));
        let Some((pointer, cgroup)) = found else {
            return Self { cgroup: CgroupId::UNKNOWN, owner: CgroupId::UNKNOWN };
        };
        Self { cgroup, owner: policy::owner_at(pointer, cgroup) }
    }
}

/// What the caller is told, after what is denied, or would be, was counted and reported.
#[inline(always)]
fn answer(source: CgroupId, judgement: Judgement) -> i32 {
    if judgement.verdict == VERDICT_ALLOW {
        return PASS;
    }
    tell(source.0, packed(judgement));
    if judgement.passes() { PASS } else { REFUSE }
}

/// Counts and reports what `source` may not, or not unnoticed. Global, for the stack is small.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn tell(source: u64, judgement: u64) -> u32 {
    let (source, judgement) = (CgroupId(source), unpacked(judgement));
    if judgement.verdict == VERDICT_HOLD {
        count_failure(failure::HELD);
        return 0;
    }
    let here = current_cgroup();
    let target = ALL_NODES;
    deny(&Attempt {
        source,
        target: CgroupId::NONE,
        source_address: &Address::NONE,
        target_address: &target,
        source_port: 0,
        port: 0,
        protocol: PROTOCOL_RESERVED,
        layer: layer::LSM,
        judgement,
        here,
        payer: if source == here { account_of_current(here) } else { account(source) },
    });
    0
}
