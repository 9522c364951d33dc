//! Policy: what the kernel looks up to decide whether one workload may interact with another, and how it decides.
//!
//! A policy becomes numbers before it reaches the kernel. Workloads that no rule can tell apart have one [`Identity`].
//! Each identity has, for each direction, a [`Span`] of [`Interval`]s that says what holds towards any peer, and a pair
//! of identities has one of its own where that differs. So a decision costs two look-ups and a search in a span, however
//! many rules or containers there are.
//!
//! Everything is there twice, in two *slots*. A new generation is written into the slot that is not in use, and then the
//! number of the generation is changed: its lowest bit says which slot is in use. [`judge`] runs in the kernel, and in
//! the daemon wherever it has to say what the kernel would do.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    ids::{Address, CgroupId},
    network::{VERDICT_ALLOW, VERDICT_DENY},
    process::Caller,
    record::Header,
};

/// The number of what rules cannot tell apart.
#[repr(transparent)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
)]
pub struct Identity(pub u32);

impl Identity {
    /// A cgroup that is new, and of which it is not yet known who lives there.
    pub const UNRESOLVED: Self = Self(0);
    /// A peer that no rule names: only `any` means it.
    pub const NOBODY: Self = Self(1);
    /// Whoever sends with an address that is not his.
    pub const FORGED: Self = Self(2);
    /// A cgroup of which it has not become known in time who lives there.
    pub const NEVER_TOLD: Self = Self(3);
    /// The first that a plan may give.
    pub const FIRST: Self = Self(4);
}

/// From the subject to the peer: may it send?
pub const EGRESS: u8 = 0;
/// From the peer to the subject: may it receive?
pub const INGRESS: u8 = 1;

/// No rule: what holds where none selects the subject.
pub const RULE_NONE: u32 = 0;

/// How deep a container's own cgroup may lie below the root, for others below it to count as the container's: so many levels
/// are looked through from the root on.
pub const LEVELS: usize = 12;

/// Most intervals of a span: a power of two.
pub const INTERVALS_LIMIT: u32 = 4_096;

/// Where intervals lie within their slot. An empty span allows everything.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Span {
    /// The first.
    pub start: u32,
    /// How many.
    pub length: u32,
}

/// Which identity the workload in a cgroup has.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Resident {
    /// By slot.
    pub identities: [Identity; 2],
    /// 1 where it has all cgroups below as well, also those that are made later: a container's own cgroup.
    pub owns_below: u32,
    /// 1 where each frame that it sends past the IP stack is judged at a link of its own, so that it need not be judged as it
    /// is sent.
    pub covered: u32,
}

/// What is the same for all peers of an identity.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Subject {
    /// What holds towards peers that have no pair, by direction ([`EGRESS`], [`INGRESS`]).
    pub any: [Span; 2],
    /// Whether there are pairs at all, by direction: 0 or 1.
    pub pairs: [u32; 2],
}

/// Two identities, of which one is judged.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct PairKey {
    /// Who is judged.
    pub subject: Identity,
    /// With whom it interacts.
    pub peer: Identity,
    /// [`EGRESS`] or [`INGRESS`].
    pub direction: u8,
    /// The slot: 0 or 1.
    pub slot: u8,
    /// Zero.
    pub padding: u16,
}

/// What holds from one protocol and port on, up to the next interval. The first of a span begins at zero.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Interval {
    /// See [`service`].
    pub first: u32,
    /// The number of the rule that decides. The daemon gives it, and a rule that does not change keeps it.
    pub rule: u32,
    /// [`VERDICT_ALLOW`], `VERDICT_AUDIT` or [`VERDICT_DENY`].
    pub verdict: u8,
    /// One of [`why`].
    pub why: u8,
    /// Zero.
    pub padding: u16,
}

