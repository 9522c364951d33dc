//! Family network: the two hooks at the root of the cgroup tree that see each packet which owns a socket.
//!
//! Fail direction: allow. These hooks only watch; what they cannot follow passes and is counted.

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};

use crate::{
    emit::count_failure,
    flow::{self, Hook},
    packet::Packet,
};

/// Let it pass (`BPF_CGROUP_RUN_PROG_INET_EGRESS`: 1 = pass without congestion notification).
const PASS: i32 = 1;

/// kernel: static inline int BPF_CGROUP_RUN_PROG_INET_EGRESS(struct sock *sk, struct sk_buff *skb)
#[cgroup_skb(egress)]
pub(crate) fn cgroup_skb_egress(context: SkBuffContext) -> i32 {
    watch(&context, Hook::Egress)
}

/// kernel: static inline int BPF_CGROUP_RUN_PROG_INET_INGRESS(struct sock *sk, struct sk_buff *skb)
#[cgroup_skb(ingress)]
pub(crate) fn cgroup_skb_ingress(context: SkBuffContext) -> i32 {
    watch(&context, Hook::Ingress)
}

#[inline(always)]
fn watch(context: &SkBuffContext, hook: Hook) -> i32 {
    match Packet::read(context) {
        Ok(mut packet) => flow::observe(&mut packet, hook),
        Err(reason) => count_failure(reason),
    }
    PASS
}
