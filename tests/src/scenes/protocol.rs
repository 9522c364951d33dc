//! Protocols that are tried, by their numbers in the IP header.

/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// UDP-Lite.
pub const UDPLITE: u8 = 136;
/// Echoes of ICMP, and of ICMPv6 as well.
pub const ICMP: u8 = 1;
