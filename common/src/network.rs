//! Family network: flows, their records, and the ledger of who talked to whom.
//!
//! A flow has a client, which began it, and a server. Each end is *local* (a socket here, known by its cgroup) or *outside*
//! (known by its address). The ledger is kept by the hooks themselves, so that it is exact even when the ring drops records.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    ids::{Address, CgroupId},
    policy::Judgement,
    record::Header,
};

/// TCP, as in the IP header (IANA protocol numbers). The only protocol whose flows open and close by packets; all
/// others open with their first packet and end by silence.
pub const PROTOCOL_TCP: u8 = 6;
/// UDP.
pub const PROTOCOL_UDP: u8 = 17;
/// UDP-Lite (RFC 3828).
pub const PROTOCOL_UDPLITE: u8 = 136;
/// SCTP (RFC 9260).
pub const PROTOCOL_SCTP: u8 = 132;
/// ICMP (RFC 792): echo only. It has no ports.
pub const PROTOCOL_ICMP: u8 = 1;
/// ICMPv6 (RFC 4443): echo only.
pub const PROTOCOL_ICMPV6: u8 = 58;

/// The kernel let it pass.
pub const VERDICT_ALLOW: u8 = 1;
/// The kernel let it pass; a rule in audit mode would have denied it.
pub const VERDICT_AUDIT: u8 = 2;
/// The kernel denied it.
pub const VERDICT_DENY: u8 = 3;
/// The kernel let this packet drop, so that it is sent again when more is known.
pub const VERDICT_HOLD: u8 = 4;

/// How a flow ended ([`FlowRecord::end`]).
pub mod end {
    /// It has not: an open record.
    pub const OPEN: u8 = 0;
    /// Both sides closed in order (TCP FIN).
    pub const CLOSED: u8 = 1;
    /// One side reset it after it had opened.
    pub const RESET: u8 = 2;
    /// It never opened: the target reset the attempt.
    pub const REFUSED: u8 = 3;
    /// It never opened: no answer came. The daemon decides this.
    pub const UNANSWERED: u8 = 4;
    /// Nothing was sent for long. The daemon decides this.
    pub const IDLE: u8 = 5;
    /// The cgroup of one side was removed. The daemon decides this.
    pub const GONE: u8 = 6;
    /// It never opened: the client gave up after the server had answered, as a half-open port scan does.
    pub const ABORTED: u8 = 7;
    /// It never opened: a router, a firewall or this host said that the target cannot be reached.
    pub const UNREACHABLE: u8 = 8;
    /// It had opened, and the other side stopped answering: the kernel gave it up.
    pub const TIMED_OUT: u8 = 9;
}

/// Which flow a packet belongs to: its two ends in a fixed order, so that both directions find the same entry.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct FlowKey {
    /// The smaller end's address.
    pub low: Address,
    /// The larger end's address.
    pub high: Address,
    /// Tells loopback flows of network namespaces apart, and the receivers of one multicast packet; else zero. Opaque.
    pub namespace: u64,
    /// The smaller end's port, host order.
    pub low_port: u16,
    /// The larger end's port, host order.
    pub high_port: u16,
    /// As in the IP header.
    pub protocol: u8,
    /// Of echoes (ping): which end asks, 1 the smaller and 2 the larger; zero for all others. Who may ping somebody may
    /// not be pinged by him for that.
    pub asker: u8,
    /// Zero.
    pub padding: [u8; 2],
}

/// Whether a protocol is that of pings, which have no ports.
#[inline(always)]
#[must_use]
pub const fn is_echo(protocol: u8) -> bool {
    matches!(protocol, PROTOCOL_ICMP | PROTOCOL_ICMPV6)
}

/// One end of a flow: its address, and its port in host order.
pub type End<'a> = (&'a Address, u16);

impl FlowKey {
    /// The client's and the server's end, as the flow's [`flag`]s tell them apart.
    #[inline(always)]
    #[must_use]
    pub fn ends(&self, flags: u64) -> (End<'_>, End<'_>) {
        let (low, high) = ((&self.low, self.low_port), (&self.high, self.high_port));
        if flags & flag::CLIENT_IS_LOW != 0 { (low, high) } else { (high, low) }
    }
}

/// The port that a client means. Docker answers DNS inside each container's namespace on a port chosen by chance, to
/// which it translates port 53 (moby: `libnetwork/resolver.go`, `resolverIPSandbox`).
#[inline(always)]
#[must_use]
pub fn service_port((address, port): End<'_>) -> u16 {
    const DOCKER_DNS: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 11];
    if address.words() == Address(DOCKER_DNS).words() { 53 } else { port }
}

