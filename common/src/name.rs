//! DNS names in policies: which addresses a workload was told for a name that rules speak of.
//!
//! The kernel reads the answer on its way to the workload, so that the address is known before the workload can use it. A
//! name is looked up back to front in a trie of prefixes, where the longest pattern counts; an address that was told has
//! the pattern's number, which is the same for all generations of the policies and all daemons.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ids::{Address, CgroupId};

/// Most bytes of a name on the wire, without the root's (RFC 1035 section 2.3.4).
pub const NAME_LIMIT: usize = 254;

/// Ends a whole name in a [`PatternKey`]: no byte of a name in lower case, and no length of a label.
pub const NAME_END: u8 = b'A';

/// A pattern of names, by what is written: the same for all generations.
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
pub struct PatternId(pub u64);

impl PatternId {
    /// No pattern: of names that are left out of what a shorter pattern means, and of what is free.
    pub const NONE: Self = Self(0);
}

/// A name or the end of names, as the kernel's trie of prefixes wants it (at most 256 bytes).
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct PatternKey {
    /// The slot: 0 or 1.
    pub slot: u8,
    /// The labels in lower case as they are on the wire, each behind its length, and all that back to front: of
    /// `api.example` it is `elpmaxe`, 7, `ipa`, 3. A whole name has [`NAME_END`] behind it.
    pub name: [u8; NAME_LIMIT + 1],
}

impl PatternKey {
    /// The key of a name, and how many bits of it count. `wire` is the name as it is on the wire, without the root's
    /// byte; of one that is too long the rest is left out. `whole` says whether only this name is meant, or all that end so.
    #[must_use]
    pub fn new(slot: u8, wire: &[u8], whole: bool) -> (Self, u32) {
        let mut name = [0; NAME_LIMIT + 1];
        let mut length = 0;
        for (place, byte) in name.iter_mut().zip(wire.iter().rev().take(NAME_LIMIT)) {
            *place = byte.to_ascii_lowercase();
            length += 1;
        }
        if whole && let Some(end) = name.get_mut(length) {
            *end = NAME_END;
            length += 1;
        }
        (Self { slot, name }, Self::bits(length))
    }

    /// How many bits of a key count, of which so many bytes of the name do.
    #[inline(always)]
    #[must_use]
    pub const fn bits(length: usize) -> u32 {
        8 * (length as u32 + 1)
    }
}

/// An address that a workload was told.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct NamedKey {
    /// Whose identity the asker has.
    pub owner: CgroupId,
    /// The address.
    pub address: Address,
}

/// Under how many patterns a workload can know one address.
pub const HELD_LIMIT: usize = 4;

/// Under which patterns a workload was told an address.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Named {
    /// Those with [`PatternId::NONE`] are free.
    pub held: [Held; HELD_LIMIT],
}

/// One of these.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Held {
    /// Which pattern.
    pub pattern: PatternId,
    /// Until when the answer is valid, in nanoseconds since boot, not counting suspension (`CLOCK_MONOTONIC`).
    pub valid_until: u64,
}

/// Least time for which an answer is valid, in seconds: programs use what they looked up for longer than a short TTL.
pub const SHORTEST_TTL: u64 = 60;
/// Longest time, in seconds (RFC 8767 section 4 recommends days at most; whoever goes on asks again).
const LONGEST_TTL: u64 = 86_400;

/// For how long an answer is valid, in nanoseconds.
#[inline(always)]
#[must_use]
pub const fn valid_for(ttl: u32) -> u64 {
    const NANOSECONDS: u64 = 1_000_000_000;
    let ttl = ttl as u64;
    let ttl = if ttl < SHORTEST_TTL { SHORTEST_TTL } else { ttl };
    (if ttl > LONGEST_TTL { LONGEST_TTL } else { ttl }) * NANOSECONDS
}

/// Whether an address can be a peer's outside, whoever says so: what is only valid on a host or a link is not for the DNS
/// to tell (RFC 6761, RFC 3927: 169.254.169.254 is where clouds give out their secrets).
#[inline(always)]
#[must_use]
pub fn can_be_told(address: &Address) -> bool {
    !(address.is_loopback() || address.is_unspecified() || address.is_multicast() || address.is_link_local())
}

/// How many addresses all workloads together can know at once.
pub const NAMED_LIMIT: u32 = 65_536;
/// How many addresses one workload can know at once.
pub const NAMED_OF_ONE_LIMIT: u32 = 4_096;

/// Whose answers are believed: of a workload of this host by its cgroup, of others by the address that was asked.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Resolver {
    /// The cgroup whose identity it has, or [`CgroupId::NONE`].
    pub owner: CgroupId,
    /// Its address, or [`Address::NONE`].
    pub address: Address,
}

/// By which link answers from outside can reach a workload.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Hash, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Entrance {
    /// Whose identity it has.
    pub owner: CgroupId,
    /// The link's index in the workload's network namespace; 0 stands for any but the loopback, in the host's.
    pub link: u32,
    /// Zero.
    pub padding: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_that_end_so_begin_as_the_pattern_does() {
        let (name, bits) = PatternKey::new(1, b"\x03Api\x07example\x03org", true);
        assert_eq!((name.slot, bits), (1, 8 * 18));
        assert_eq!(name.name[..17], *b"gro\x03elpmaxe\x07ipa\x03A");
        let (pattern, bits) = PatternKey::new(1, b"\x07example\x03org", false);
        let bytes = bits as usize / 8 - 1;
        assert_eq!(pattern.name[..bytes], name.name[..bytes]);
    }

    #[test]
    fn what_is_only_valid_on_a_host_or_a_link_is_not_for_the_dns_to_tell() {
        use core::net::IpAddr;
        let told = |text: &str| can_be_told(&text.parse::<IpAddr>().unwrap().into());
        for text in
            ["127.0.0.1", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1"]
        {
            assert!(!told(text), "{text}");
        }
        for text in ["203.0.113.7", "10.0.0.1", "2001:db8::1", "fd00::1"] {
            assert!(told(text), "{text}");
        }
    }

    #[test]
    fn an_answer_is_valid_for_a_minute_at_least_and_a_day_at_most() {
        let seconds = [0, 61, u32::MAX].map(|ttl| valid_for(ttl) / 1_000_000_000);
        assert_eq!(seconds, [60, 61, 86_400]);
    }

    #[test]
    fn a_key_is_as_long_as_a_trie_takes() {
        assert_eq!(size_of::<PatternKey>(), 256);
        let (_, bits) = PatternKey::new(0, &[b'a'; 300], true);
        assert_eq!(bits, 8 * 256);
    }
}
