//! Whether an address is private or public, by IANA's registries of special addresses (RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::event::Scope;

const fn v4(a: u8, b: u8, c: u8, d: u8, length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(a: u16, b: u16, c: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), length)
}

/// Blocks of the IPv4 registry that are not globally reachable.
/// <https://www.iana.org/assignments/iana-ipv4-special-registry>
const PRIVATE_V4: [Ipv4Net; 14] = [
    v4(0, 0, 0, 0, 8),
    v4(10, 0, 0, 0, 8),
    v4(100, 64, 0, 0, 10),
    v4(127, 0, 0, 0, 8),
    v4(169, 254, 0, 0, 16),
    v4(172, 16, 0, 0, 12),
    v4(192, 0, 0, 0, 24),
    v4(192, 0, 2, 0, 24),
    v4(192, 168, 0, 0, 16),
    v4(198, 18, 0, 0, 15),
    v4(198, 51, 100, 0, 24),
    v4(203, 0, 113, 0, 24),
    v4(240, 0, 0, 0, 4),
    v4(255, 255, 255, 255, 32),
];

/// Blocks of the IPv6 registry that are not globally reachable.
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>
const PRIVATE_V6: [Ipv6Net; 10] = [
    // Unspecified and loopback.
    v6(0, 0, 0, 96),
    v6(0x64, 0xff9b, 1, 48),
    v6(0x100, 0, 0, 64),
    // Assignments to protocols, without those that are reachable as a whole.
    v6(0x2001, 0, 0, 28),
    v6(0x2001, 0x10, 0, 28),
    v6(0x2001, 0xdb8, 0, 32),
    v6(0x3fff, 0, 0, 20),
    v6(0x5f00, 0, 0, 16),
    v6(0xfc00, 0, 0, 7),
    v6(0xfe80, 0, 0, 10),
];

/// Whether an address is private or public.
pub(super) fn of(address: IpAddr) -> Scope {
    let address = address.to_canonical();
    let private = match address {
        IpAddr::V4(address) => PRIVATE_V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => PRIVATE_V6.iter().any(|network| network.contains(&address)),
    };
    if address.is_multicast() {
        Scope::Multicast
    } else if private {
        Scope::Private
    } else {
        Scope::Public
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_private_and_others_public() {
        let private =
            "0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 169.254.169.254 172.16.0.1 172.31.255.255
            192.168.1.1 192.0.2.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 240.0.0.1 255.255.255.255
            :: ::1 ::ffff:10.0.0.1 fe80::1 fc00::1 fdff::1 2001:db8::1 3fff::1 64:ff9b:1::1 2001::1";
        let public =
            "1.1.1.1 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 172.15.255.255 172.32.0.1 192.167.1.1
            198.17.255.255 198.20.0.1 223.255.255.255 2606:4700::1 2001:4860::8888 2001:20::1 64:ff9b::1
            ::ffff:1.1.1.1 2a00::1";
        let multicast = "224.0.0.1 239.255.255.255 ff02::1";
        for (addresses, scope) in
            [(private, Scope::Private), (public, Scope::Public), (multicast, Scope::Multicast)]
        {
            for address in addresses.split_whitespace() {
                assert_eq!(of(address.parse().unwrap()), scope, "{address}");
            }
        }
    }
}
