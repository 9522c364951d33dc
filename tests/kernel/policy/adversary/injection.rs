//! Bytes that are put into a connection of others, in a network that is shared with them.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use smoltcp::{
    phy::{ChecksumCapabilities, Device as _, Medium, RawSocket, RxToken as _},
    time::Instant as At,
    wire::{
        EthernetFrame, IpAddress, IpProtocol, IpRepr, IpVersion, Ipv4Packet, Ipv6Packet, TcpControl,
        TcpPacket, TcpRepr,
    },
};
use socket2::{Protocol, Socket};

use super::{
    Prepared, SOON, Scene, Version, Way, enough, neighbours::loopback, raw, server::PAYLOAD, sockets::connect,
};

pub(super) const WAYS: &[Way] = &[Way::new("TCP put into a connection of one who may", put_in)];

/// The server does not count what bears no more than this.
const OTHER: [u8; 9] = [1; 9];

/// A connection of others', and the segment that would go on with it.
type Watched = (Socket, Vec<u8>);

fn put_in<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let to = loopback(version);
    let mut watched: Vec<Watched> =
        scene.api_cgroup.enter(|| scene.db.does(move || (0..enough()).map(|_| watch(to)).collect()));
    let mut used = Vec::new();
    Prepared::ready(move || {
        let Some((connection, segment)) = watched.pop() else { return };
        scene.web_cgroup.enter(|| scene.db.does(move || raw::send(to, &[segment])));
        used.push(connection);
    })
}

/// Has a connection made, and reads on the wire what comes next.
fn watch(to: SocketAddr) -> Watched {
    let mut wire = RawSocket::new("lo", Medium::Ethernet).expect("a packet socket");
    let connection = connect(Protocol::TCP, None, to, SOON).expect("it may");
    connection.set_linger(Some(Duration::ZERO)).expect("a setting");
    connection.send(&OTHER).expect("it sends");
    let until = Instant::now() + SOON;
    loop {
        assert!(Instant::now() < until, "nothing is on the wire");
        let Some((frame, _)) = wire.receive(At::now()) else { continue };
        let next = frame.consume(|bytes| next(EthernetFrame::new_unchecked(bytes).payload()));
        if let Some(segment) = next {
            return (connection, segment);
        }
    }
}

/// What comes after a segment with [`OTHER`], were it sent by the same.
fn next(packet: &[u8]) -> Option<Vec<u8>> {
    let (source, target, payload): (IpAddress, IpAddress, _) = match IpVersion::of_packet(packet).ok()? {
        IpVersion::Ipv4 => {
            let packet = Ipv4Packet::new_checked(packet).ok()?;
            (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
        }
        IpVersion::Ipv6 => {
            let packet = Ipv6Packet::new_checked(packet).ok()?;
            (packet.src_addr().into(), packet.dst_addr().into(), packet.payload())
        }
    };
    // What is sent to oneself bears no checksum yet.
    let sent = TcpPacket::new_checked(payload).ok()?;
    if sent.payload() != OTHER {
        return None;
    }
    let segment = TcpRepr {
        src_port: sent.src_port(),
        dst_port: sent.dst_port(),
        control: TcpControl::Psh,
        seq_number: sent.seq_number() + OTHER.len(),
        ack_number: Some(sent.ack_number()),
        window_len: sent.window_len(),
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &PAYLOAD,
    };
    let ip = IpRepr::new(source, target, IpProtocol::Tcp, segment.buffer_len(), 64);
    let mut bytes = vec![0; ip.buffer_len()];
    let checksums = ChecksumCapabilities::default();
    ip.emit(&mut bytes[..], &checksums);
    segment.emit(&mut TcpPacket::new_unchecked(&mut bytes[ip.header_len()..]), &source, &target, &checksums);
    Some(bytes)
}
