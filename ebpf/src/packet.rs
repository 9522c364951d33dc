//! Reads the head of a packet: IPv4 or IPv6, and what it carries.

use core::{mem, ptr};

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel, bpf_sk_fullsock, bpf_skb_cgroup_id},
    programs::SkBuffContext,
};
use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{
        Flow, FlowKey, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP,
        PROTOCOL_UDPLITE, SenderKey, flag, is_echo,
    },
    stats::failure,
};

use crate::{
    ends::{End, asker, high, is_low, key_with, low},
    offsets::{KernelPointer, offset},
};

const UDP_HEADER: usize = 8;
const SCTP_HEADER: usize = 12;
const ICMP_HEADER: usize = 8;

/// ff02::1: whoever listens on the link (RFC 4291 section 2.7.1).
pub(crate) const ALL_NODES: Address = Address([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// Of what has none, or none that can be read: ports, TCP flags and the length of the header.
const NO_PORTS: (u16, u16, u8, usize) = (0, 0, 0, 0);

/// Bytes before the IP header, by where a hook runs: none at a socket, and those of Ethernet at a link.
pub(crate) const AT_SOCKET: usize = 0;
pub(crate) const AT_LINK: usize = 14;

/// Of packets that may belong to a flow ([`Packet::unfollowed`]).
pub(crate) const FOLLOWED: u32 = u32::MAX;

/// The offset of a fragment, as it stands in an IPv4 header (RFC 791 section 3.1): not zero for all but the first.
const OFFSET: u16 = 0x1fff_u16.to_be();

/// The header of fragments in IPv6 (RFC 8200 section 4.5). At links it also stands for all fragments of IPv4 but the first,
/// which have no ports either.
const FRAGMENT: u8 = 44;

/// A protocol that no packet has (RFC 5237: "Reserved"): of frames that are not IP.
pub(crate) const PROTOCOL_RESERVED: u8 = 255;

/// EtherTypes as they stand in `__sk_buff.protocol` (network order).
pub(crate) const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 1 << 1;
pub(crate) const RST: u8 = 1 << 2;
pub(crate) const ACK: u8 = 1 << 4;

/// RFC 791 section 3.1.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
struct Ipv4 {
    version_length: u8,
    service: u8,
    length: u16,
    identification: u16,
    fragment: u16,
    time_to_live: u8,
    protocol: u8,
    checksum: u16,
    source: u32,
    target: u32,
}

/// RFC 8200 section 3.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
struct Ipv6 {
    version_class_label: u32,
    length: u16,
    next_header: u8,
    hop_limit: u8,
    source: [u16; 8],
    target: [u16; 8],
}

/// RFC 9293 section 3.1, as far as it is needed.
#[repr(C, packed(2))]
#[derive(Clone, Copy)]
struct Tcp {
    source_port: u16,
    target_port: u16,
    sequence: [u16; 2],
    acknowledgement: [u16; 2],
    data_offset: u8,
    flags: u8,
}

/// What is read of a packet. With a layout that the kernel can be told, for it is handed to global functions; the
/// larger fields first, for the stack is small.
#[repr(C)]
pub(crate) struct Packet {
    /// The flow it belongs to, which holds its addresses and ports.
    pub(crate) key: FlowKey,
    /// Bytes behind the TCP or UDP header.
    pub(crate) payload: u64,
    /// The cgroup of the socket at which the hook runs.
    pub(crate) cgroup: CgroupId,
    /// Why it belongs to no flow ([`failure`]), or [`FOLLOWED`].
    pub(crate) unfollowed: u32,
    /// Whether the sender is the low end of the key.
    pub(crate) source_is_low: bool,
    /// Whether it can be the first of a flow: an echo reply cannot.
    pub(crate) begins: bool,
    /// Zero for all but TCP.
    pub(crate) tcp_flags: u8,
}

impl Packet {
    /// Reads a packet, or fails where it has no addresses. `begin` is [`AT_SOCKET`] or [`AT_LINK`].
    ///
    /// Fragments only occur at links: the egress hook runs before fragmentation and the ingress hook after reassembly.
    #[inline(always)]
    pub(crate) fn read(context: &SkBuffContext, begin: usize) -> Result<Self, u32> {
        // SAFETY: the context is valid for the whole program.
        let family = unsafe { (*context.skb.skb).protocol };
        let (source, target, protocol, transport) = if family == IPV4 {
            let head: Ipv4 = load(context, begin)?;
            let length = begin + usize::from(head.version_length & 0xf) * 4;
            let later = begin == AT_LINK && head.fragment & OFFSET != 0;
            let protocol = if later { FRAGMENT } else { head.protocol };
            (Address::mapped(head.source), Address::mapped(head.target), protocol, length)
        } else if family == IPV6 {
            let head: Ipv6 = load(context, begin)?;
            (address(head.source), address(head.target), head.next_header, begin + 40)
        } else if begin == AT_LINK {
            // Whatever it is, it is for whoever listens on the link.
            (Address::NONE, ALL_NODES, PROTOCOL_RESERVED, begin)
        } else {
            return Err(failure::OTHER_PROTOCOL);
        };

        let (mut begins, mut unfollowed) = (true, FOLLOWED);
        let (source_port, target_port, tcp_flags, header) = match protocol {
            PROTOCOL_RESERVED if begin == AT_LINK && family != IPV4 && family != IPV6 => {
                unfollowed = failure::OTHER_PROTOCOL;
                NO_PORTS
            }
            PROTOCOL_TCP => match load::<Tcp>(context, transport) {
                Ok(head) => {
                    (head.source_port, head.target_port, head.flags, usize::from(head.data_offset >> 4) * 4)
                }
                Err(reason) => {
                    unfollowed = reason;
                    NO_PORTS
                }
            },
            PROTOCOL_UDP | PROTOCOL_UDPLITE | PROTOCOL_SCTP => match load::<[u16; 2]>(context, transport) {
                Ok(ports) => {
                    (ports[0], ports[1], 0, if protocol == PROTOCOL_SCTP { SCTP_HEADER } else { UDP_HEADER })
                }
                Err(reason) => {
                    unfollowed = reason;
                    NO_PORTS
                }
            },
            PROTOCOL_ICMP | PROTOCOL_ICMPV6 => {
                // Two bytes: that one byte lies within the packet, the verifier does not learn from a comparison.
                match load::<[u8; 2]>(context, transport) {
                    Ok([kind, _]) => match (protocol, kind) {
                        (PROTOCOL_ICMP, 8) | (PROTOCOL_ICMPV6, 128) => {}
                        (PROTOCOL_ICMP, 0) | (PROTOCOL_ICMPV6, 129) => begins = false,
                        // Errors and neighbour discovery: mostly the kernel speaks.
                        _ => unfollowed = failure::OTHER_PROTOCOL,
                    },
                    Err(reason) => unfollowed = reason,
                }
                (0, 0, 0, ICMP_HEADER)
            }
            // Group membership (IGMP), and MLD, whose packets begin with hop-by-hop options: as above.
            0 | 2 => {
                unfollowed = failure::OTHER_PROTOCOL;
                NO_PORTS
            }
            // IPv6 routing, fragment and destination options headers: anything may come behind them.
            43 | FRAGMENT | 60 if family == IPV6 || begin == AT_LINK => {
                unfollowed = failure::UNPARSED;
                NO_PORTS
            }
            _ => NO_PORTS,
        };

        let namespace = if source.is_loopback() { namespace(context) } else { 0 };
        let source = (source, u16::from_be(source_port));
        let target = (target, u16::from_be(target_port));
        let source_is_low = is_low(&source, &target);
        let asker = asker(protocol, source_is_low == begins);
        Ok(Self {
            key: key_with(source, target, protocol, namespace, asker),
            source_is_low,
            begins,
            unfollowed,
            tcp_flags,
            payload: u64::from(context.len()).saturating_sub((transport + header) as u64),
            // SAFETY: the context is valid for the whole program.
            cgroup: CgroupId(unsafe { bpf_skb_cgroup_id(context.skb.skb) }),
        })
    }

    /// Whether it asks for an echo (ping).
    #[inline(always)]
    pub(crate) fn is_echo_request(&self) -> bool {
        self.is_echo() && self.begins
    }

    /// Whether it is a ping, or the answer to one.
    #[inline(always)]
    pub(crate) fn is_echo(&self) -> bool {
        is_echo(self.key.protocol)
    }

    /// Whether a raw socket gets a copy of what another socket receives, or of an echo request, which the kernel answers
    /// (raw(7)): it is neither end.
    #[inline(never)]
    pub(crate) fn is_copy(&self, context: &SkBuffContext) -> bool {
        let copied = matches!(self.key.protocol, PROTOCOL_TCP | PROTOCOL_UDP) || self.is_echo_request();
        copied && is_raw(context)
    }

    /// Whether it is a segment of a connection in which nothing is that anybody could read, unless it was made by hand
    /// ([`is_by_hand`]).
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.is_tcp() && self.payload == 0 && !self.is_syn()
    }

    /// Whether the client of a flow sends it.
    #[inline(always)]
    pub(crate) fn is_from_client(&self, flow: &Flow) -> bool {
        self.source_is_low == (flow.flags & flag::CLIENT_IS_LOW != 0)
    }

    /// Where it comes from, and where it goes to.
    #[inline(always)]
    pub(crate) fn ends(&self) -> ((&Address, u16), (&Address, u16)) {
        let FlowKey { low, high, low_port, high_port, .. } = &self.key;
        let (low, high) = ((low, *low_port), (high, *high_port));
        if self.source_is_low { (low, high) } else { (high, low) }
    }

    /// Where it comes from.
    #[inline(always)]
    pub(crate) fn source(&self) -> End {
        if self.source_is_low { low(&self.key) } else { high(&self.key) }
    }

    /// Where it goes to.
    #[inline(always)]
    pub(crate) fn target(&self) -> End {
        if self.source_is_low { high(&self.key) } else { low(&self.key) }
    }

    /// Its sender.
    #[inline(always)]
    pub(crate) fn sender(&self) -> SenderKey {
        let (address, port) = self.source();
        SenderKey {
            address,
            namespace: if self.is_multicast() { 0 } else { self.key.namespace },
            port,
            protocol: self.key.protocol,
            padding: [0; 5],
        }
    }

    #[inline(always)]
    pub(crate) fn is_fragment(&self) -> bool {
        self.key.protocol == FRAGMENT
    }

    #[inline(always)]
    pub(crate) fn is_tcp(&self) -> bool {
        self.key.protocol == PROTOCOL_TCP
    }

    #[inline(always)]
    pub(crate) fn is_sctp(&self) -> bool {
        self.key.protocol == PROTOCOL_SCTP
    }

    /// Whether its target is a group.
    #[inline(always)]
    pub(crate) fn is_multicast(&self) -> bool {
        self.target().0.is_multicast()
    }

    /// The first packet of a TCP handshake.
    #[inline(always)]
    pub(crate) fn is_syn(&self) -> bool {
        self.tcp_flags & (SYN | ACK) == SYN
    }

    #[inline(always)]
    pub(crate) fn is_reset(&self) -> bool {
        self.tcp_flags & RST != 0
    }

    #[inline(always)]
    pub(crate) fn is_fin(&self) -> bool {
        self.tcp_flags & FIN != 0
    }
}

/// An address as it stands in a packet.
#[inline(always)]
fn address(halves: [u16; 8]) -> Address {
    // SAFETY: plain bytes, as many.
    Address(unsafe { mem::transmute::<[u16; 8], [u8; 16]>(halves) })
}

/// Reads a header: where it lies, if that is in the packet's linear part, as nearly always. The helper finds it anywhere,
/// and is some twenty instructions dearer.
#[inline(always)]
fn load<T: Copy>(context: &SkBuffContext, offset: usize) -> Result<T, u32> {
    // SAFETY: the context is valid for the whole program; the verifier knows both for the bounds of the packet.
    let (start, end) = unsafe { ((*context.skb.skb).data as usize, (*context.skb.skb).data_end as usize) };
    let header = start + offset;
    if header + size_of::<T>() <= end {
        // SAFETY: it lies within the packet, at an even address as all headers do; `T` is plain bytes, and its alignment
        // is two at most.
        return Ok(unsafe { ptr::read(header as *const T) });
    }
    context.load(offset).map_err(|_| failure::UNPARSED)
}

/// Whether the kernel itself sends, from a socket that no process has: neighbour discovery, reports of group membership,
/// errors. Without these nothing that a policy allows would find its way.
#[inline(never)]
pub(crate) fn is_kernels(context: &SkBuffContext) -> bool {
    // SAFETY: the context is valid for the whole program.
    let socket = unsafe { (*context.skb.skb).__bindgen_anon_2.sk };
    // The verifier forbids arithmetic on a socket pointer, but not on a copy of it that it does not know as one.
    let place = KernelPointer(ptr::from_ref(&socket).cast());
    let Some(socket) = place.follow(0) else { return false };
    let Some(socket) = socket.follow(offset!(sock_socket)) else { return true };
    socket.follow(offset!(socket_file)).is_none()
}

/// Whether a process has made a packet whole, and with it what stands in the header of its connection, or gets it so.
#[inline(never)]
pub(crate) fn is_by_hand(context: &SkBuffContext) -> bool {
    is_raw(context) && !is_kernels(context)
}

/// Whether the socket of a packet is a raw one.
#[inline(always)]
fn is_raw(context: &SkBuffContext) -> bool {
    const SOCK_RAW: u32 = 3;
    // SAFETY: the context is valid for the whole program; the helper answers null for what is no full socket.
    unsafe {
        let socket = (*context.skb.skb).__bindgen_anon_2.sk;
        let socket = if socket.is_null() { socket } else { bpf_sk_fullsock(socket) };
        !socket.is_null() && (*socket).type_ == SOCK_RAW
    }
}

/// Tells network namespaces apart: the address of the socket's `struct net`. Only asked for loopback addresses,
/// which every namespace has; all others are the host's or a container's own.
///
/// Zero where it cannot be read: loopback flows of two namespaces on the same ports would then be one.
#[inline(never)]
fn namespace(context: &SkBuffContext) -> u64 {
    // SAFETY: the context is valid for the whole program.
    let socket = unsafe { (*context.skb.skb).__bindgen_anon_2.sk };
    if socket.is_null() {
        return 0;
    }
    // The verifier forbids arithmetic on a socket pointer: copy the head of `struct sock` and look into the copy.
    let mut head = [0u64; 8];
    // SAFETY: the helper writes the size of `head` or fails.
    let result = unsafe {
        bpf_probe_read_kernel(ptr::from_mut(&mut head).cast(), size_of_val(&head) as u32, socket.cast())
    };
    let index = (offset!(sock_net) / 8) as usize;
    if result == 0 && index < head.len() { head[index] } else { 0 }
}
