//! Addresses that mean something by themselves.

use cofferdam_common::ids::Address;

/// ff02::1: whoever listens on the link (RFC 4291 section 2.7.1).
pub(crate) const ALL_NODES: Address = Address([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// 169.254.0.0/16 (RFC 3927) and fe80::/10 (RFC 4291 section 2.5.6).
#[inline(always)]
pub(crate) fn is_link_local(address: &Address) -> bool {
    let words = address.words();
    u64::from_be(words[0]) >> 54 == 0xfe80 >> 6
        || words[0] == 0 && u64::from_be(words[1]) >> 16 == 0xffff_a9fe
}

/// A group (RFC 1112 section 4, RFC 4291 section 2.7).
#[inline(always)]
pub(crate) fn is_multicast(address: &Address) -> bool {
    let words = address.words();
    let low = u64::from_be(words[1]);
    u64::from_be(words[0]) >> 56 == 0xff || (words[0] == 0 && low >> 28 == 0xff_ffe)
}