pub mod flag;

/// The state of one flow in the kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Flow {
    /// [`flag`]s.
    pub flags: u64,
    /// The client's cgroup, or [`CgroupId::NONE`] when it is outside.
    pub client: CgroupId,
    /// The server's cgroup, or [`CgroupId::NONE`] when it is outside or not yet known.
    pub server: CgroupId,
    /// The ledger's row, valid with [`flag::DECIDED`].
    pub row: u32,
    /// Port of `other_end`, host order.
    pub other_end_port: u16,
    /// Zero.
    pub padding: u16,
    /// With [`flag::TRANSLATED`] the address that the client dialled, with [`flag::SHADOW`] the real server's.
    pub other_end: Address,
    /// When the first packet was seen, in nanoseconds since boot.
    pub opened_at: u64,
    /// When the last packet was seen, in nanoseconds of the coarse monotonic clock.
    pub last_seen: u64,
    /// What passed.
    pub volume: Volume,
    /// The cgroup whose identity the client has: its own, or its container's.
    pub client_owner: CgroupId,
    /// The cgroup whose identity the server has.
    pub server_owner: CgroupId,
    /// What the policy in force says of it.
    pub judgement: Judgement,
    /// The generation that said so; zero while no policy was in force.
    pub generation: u32,
    /// Of all but TCP: packets of the server's that have not come to the client's socket, as one that was translated may be.
    pub awaited: u32,
    /// What it was last counted and told for as one that would be denied ([`Self::audit`]); zero while it never was.
    pub audited: u64,
}

impl Flow {
    /// Whether it is known to have opened, under our eyes or before.
    #[inline(always)]
    #[must_use]
    pub fn has_opened(&self) -> bool {
        self.flags & (flag::OPENED | flag::ADOPTED) != 0
    }

    /// What [`Self::audited`] says of a flow that is judged as this one: by which rule.
    #[inline(always)]
    #[must_use]
    pub fn audit(&self) -> u64 {
        u64::from(self.judgement.rule) + 1
    }

    /// How it ends ([`end`]) when one side resets it.
    #[inline(always)]
    #[must_use]
    pub fn end_by_reset(&self, by_client: bool) -> u8 {
        match (self.has_opened(), by_client) {
            (true, _) => end::RESET,
            (false, true) => end::ABORTED,
            (false, false) => end::REFUSED,
        }
    }

    /// How it has ended ([`end`]) when nothing will be seen of it any more, of what was seen.
    #[inline(always)]
    #[must_use]
    pub fn end_by_remains(&self) -> u8 {
        if self.flags & flag::RESET_SENT == 0 {
            return end::CLOSED;
        }
        self.end_by_reset(self.flags & flag::RESET_BY_CLIENT != 0)
    }
}

/// Payload bytes (without IP, TCP and UDP headers) and packets, each way. Retransmissions count again; a packet
/// is what the stack handed over, which with segmentation offload may be up to 64 KiB.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Volume {
    /// Bytes from client to server.
    pub bytes_sent: u64,
    /// Bytes from server to client.
    pub bytes_received: u64,
    /// Packets from client to server.
    pub packets_sent: u64,
    /// Packets from server to client.
    pub packets_received: u64,
}

/// One end of an interaction, as the kernel knows it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Party {
    /// The socket's cgroup, or [`CgroupId::NONE`] for an outside party, or [`CgroupId::OTHER`].
    pub cgroup: CgroupId,
    /// The address of an outside party, else [`Address::NONE`].
    pub address: Address,
}

impl Party {
    /// Every target of a source, once the ledger is full.
    pub const OTHER: Self = Self { cgroup: CgroupId::OTHER, address: Address::NONE };

    /// The party at one end of a flow: known by its cgroup where it has one, else by its address.
    #[inline(always)]
    #[must_use]
    pub fn new(cgroup: CgroupId, address: &Address) -> Self {
        Self { cgroup, address: if cgroup == CgroupId::NONE { *address } else { Address::NONE } }
    }
}

/// What one row of the ledger is about.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct LedgerKey {
    /// The client.
    pub source: Party,
    /// The server.
    pub target: Party,
    /// The server's port, host order; zero in a row that folds many.
    pub port: u16,
    /// As in the IP header; zero in a row that folds many.
    pub protocol: u8,
    /// [`VERDICT_ALLOW`], [`VERDICT_AUDIT`] or [`VERDICT_DENY`].
    pub verdict: u8,
    /// The port that the client dialled, where the target was translated on the way; else zero.
    pub dialled_port: u16,
    /// Zero.
    pub padding: u16,
    /// With [`VERDICT_AUDIT`] and [`VERDICT_DENY`] the rule that decided, else zero.
    pub rule: u32,
    /// Zero.
    pub padding_after: u32,
}

