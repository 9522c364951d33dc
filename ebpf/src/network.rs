//! Family network: the two hooks at the root of the cgroup tree that see each packet which owns a socket, and one
//! for what no packet says: why an attempt failed.
//!
//! Fail direction: what they cannot follow is counted, and passes unless a policy selects one of its ends
//! ([`crate::policy`]).

use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_skb},
    programs::{BtfTracePointContext, SkBuffContext},
};

use crate::{
    dns,
    emit::count_failure,
    enforce::{copy_passes, passes_alone},
    failure,
    flow::{self, Hook},
    offsets::KernelPointer,
    packet::{AT_SOCKET, FOLLOWED, Packet, is_kernels},
};

/// kernel: static inline int BPF_CGROUP_RUN_PROG_INET_EGRESS(struct sock *sk, struct sk_buff *skb): 1 passes, 0 drops
#[cgroup_skb(egress)]
pub(crate) fn cgroup_skb_egress(context: SkBuffContext) -> i32 {
    watch(&context, Hook::Egress)
}

/// kernel: static inline int BPF_CGROUP_RUN_PROG_INET_INGRESS(struct sock *sk, struct sk_buff *skb)
#[cgroup_skb(ingress)]
pub(crate) fn cgroup_skb_ingress(context: SkBuffContext) -> i32 {
    watch(&context, Hook::Ingress)
}

/// kernel: TP_PROTO(const struct sock *sk)
#[btf_tracepoint(function = "inet_sk_error_report")]
pub(crate) fn inet_sk_error_report(context: BtfTracePointContext) -> i32 {
    failure::observe(KernelPointer(context.arg(0)));
    0
}

#[inline(always)]
fn watch(context: &SkBuffContext, hook: Hook) -> i32 {
    let passes = match Packet::read(context, AT_SOCKET) {
        Ok(packet) if hook == Hook::Ingress && packet.is_copy(context) => copy_passes(context, &packet),
        Ok(mut packet) => {
            if packet.unfollowed != FOLLOWED {
                count_failure(packet.unfollowed);
                let kernels = hook == Hook::Egress && is_kernels(context);
                return i32::from(kernels || passes_alone(context, &packet, hook.alone()));
            }
            // First, for the verifier's sake: behind this all paths are the same again.
            if hook == Hook::Ingress && dns::may_answer(&packet) {
                dns::arrives(context, &packet);
            }
            flow::observe(context, &mut packet, hook)
        }
        Err(reason) => {
            count_failure(reason);
            true
        }
    };
    i32::from(passes)
}