/// Why a verdict was given ([`Interval::why`]).
pub mod why {
    /// The rule says so.
    pub const RULE: u8 = 0;
    /// The rule selects the workload, and neither it nor another allows this.
    pub const NOT_ALLOWED: u8 = 1;
    /// No rule selects the workload: it is the default of its direction.
    pub const DEFAULT: u8 = 2;
    /// It is not known yet who one of them is.
    pub const UNRESOLVED: u8 = 3;
    /// The sender's address is not his.
    pub const FORGED: u8 = 4;
}

/// A protocol (as in the IP header) and a port, as one number that intervals are sorted by.
#[inline(always)]
#[must_use]
pub const fn service(protocol: u8, port: u16) -> u32 {
    (protocol as u32) << 16 | port as u32
}

/// A network of peers outside, as the kernel's trie of prefixes wants it: the slot and the address, in network order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct NetworkKey {
    /// The slot, in network order.
    pub slot: [u8; 4],
    /// The address; IPv4 is mapped.
    pub address: [u8; 16],
}

/// Bits of a [`NetworkKey`] that go before the address.
pub const NETWORK_KEY_BITS: u32 = 32;

/// A verdict and where it comes from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Judgement {
    /// The rule that decides, or [`RULE_NONE`].
    pub rule: u32,
    /// [`VERDICT_ALLOW`], `VERDICT_AUDIT`, [`VERDICT_DENY`] or `VERDICT_HOLD`.
    pub verdict: u8,
    /// One of [`why`].
    pub why: u8,
    /// The direction that it was found in: [`EGRESS`] or [`INGRESS`].
    pub direction: u8,
    /// Zero.
    pub padding: u8,
}

impl Judgement {
    /// Nothing speaks against it.
    pub const ALLOW: Self =
        Self { rule: RULE_NONE, verdict: VERDICT_ALLOW, why: why::DEFAULT, direction: EGRESS, padding: 0 };

    /// What names say of an address that has none.
    pub const NAMELESS: Self =
        Self { rule: RULE_NONE, verdict: u8::MAX, why: why::NOT_ALLOWED, direction: EGRESS, padding: 0 };

    /// The one of two that allows more; of two alike the one that a rule says ([`why::RULE`]), and else the first.
    #[inline(always)]
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if (other.verdict, other.why) < (self.verdict, self.why) { other } else { self }
    }

    /// The stricter of two.
    #[inline(always)]
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        // Verdicts are numbered by strictness.
        if other.verdict > self.verdict { other } else { self }
    }

    /// Whether nothing lets the sender send it, and nothing forbids it by itself.
    #[inline(always)]
    #[must_use]
    pub const fn is_for_lack_of_a_rule(&self) -> bool {
        self.why == why::NOT_ALLOWED && self.direction == EGRESS
    }

    /// What names leave of it, each of which is judged alone: rules only allow by name, so that a name takes nothing away.
    #[must_use]
    pub fn or_by_names(self, names: impl IntoIterator<Item = Self>) -> Self {
        if self.is_for_lack_of_a_rule() { names.into_iter().fold(self, Self::or) } else { self }
    }

    /// Whether the kernel lets it pass.
    #[inline(always)]
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.verdict < VERDICT_DENY
    }
}

/// Where a plan is looked up: maps in the kernel, vectors in the daemon.
pub trait Tables {
    /// What is the same for all peers of an identity.
    fn subject(&self, slot: u8, identity: Identity) -> Option<Subject>;
    /// What holds between two identities.
    fn pair(&self, key: &PairKey) -> Option<Span>;
    /// One interval of a slot.
    fn interval(&self, slot: u8, index: u32) -> Option<Interval>;
}

