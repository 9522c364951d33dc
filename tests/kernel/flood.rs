//! Floods: segments that each begin a flow and end it, which is one record apiece.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use cofferdam_common::network::PROTOCOL_TCP;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::node::{Cgroup, Node};

/// Where it comes from and goes to, as `ip address add` takes it.
pub(crate) const ADDRESSES: [&str; 2] = ["198.18.9.1/32", "198.18.9.2/32"];
const FROM: Ipv4Addr = Ipv4Addr::new(198, 18, 9, 1);
const TO: Ipv4Addr = Ipv4Addr::new(198, 18, 9, 2);

const ETHERNET: usize = 14;

/// An Ethernet frame from a port: `BPF_PROG_TEST_RUN` wants one, and hands the hook what is in it.
fn frame(port: u16) -> Vec<u8> {
    let mut frame = vec![0; ETHERNET];
    frame[12] = 8;
    // Version and length of the head, total length, time to live, protocol; the checksum is the kernel's affair.
    let mut ip = [0u8; 20];
    (ip[0], ip[3], ip[8], ip[9]) = (0x45, 40, 64, PROTOCOL_TCP);
    ip[12..16].copy_from_slice(&FROM.octets());
    ip[16..20].copy_from_slice(&TO.octets());
    // Both ports, a head of five words, SYN and RST.
    let mut tcp = [0u8; 20];
    tcp[..2].copy_from_slice(&port.to_be_bytes());
    tcp[2..4].copy_from_slice(&7000_u16.to_be_bytes());
    (tcp[12], tcp[13]) = (0x50, 0x06);
    frame.extend_from_slice(&ip);
    frame.extend_from_slice(&tcp);
    frame
}

/// Lets the egress hook see `records` segments from `port` of the caller's cgroup, without a network: as fast as it
/// goes. Returns how long that took.
pub(crate) fn run(node: &Node, port: u16, records: u32) -> Duration {
    let begun = Instant::now();
    node.loaded.sensor.run_hook("cgroup_skb_egress", &frame(port), records).expect("the hook runs");
    begun.elapsed()
}

/// A socket that sends such segments over the loopback interface.
pub(crate) struct Sender {
    socket: Socket,
    packet: Vec<u8>,
}

impl Sender {
    /// A socket of `cgroup`, where [`ADDRESSES`] are. No two may have the same port.
    pub(crate) fn new(cgroup: &Cgroup, port: u16) -> Self {
        let protocol = Protocol::from(i32::from(PROTOCOL_TCP));
        let socket = cgroup.enter(|| Socket::new(Domain::IPV4, Type::RAW, Some(protocol)));
        let socket = socket.expect("a raw socket");
        socket.set_header_included_v4(true).expect("it takes whole packets");
        socket.connect(&SockAddr::from(SocketAddr::from((TO, 0)))).expect("there is a route");
        Self { socket, packet: frame(port).split_off(ETHERNET) }
    }

    pub(crate) fn send(&self, records: u32) {
        for _ in 0..records {
            self.socket.send(&self.packet).expect("it is sent");
        }
    }
}
