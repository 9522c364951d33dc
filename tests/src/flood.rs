//! Floods: segments that each begin a flow and end it, which is one record apiece, and the same number of records
//! however it goes.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use cofferdam_common::network::PROTOCOL_TCP;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// The port that all segments go to.
pub const TO_PORT: u16 = 7000;

/// `<linux/in.h>`: raw packets with their IP head.
const IPPROTO_RAW: i32 = 255;

/// Where frames come from and go to: they are never sent.
const ELSEWHERE: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 18, 9, 1), Ipv4Addr::new(198, 18, 9, 2)];

/// A SYN that is a RST as well, with its IP head. Nobody answers it.
fn segment([from, to]: [Ipv4Addr; 2], port: u16) -> Vec<u8> {
    // Version and length of the head, total length, time to live, protocol; the checksum is the kernel's affair.
    let mut ip = [0u8; 20];
    (ip[0], ip[3], ip[8], ip[9]) = (0x45, 40, 64, PROTOCOL_TCP);
    ip[12..16].copy_from_slice(&from.octets());
    ip[16..20].copy_from_slice(&to.octets());
    // Both ports, a head of five words, SYN and RST.
    let mut tcp = [0u8; 20];
    tcp[..2].copy_from_slice(&port.to_be_bytes());
    tcp[2..4].copy_from_slice(&TO_PORT.to_be_bytes());
    (tcp[12], tcp[13]) = (0x50, 0x06);
    [ip, tcp].concat()
}

/// Such a segment in an Ethernet frame, as `BPF_PROG_TEST_RUN` wants it. Two that run at a time want two ports.
#[must_use]
pub fn frame(port: u16) -> Vec<u8> {
    let mut ethernet = [0; 14];
    // IPv4.
    ethernet[12] = 8;
    [&ethernet[..], &segment(ELSEWHERE, port)].concat()
}

/// An echo reply that nobody asked for, in an Ethernet frame. It belongs to no flow, so that each is judged by itself.
#[must_use]
pub fn echo_reply(to: Ipv4Addr) -> Vec<u8> {
    let mut frame = [0; 14 + 20 + 8];
    // IPv4; version and length of the head, total length, time to live, ICMP, of which a reply has type 0.
    frame[12] = 8;
    (frame[14], frame[17], frame[22], frame[23]) = (0x45, 28, 64, 1);
    frame[26..30].copy_from_slice(&Ipv4Addr::new(198, 18, 0, 1).octets());
    frame[30..34].copy_from_slice(&to.octets());
    frame.to_vec()
}

/// A socket that sends such segments over the loopback interface, and belongs to the cgroup that it was made in.
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
    segment: Vec<u8>,
}

impl Sender {
    /// A sender from a port that no other has.
    ///
    /// # Errors
    /// When this is not root.
    pub fn new(port: u16) -> io::Result<Self> {
        // Takes whole packets of any protocol, and gets none.
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW)))?;
        socket.connect(&SockAddr::from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))?;
        Ok(Self { socket, segment: segment([Ipv4Addr::LOCALHOST; 2], port) })
    }

    /// Sends so many, as fast as it goes.
    ///
    /// # Errors
    /// When the kernel does not take one.
    pub fn send(&self, records: u32) -> io::Result<()> {
        (0..records).try_for_each(|_| self.socket.send(&self.segment).map(drop))
    }
}
