//! Packets that are made here: a datagram of UDP over IPv4 or IPv6, and the frame of Ethernet around it. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const UDP: u8 = 17;
const UDP_HEADER: u16 = 8;
const IPV4_HEADER: u16 = 20;
const HOPS: u8 = 64;

/// One end of a datagram.
pub(super) type End = (IpAddr, u16);

/// A datagram with its headers; `None` where the ends are not of one family, or the payload is too long.
pub(super) fn datagram(from: End, to: End, payload: &[u8]) -> Option<Vec<u8>> {
    let length = UDP_HEADER.checked_add(u16::try_from(payload.len()).ok()?)?;
    let (mut packet, beside) = match (from.0, to.0) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            (ipv4(source, target, length)?, [source.octets(), target.octets()].concat())
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            (ipv6(source, target, length), [source.octets(), target.octets()].concat())
        }
        _ => return None,
    };
    let header = |sum: u16| [from.1, to.1, length, sum].map(u16::to_be_bytes).concat();
    // Summed up with what stands beside it (RFC 768, RFC 8200 section 8.1).
    let sum = checksum(&[&beside, &u16::from(UDP).to_be_bytes(), &length.to_be_bytes(), &header(0), payload]);
    packet.extend(header(if sum == 0 { u16::MAX } else { sum }));
    packet.extend(payload);
    Some(packet)
}

/// A frame with a packet of that family; addresses are those of the hardware.
pub(super) fn frame(from: [u8; 6], to: [u8; 6], is_ipv6: bool, packet: &[u8]) -> Vec<u8> {
    let protocol: u16 = if is_ipv6 { 0x86dd } else { 0x0800 };
    [&to[..], &from, &protocol.to_be_bytes(), packet].concat()
}

fn ipv4(source: Ipv4Addr, target: Ipv4Addr, length: u16) -> Option<Vec<u8>> {
    let [high, low] = IPV4_HEADER.checked_add(length)?.to_be_bytes();
    let mut header = vec![0x45, 0, high, low, 0, 0, 0, 0, HOPS, UDP, 0, 0];
    header.extend(source.octets());
    header.extend(target.octets());
    let sum = checksum(&[&header]);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    Some(header)
}

fn ipv6(source: Ipv6Addr, target: Ipv6Addr, length: u16) -> Vec<u8> {
    let [high, low] = length.to_be_bytes();
    let mut header = vec![0x60, 0, 0, 0, high, low, UDP, HOPS];
    header.extend(source.octets());
    header.extend(target.octets());
    header
}

/// The Internet's checksum (RFC 1071) of parts, each but the last of an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u64 =
        words.map(|word| u64::from(word[0]) << 8 | word.get(1).copied().map_or(0, u64::from)).sum();
    let mut folded = sum;
    while folded > 0xffff {
        folded = (folded & 0xffff) + (folded >> 16);
    }
    !(folded as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> (End, End) {
        ((from.parse().unwrap(), 4_000), (to.parse().unwrap(), 7_007))
    }

    #[test]
    fn a_header_that_is_summed_with_its_sum_comes_to_nothing() {
        for payload in [b"even".as_slice(), b"odd", b""] {
            let (from, to) = ends("169.254.255.241", "169.254.255.242");
            let packet = datagram(from, to, payload).unwrap();
            assert_eq!(packet.len(), 28 + payload.len());
            assert_eq!(checksum(&[&packet[..20]]), 0);
            assert_eq!(u16::from_be_bytes([packet[2], packet[3]]) as usize, packet.len());
            let udp = &packet[20..];
            let length = (udp.len() as u16).to_be_bytes();
            assert_eq!(checksum(&[&packet[12..20], &[0, UDP], &length, udp]), 0);

            let (from, to) = ends("fdcb:7e15:9a42::1", "fdcb:7e15:9a42::2");
            let packet = datagram(from, to, payload).unwrap();
            assert_eq!((packet[0], packet.len()), (0x60, 48 + payload.len()));
            let udp = &packet[40..];
            assert_eq!(checksum(&[&packet[8..40], &[0, UDP], &length, udp]), 0);
            assert!(packet.ends_with(payload));
        }
    }

    #[test]
    fn ends_of_two_families_have_no_datagram() {
        let (from, to) = ends("169.254.255.241", "fdcb:7e15:9a42::2");
        assert_eq!(datagram(from, to, b""), None);
        let (from, to) = ends("::1", "::1");
        assert_eq!(datagram(from, to, &[0; 65_535]), None);
    }

    #[test]
    fn a_frame_begins_with_whom_it_is_for() {
        let frame = frame([1; 6], [2; 6], true, b"packet");
        assert_eq!(frame, [&[2; 6][..], &[1; 6], &[0x86, 0xdd], b"packet"].concat());
    }
}