/// Counts of one row of the ledger. Updated by the hooks with atomic additions, never reset.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct LedgerRow {
    /// Flows begun; with [`VERDICT_DENY`] packets and calls that were denied.
    pub attempts: u64,
    /// Flows that opened (TCP: handshake complete; UDP: the first datagram).
    pub flows: u64,
    /// What passed.
    pub volume: Volume,
    /// Flows that never opened, by how they ended.
    pub failed: Failed,
    /// First and last packet, in nanoseconds of the coarse monotonic clock.
    pub first_seen: u64,
    /// See `first_seen`.
    pub last_seen: u64,
    /// With [`VERDICT_AUDIT`] and [`VERDICT_DENY`]: when it was last reported, likewise.
    pub reported_at: u64,
    /// How many `attempts` there were then.
    pub reported: u64,
    /// 1 where a full ledger counts many targets together: there each attempt is reported by itself.
    pub folds: u64,
}

/// Flows that never opened, by how they ended ([`end`]).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Failed {
    /// [`end::REFUSED`].
    pub refused: u64,
    /// [`end::UNREACHABLE`].
    pub unreachable: u64,
    /// [`end::ABORTED`].
    pub aborted: u64,
    /// [`end::UNANSWERED`].
    pub unanswered: u64,
}

impl Failed {
    /// The counter for an [`end`]; `None` where it says nothing about failure.
    #[inline(always)]
    #[must_use]
    pub fn counter(&mut self, end: u8) -> Option<&mut u64> {
        match end {
            end::REFUSED => Some(&mut self.refused),
            end::UNREACHABLE => Some(&mut self.unreachable),
            end::ABORTED => Some(&mut self.aborted),
            end::UNANSWERED => Some(&mut self.unanswered),
            _ => None,
        }
    }
}

/// The row that takes what fits nowhere else. It is the array's first.
pub const ROW_OTHER: u32 = 0;

/// A sender, for receivers that see a translated flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct SenderKey {
    /// Where it sends from.
    pub address: Address,
    /// See [`FlowKey::namespace`].
    pub namespace: u64,
    /// The port it sends from, host order.
    pub port: u16,
    /// As in the IP header.
    pub protocol: u8,
    /// Zero.
    pub padding: [u8; 5],
}

impl SenderKey {
    /// The sender that is the client of a flow, as the flow's [`flag`]s tell.
    #[inline(always)]
    #[must_use]
    pub fn of_client(key: &FlowKey, flags: u64) -> Self {
        let ((address, port), _) = key.ends(flags);
        Self { address: *address, namespace: key.namespace, port, protocol: key.protocol, padding: [0; 5] }
    }
}

/// What is known of a sender.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Sender {
    /// The socket's cgroup.
    pub cgroup: CgroupId,
    /// Where it sent to last: the address before translation.
    pub dialled: Address,
    /// The port it sent to last, host order.
    pub dialled_port: u16,
    /// Zero.
    pub padding: [u8; 6],
}

/// A flow opened or closed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct FlowRecord {
    /// Kind [`crate::record::kind::FLOW_OPEN`] or [`crate::record::kind::FLOW_CLOSE`]; the cgroup is the one of
    /// the socket at which it was seen.
    pub header: Header,
    /// The client's cgroup, or [`CgroupId::NONE`].
    pub client: CgroupId,
    /// The server's cgroup, or [`CgroupId::NONE`].
    pub server: CgroupId,
    /// The client's address.
    pub client_address: Address,
    /// The server's address.
    pub server_address: Address,
    /// The address that the client dialled, where it was translated; else [`Address::NONE`].
    pub dialled: Address,
    /// The client's port, host order.
    pub client_port: u16,
    /// The server's port, host order.
    pub server_port: u16,
    /// The port that the client dialled, or zero.
    pub dialled_port: u16,
    /// As in the IP header.
    pub protocol: u8,
    /// How it ended: one of [`end`].
    pub end: u8,
    /// When the first packet was seen, in nanoseconds since boot.
    pub opened_at: u64,
    /// What passed.
    pub volume: Volume,
    /// What the policy in force says of it.
    pub judgement: Judgement,
}
