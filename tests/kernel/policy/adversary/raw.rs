//! Packets that are made by hand: sent by raw sockets, past the IP stack, and by a device of the container's own.

use std::{fs, net::SocketAddr};

use nix::net::if_::if_nametoindex;
use smoltcp::{
    phy::{Device as _, Medium, TunTapInterface, TxToken as _},
    time::Instant as At,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Prepared, Scene, Version, Way,
    server::{EXPERIMENT, PAYLOAD},
    sockets::to,
};
use crate::policy::bridge::{framed, ip, packet};

pub(super) const WAYS: &[Way] = &[
    Way::new("a raw packet of any protocol", |scene, version| {
        headerless(scene, version, Protocol::from(EXPERIMENT), &PAYLOAD)
    }),
    Way::new("an echo request", echo),
    Way::new("UDP by a raw socket", |scene, version| by_raw_socket(scene, plain(scene, version, false))),
    Way::new("UDP by a raw socket, with the address of one who may", |scene, version| {
        by_raw_socket(scene, plain(scene, version, true))
    }),
    Way::new("UDP in fragments, by a raw socket", |scene, version| {
        by_raw_socket(scene, fragments(&plain(scene, version, false)[0]))
    }),
    Way::new("UDP in fragments, the last first, by a raw socket", |scene, version| {
        by_raw_socket(scene, reversed(fragments(&plain(scene, version, false)[0])))
    }),
    Way::new("UDP after extension headers, by a raw socket", |scene, version| {
        by_raw_socket(scene, vec![extended(&plain(scene, version, false)[0])])
    })
    .only(&[Version::V6]),
    Way::new("UDP after options, by a raw socket", |scene, version| {
        by_raw_socket(scene, vec![optioned(&plain(scene, version, false)[0])])
    })
    .only(&[Version::V4]),
    Way::new("UDP past the IP stack", |scene, version| by_packet_socket(scene, plain(scene, version, false))),
    Way::new("UDP past the IP stack, with the address of one who may", |scene, version| {
        by_packet_socket(scene, plain(scene, version, true))
    }),
    Way::new("UDP in fragments, past the IP stack", |scene, version| {
        by_packet_socket(scene, fragments(&plain(scene, version, false)[0]))
    }),
    Way::new("UDP in fragments, the last first, past the IP stack", |scene, version| {
        by_packet_socket(scene, reversed(fragments(&plain(scene, version, false)[0])))
    }),
    Way::new("UDP after extension headers, past the IP stack", |scene, version| {
        by_packet_socket(scene, vec![extended(&plain(scene, version, false)[0])])
    })
    .only(&[Version::V6]),
    Way::new("UDP by a TUN device", |scene, version| by_tun(scene, plain(scene, version, false))),
    Way::new("UDP by a TUN device, with the address of one who may", |scene, version| {
        by_tun(scene, plain(scene, version, true))
    }),
    Way::new("UDP in fragments, by a TUN device", |scene, version| {
        by_tun(scene, fragments(&plain(scene, version, false)[0]))
    }),
];

/// A datagram, of the address of `web` or of `api`, which may.
fn plain(scene: &Scene<'_>, version: Version, forged: bool) -> Vec<Vec<u8>> {
    let is_v6 = version == Version::V6;
    let source = if forged { scene.api.at(is_v6) } else { scene.web.at(is_v6) };
    vec![packet(source, to(scene, version))]
}

fn reversed(mut packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    packets.reverse();
    packets
}

const fn is_v4(packet: &[u8]) -> bool {
    packet[0] >> 4 == 4
}

/// A device of `web`'s own.
const TUN: &str = "tun0";
/// Bytes of headers of IP.
const V4_HEADER: usize = 20;
const V6_HEADER: usize = 40;
/// Where what follows is written in an IPv6 header, and numbers of what may (RFC 8200).
const NEXT: usize = 6;
const HOP_BY_HOP: u8 = 0;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Two fragments, of which the first has no more than the header of UDP.
fn fragments(packet: &[u8]) -> Vec<Vec<u8>> {
    const FIRST: usize = 8;
    let parts = |header: usize| {
        let (first, rest) = packet[header..].split_at(FIRST);
        [(first, 0, true), (rest, FIRST / 8, false)]
    };
    if is_v4(packet) {
        return parts(V4_HEADER)
            .map(|(part, offset, more)| {
                let mut bytes = packet[..V4_HEADER].to_vec();
                bytes[4..6].copy_from_slice(&77_u16.to_be_bytes());
                let word = u16::try_from(offset).expect("it is small") | u16::from(more) << 13;
                bytes[6..8].copy_from_slice(&word.to_be_bytes());
                bytes.extend(part);
                with_length(bytes)
            })
            .into();
    }
    let fragment = |(part, offset, more): (&[u8], usize, bool)| {
        let mut bytes = packet[..V6_HEADER].to_vec();
        let word = u16::try_from(offset << 3).expect("it is small") | u16::from(more);
        bytes.extend([packet[NEXT], 0]);
        bytes.extend(word.to_be_bytes());
        bytes.extend(77_u32.to_be_bytes());
        bytes[NEXT] = FRAGMENT;
        bytes.extend(part);
        with_length(bytes)
    };
    parts(V6_HEADER).map(fragment).into()
}

