//! A TCP connection that was there before the hooks. Whoever listens at his port is its server: ports alone tell nothing, for
//! a client may have any.

use aya_ebpf::{
    bindings::__sk_buff,
    helpers::generated::{bpf_sk_lookup_tcp, bpf_sk_release},
};
use cofferdam_common::ids::Address;

use crate::packet::{IPV4, Packet};

/// `BPF_F_CURRENT_NETNS` (include/uapi/linux/bpf.h).
const CURRENT_NETNS: u64 = u64::MAX;

/// `struct bpf_sock_tuple` (as above) in words: two addresses and two ports, of one word in all.
const IPV4_WORDS: usize = 3;
const IPV6_WORDS: usize = 9;

/// Whether a packet is the first that is seen of a connection that was there already, and can tell of it.
#[inline(always)]
pub(super) fn is_adopted(packet: &Packet) -> bool {
    packet.is_tcp() && !packet.is_syn() && packet.payload != 0 && !packet.is_reset()
}

/// Whether somebody listens at this end of a packet: the server's, unless he has stopped since.
///
/// kernel: static struct sock *__bpf_skc_lookup(struct sk_buff *skb, struct bpf_sock_tuple *tuple, u32 len, ...)
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn listens(context: *mut __sk_buff, packet: *const Packet, egress: u32) -> u32 {
    // SAFETY: the verifier has both checked for null, and knows their sizes.
    let Some(packet) = (unsafe { packet.as_ref() }) else { return 0 };
    let (own, other) =
        if egress != 0 { (packet.source(), packet.target()) } else { (packet.target(), packet.source()) };
    // Without a port of the other end no connection is found, but who waits for one.
    let ports = u32::from(own.1.to_be()) << 16;
    let ([a, b, c, d], [e, f, g, h]) = (words(&other.0), words(&own.0));
    // SAFETY: the context is valid for the whole program.
    let is_v4 = unsafe { (*context).protocol } == IPV4;
    let (mut tuple, size) = if is_v4 {
        ([d, h, ports, 0, 0, 0, 0, 0, 0], IPV4_WORDS * 4)
    } else {
        ([a, b, c, d, e, f, g, h, ports], IPV6_WORDS * 4)
    };
    // SAFETY: the helper reads so much of the tuple; what it returns is given back.
    unsafe {
        let found = bpf_sk_lookup_tcp(context.cast(), (&raw mut tuple).cast(), size as u32, CURRENT_NETNS, 0);
        if found.is_null() {
            return 0;
        }
        bpf_sk_release(found.cast());
    }
    1
}

/// An address as four words, each as it lies in memory.
#[inline(always)]
fn words(address: &Address) -> [u32; 4] {
    let [head, tail] = address.words();
    [head as u32, (head >> 32) as u32, tail as u32, (tail >> 32) as u32]
}