/// Whether `subject` may send to (or, by `direction`, receive from) `peer`. The port is always the server's.
///
/// Fail direction: deny, where the tables lack what they promise. They are written before they are used, so that this
/// cannot happen.
#[inline(always)]
pub fn judge(
    tables: &impl Tables,
    slot: u8,
    direction: u8,
    subject: Identity,
    peer: Identity,
    service: u32,
) -> Judgement {
    const BROKEN: Judgement = Judgement {
        rule: RULE_NONE,
        verdict: VERDICT_DENY,
        why: why::UNRESOLVED,
        direction: EGRESS,
        padding: 0,
    };
    let Some(entry) = tables.subject(slot, subject) else { return BROKEN };
    let (any, pairs) =
        if direction == EGRESS { (entry.any[0], entry.pairs[0]) } else { (entry.any[1], entry.pairs[1]) };
    let mut span = any;
    if pairs != 0
        && let Some(own) = tables.pair(&PairKey { subject, peer, direction, slot, padding: 0 })
    {
        span = own;
    }
    if span.length == 0 {
        return Judgement { direction, ..Judgement::ALLOW };
    }
    // The last interval that begins at or before the service.
    let (mut last, mut step) = (0, INTERVALS_LIMIT / 2);
    while step > 0 {
        let next = last + step;
        if next < span.length {
            let Some(interval) = tables.interval(slot, span.start + next) else { return BROKEN };
            last += step * at_or_before(interval.first, service);
        }
        step /= 2;
    }
    let Some(interval) = tables.interval(slot, span.start + last) else { return BROKEN };
    Judgement { rule: interval.rule, verdict: interval.verdict, why: interval.why, direction, padding: 0 }
}

/// 1 where `first` is not greater than `service`, else 0. Without a branch: the kernel's verifier would follow both ways
/// of each step of the search.
#[inline(always)]
fn at_or_before(first: u32, service: u32) -> u32 {
    (u64::from(first).wrapping_sub(u64::from(service) + 1) >> 63) as u32
}

/// Whether `source` may interact with `target`: it may send, and the other may receive.
#[inline(always)]
pub fn judge_both(
    tables: &impl Tables,
    slot: u8,
    source: Identity,
    target: Identity,
    service: u32,
) -> Judgement {
    let sends = judge(tables, slot, EGRESS, source, target, service);
    sends.and(judge(tables, slot, INGRESS, target, source, service))
}

/// Where a verdict was given ([`VerdictRecord::layer`]).
pub mod layer {
    /// `connect(2)`: the caller is told at once.
    pub const CONNECT: u8 = 0;
    /// At the sender's socket.
    pub const EGRESS: u8 = 1;
    /// At the receiver's socket.
    pub const INGRESS: u8 = 2;
    /// At the host's end of a container's virtual Ethernet link.
    pub const LINK: u8 = 3;
    /// At a call that sends a frame past the IP stack: the caller is told at once.
    pub const LSM: u8 = 4;
    /// How many there are.
    pub const COUNT: u8 = 5;
    /// Their names, by number.
    pub const NAMES: [&str; COUNT as usize] = ["connect", "egress", "ingress", "veth", "lsm"];
}

/// An interaction was denied, or would have been. Repeats are folded: see [`VerdictRecord::attempts`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct VerdictRecord {
    /// Kind [`crate::record::kind::VERDICT`]; the cgroup is the one of the socket, or of the task, at which it was given.
    pub header: Header,
    /// Who sent, or [`CgroupId::NONE`].
    pub source: CgroupId,
    /// To whom, or [`CgroupId::NONE`] where that is known by its address only.
    pub target: CgroupId,
    /// The sender's address; [`Address::NONE`] where none is chosen yet.
    pub source_address: Address,
    /// The target's address, as the sender knows it.
    pub target_address: Address,
    /// Packets and calls of the same kind since the last record of them, this one included.
    pub attempts: u64,
    /// What was judged, and how.
    pub judgement: Judgement,
    /// Whose call it was, of the attempts the one that is told.
    pub caller: Caller,
    /// The sender's port, host order; zero where none is chosen yet.
    pub source_port: u16,
    /// The target's port, host order.
    pub port: u16,
    /// As in the IP header.
    pub protocol: u8,
    /// One of [`layer`].
    pub layer: u8,
    /// Zero.
    pub padding: u16,
}