/// With options for each hop and for the target, which say nothing.
fn extended(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet[..V6_HEADER].to_vec();
    bytes.extend([DESTINATION, 0, 1, 4, 0, 0, 0, 0]);
    bytes.extend([packet[NEXT], 0, 1, 4, 0, 0, 0, 0]);
    bytes[NEXT] = HOP_BY_HOP;
    bytes.extend(&packet[V6_HEADER..]);
    with_length(bytes)
}

/// With options that say nothing (RFC 791: no operation).
fn optioned(packet: &[u8]) -> Vec<u8> {
    let mut bytes = packet[..V4_HEADER].to_vec();
    bytes[0] = 0x46;
    bytes.extend([1, 1, 1, 0]);
    bytes.extend(&packet[V4_HEADER..]);
    with_length(bytes)
}

/// With the length, and of IPv4 with the checksum (RFC 1071), as they are now.
fn with_length(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a packet");
    if is_v4(&bytes) {
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes[10..12].fill(0);
        let header = usize::from(bytes[0] & 15) * 4;
        let sum: u32 =
            bytes[..header].chunks(2).map(|two| u32::from(u16::from_be_bytes([two[0], two[1]]))).sum();
        let folded = (sum & 0xffff) + (sum >> 16);
        let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("it is folded");
        bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
    } else {
        bytes[4..6].copy_from_slice(&(length - 40).to_be_bytes());
    }
    bytes
}

fn raw(to: SocketAddr, protocol: Protocol) -> Socket {
    Socket::new(Domain::for_address(to), Type::RAW, Some(protocol)).expect("a raw socket")
}

fn headerless<'a>(
    scene: &'a Scene<'a>,
    version: Version,
    protocol: Protocol,
    bytes: &'static [u8],
) -> Prepared<'a> {
    let to = SocketAddr::new(to(scene, version).ip(), 0);
    Prepared::ready(move || {
        let _ = scene.as_web(move || raw(to, protocol).send_to(bytes, &to.into()));
    })
}

fn echo<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    /// Type, code, checksum, identifier, number, data; of ICMPv6 the kernel writes the checksum.
    const fn request(kind: u8, checksum: [u8; 2]) -> [u8; 24] {
        [kind, 0, checksum[0], checksum[1], 0, 1, 0, 1, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7]
    }
    const SUM: u16 = !(0x0800 + 1 + 1 + 8 * 0x0707);
    const V4: [u8; 24] = request(8, SUM.to_be_bytes());
    const V6: [u8; 24] = request(128, [0; 2]);
    match version {
        Version::V4 => headerless(scene, version, Protocol::ICMPV4, &V4),
        Version::V6 => headerless(scene, version, Protocol::ICMPV6, &V6),
    }
}

/// A socket whose packets bring their own header.
fn by_raw_socket<'a>(scene: &'a Scene<'a>, packets: Vec<Vec<u8>>) -> Prepared<'a> {
    let version = if is_v4(&packets[0]) { Version::V4 } else { Version::V6 };
    let to = to(scene, version);
    Prepared::ready(move || {
        let packets = packets.clone();
        scene.as_web(move || send(to, &packets));
    })
}

/// Sends packets that bring their own header, whether it is told that it may not or not.
pub(super) fn send(to: SocketAddr, packets: &[Vec<u8>]) {
    let to = SocketAddr::new(to.ip(), 0);
    let raw = raw(to, Protocol::from(nix::libc::IPPROTO_RAW));
    for packet in packets {
        let _ = raw.send_to(packet, &to.into());
    }
}

fn by_packet_socket<'a>(scene: &'a Scene<'a>, packets: Vec<Vec<u8>>) -> Prepared<'a> {
    Prepared::ready(move || {
        for packet in &packets {
            scene.web.sends(scene.web_cgroup, framed((scene.web, scene.db), packet));
        }
    })
}

/// What a device of the container's own receives from itself, it forwards.
fn by_tun<'a>(scene: &'a Scene<'a>, packets: Vec<Vec<u8>>) -> Prepared<'a> {
    scene.as_web(|| {
        if if_nametoindex(TUN).is_err() {
            ip(&format!("tuntap add mode tun name {TUN}"));
            ip(&format!("link set {TUN} up"));
        }
        for (setting, value) in [
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            // Also what bears an address of its own.
            ("ipv4/conf/tun0/accept_local", "1"),
            ("ipv4/conf/tun0/rp_filter", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
        ] {
            fs::write(format!("/proc/sys/net/{setting}"), value).expect("a setting");
        }
    });
    Prepared::ready(move || {
        let packets = packets.clone();
        scene.as_web(move || {
            let mut tun = TunTapInterface::new(TUN, Medium::Ip).expect("a TUN device");
            for packet in packets {
                let token = tun.transmit(At::now()).expect("there is room");
                token.consume(packet.len(), |buffer| buffer.copy_from_slice(&packet));
            }
        });
    })
}
