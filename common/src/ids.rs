//! Numbers that must not be mixed up, each a type of its own.

use core::net::{IpAddr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A cgroup of the v2 hierarchy, as `bpf_get_current_cgroup_id(2)` gives it: the inode of its directory.
///
/// Ids are unique while the machine is up and start anew at boot.
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
pub struct CgroupId(pub u64);

impl CgroupId {
    /// No cgroup of this host: the party is known by its address only.
    pub const NONE: Self = Self(0);
    /// The root of the hierarchy.
    pub const ROOT: Self = Self(1);
    /// Stands for every target of a source once the ledger is full ([`crate::network::LedgerKey`]).
    pub const OTHER: Self = Self(u64::MAX);
    /// There is a cgroup, and nobody can tell which.
    pub const UNKNOWN: Self = Self(u64::MAX - 1);
}

/// A process: the kernel's `task_struct.tgid`, which user space calls pid.
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
pub struct Tgid(pub u32);

/// An IPv6 address in network order; IPv4 is mapped (`::ffff:a.b.c.d`, RFC 4291 section 2.5.5.2).
///
/// Aligned, so that the kernel's programs handle it as two words instead of sixteen bytes.
#[repr(C, align(8))]
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
pub struct Address(pub [u8; 16]);

impl Address {
    /// `::`, used where a party is known by its cgroup.
    pub const NONE: Self = Self([0; 16]);

    /// `::ffff:a.b.c.d` for the IPv4 address whose bytes in network order are `word` in memory.
    #[inline(always)]
    #[must_use]
    pub fn mapped(word: u32) -> Self {
        Self(zerocopy::transmute!([0, 0, 0xffff_u32.to_be(), word]))
    }

    /// The address whose bytes in network order are these words in memory.
    #[inline(always)]
    #[must_use]
    pub fn from_words(words: [u32; 4]) -> Self {
        Self(zerocopy::transmute!(words))
    }

    /// The address as two words, each as it lies in memory: for comparisons, not for arithmetic.
    #[inline(always)]
    #[must_use]
    pub fn words(&self) -> [u64; 2] {
        zerocopy::transmute!(self.0)
    }

    /// 127.0.0.0/8 (RFC 1122 section 3.2.1.3) and ::1 (RFC 4291 section 2.5.3).
    #[inline(always)]
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let words = self.words();
        let low = u64::from_be(words[1]);
        words[0] == 0 && (low == 1 || low >> 24 == 0xff_ff7f)
    }

    /// `::` and `0.0.0.0`, which mean the sender's own host (RFC 1122 section 3.2.1.3).
    #[inline(always)]
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        *self == Self::NONE || *self == Self::mapped(0)
    }

    /// 169.254.0.0/16 (RFC 3927) and fe80::/10 (RFC 4291 section 2.5.6).
    #[inline(always)]
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        let words = self.words();
        u64::from_be(words[0]) >> 54 == 0xfe80 >> 6
            || words[0] == 0 && u64::from_be(words[1]) >> 16 == 0xffff_a9fe
    }

    /// A group (RFC 1112 section 4, RFC 4291 section 2.7).
    #[inline(always)]
    #[must_use]
    pub fn is_multicast(&self) -> bool {
        let words = self.words();
        let low = u64::from_be(words[1]);
        u64::from_be(words[0]) >> 56 == 0xff || (words[0] == 0 && low >> 28 == 0xff_ffe)
    }
}

/// As the kernel's programs know it.
impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        Self(match address {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => address.octets(),
        })
    }
}

/// As people write it: mapped IPv4 becomes IPv4.
impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Ipv6Addr::from(address.0).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_are_written_as_ipv4() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let mapped = Address("::ffff:198.18.1.2".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(IpAddr::from(mapped), ip("198.18.1.2"));
        assert_eq!(Address::from(ip("198.18.1.2")), mapped);
        assert_eq!(IpAddr::from(Address::from(ip("2001:db8::1"))), ip("2001:db8::1"));
    }
}
