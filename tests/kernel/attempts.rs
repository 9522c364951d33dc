//! Family network: attempts that come to nothing, and why.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    process::Command,
    time::Duration,
};

use cofferdam::sensor::record::Record;
use cofferdam_common::{
    ids::CgroupId,
    network::{Failed, FlowRecord, PROTOCOL_TCP, end},
};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{
    namespace::in_namespace,
    node::{Cgroup, Node},
};

const HERE: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 1);
/// Nobody answers when asked for its hardware address: the host itself says that it cannot be reached.
const ABSENT: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 2);
/// Its hardware address is known, and what is sent there is lost.
const SILENT: Ipv4Addr = Ipv4Addr::new(198, 18, 7, 3);

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

/// Does something as 198.18.7.1 in a network of the test's own, in which nobody else lives.
fn in_network<T: Send>(act: impl FnOnce() -> T + Send) -> T {
    in_namespace(&[], || {
        ip("link add here type veth peer name there");
        ip("addr add 198.18.7.1/24 dev here");
        ip("link set here up");
        ip("link set there up");
        ip("neigh add 198.18.7.3 lladdr 02:00:00:00:00:01 dev here");
        act()
    })
}

fn connect(cgroup: &Cgroup, to: SocketAddr, patience: Option<Duration>) -> io::Error {
    let socket = cgroup.enter(|| Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket"));
    // The kernel looks at it when it would send again, after a second.
    socket.set_tcp_user_timeout(patience).expect("a time-out");
    socket.connect(&to.into()).expect_err("nobody is there")
}

fn closed(node: &mut Node, server_port: u16) -> FlowRecord {
    node.record(|record| match record {
        Record::FlowClose(flow) if flow.server_port == server_port => Some(*flow),
        _ => None,
    })
}

#[test]
fn a_target_that_cannot_be_reached_is_told_from_one_that_does_not_answer() {
    let mut node = Node::start();
    let (seeker, caller) = (node.cgroup(), node.cgroup());
    let errors = in_network(|| {
        let absent = connect(&seeker, SocketAddr::from((ABSENT, 7001)), None);
        let silent = connect(&caller, SocketAddr::from((SILENT, 7002)), Some(Duration::from_millis(500)));
        [absent, silent].map(|error| error.raw_os_error())
    });
    assert_eq!(errors, [Some(Errno::EHOSTUNREACH as i32), Some(Errno::ETIMEDOUT as i32)]);
    for (cgroup, port, ended, failed) in [
        (&seeker, 7001, end::UNREACHABLE, Failed { unreachable: 1, ..Failed::default() }),
        (&caller, 7002, end::UNANSWERED, Failed { unanswered: 1, ..Failed::default() }),
    ] {
        let flow = closed(&mut node, port);
        assert_eq!((flow.end, flow.client, flow.server), (ended, cgroup.id, CgroupId::NONE));
        let (key, row) = node.row_from(cgroup, |row| row.attempts == 1);
        assert_eq!((key.port, key.protocol, row.flows, row.failed), (port, PROTOCOL_TCP, 0, failed));
    }
}

#[test]
fn a_datagram_to_a_closed_port_is_refused_where_its_sender_is_told() {
    let mut node = Node::start();
    let client = node.cgroup();
    let free = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address");
    let sender = client.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    sender.connect(free).expect("it is connected");
    sender.send(&[0; 77]).expect("it sends");
    assert_eq!(closed(&mut node, free.port()).end, end::REFUSED);
    let (_, row) = node.row_from(&client, |row| row.failed.refused == 1);
    assert_eq!((row.attempts, row.flows, row.volume.bytes_sent), (1, 0, 77));
}

#[test]
fn a_port_scan_is_attempts_with_their_outcome_and_one_flow_for_the_open_port() {
    let node = Node::start();
    let (scanner, server) = (node.cgroup(), node.cgroup());
    let open = server.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it listens"));
    let open = open.local_addr().expect("an address").port();
    let ports: Vec<u16> = (open.saturating_sub(20)..open).chain([open]).collect();
    let found: Vec<u16> = scanner.enter(|| {
        let answers = |port: &u16| std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok();
        ports.iter().copied().filter(answers).collect()
    });
    let rows = node.rows_from(&scanner);
    assert_eq!(rows.len(), ports.len(), "a row for each port: {rows:#?}");
    for (key, row) in rows {
        let expected = if found.contains(&key.port) { (1, 1, 0) } else { (1, 0, 1) };
        assert_eq!((row.attempts, row.flows, row.failed.refused), expected, "port {}", key.port);
    }
}

#[test]
fn a_half_open_scan_opens_nothing_and_is_told_as_aborted() {
    let mut node = Node::start();
    let (scanner, server) = (node.cgroup(), node.cgroup());
    let port = in_namespace(&[], || {
        let listener = server.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it listens"));
        let port = listener.local_addr().expect("an address").port();
        let client = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 50_000);
        raw(&scanner, client, SocketAddrV4::new(Ipv4Addr::LOCALHOST, port), SYN);
        port
    });
    let flow = closed(&mut node, port);
    assert_eq!((flow.end, flow.client, flow.server), (end::ABORTED, scanner.id, server.id));
    let (_, row) = node.row_from(&scanner, |row| row.attempts == 1);
    assert_eq!((row.flows, row.failed), (0, Failed { aborted: 1, ..Failed::default() }));
}

#[test]
fn a_half_open_attempt_whose_reset_arrives_nowhere_is_told_as_aborted_when_its_ports_are_used_again() {
    let mut node = Node::start();
    let (scanner, server) = (node.cgroup(), node.cgroup());
    let port = in_network(|| {
        // What the server answers is lost on the way, so that the kernel does not end the attempt by itself.
        let client = SocketAddrV4::new(SILENT, 50_000);
        let listen = |port| server.enter(|| TcpListener::bind((HERE, port)).expect("it listens"));
        let listener = listen(0);
        let to = SocketAddrV4::new(HERE, listener.local_addr().expect("an address").port());
        raw(&scanner, client, to, SYN);
        drop(listener);
        raw(&scanner, client, to, RST);
        let _listener = listen(to.port());
        raw(&scanner, client, to, SYN);
        to.port()
    });
    let flow = closed(&mut node, port);
    assert_eq!((flow.end, flow.client, flow.server), (end::ABORTED, scanner.id, server.id));
    let (_, row) = node.row_from(&scanner, |row| row.attempts == 2);
    assert_eq!((row.flows, row.failed), (0, Failed { aborted: 1, ..Failed::default() }));
}

/// Flags of a TCP header (RFC 9293 section 3.1).
const SYN: u16 = 0x02;
const RST: u16 = 0x04;

/// Sends a bare TCP header, which no connection of the kernel's knows. `from` need not be this host's.
fn raw(cgroup: &Cgroup, from: SocketAddrV4, to: SocketAddrV4, flags: u16) {
    let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).expect("a raw socket");
    let raw = cgroup.enter(raw);
    raw.set_ip_transparent_v4(true).expect("any address is its own");
    raw.bind(&SocketAddr::from((*from.ip(), 0)).into()).expect("it is bound");
    let to_address = SockAddr::from(SocketAddr::from(to));
    raw.send_to(&segment(from, to, flags), &to_address).expect("it is sent");
}

/// A TCP header without options, checksum and all.
fn segment(from: SocketAddrV4, to: SocketAddrV4, flags: u16) -> [u8; 20] {
    let half = |address: SocketAddrV4| {
        let bits = address.ip().to_bits();
        [(bits >> 16) as u16, bits as u16]
    };
    let words: [u16; 10] = [from.port(), to.port(), 0, 1, 0, 0, 0x5000 | flags, 1024, 0, 0];
    let pseudo = [half(from), half(to), [u16::from(PROTOCOL_TCP), 20]].concat();
    let mut sum: u32 = words.iter().chain(&pseudo).map(|word| u32::from(*word)).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    let checksum =
        !(u16::try_from(sum & 0xffff).expect("16 bits") + u16::try_from(sum >> 16).expect("a carry"));
    let mut header = [0; 20];
    for (bytes, word) in header.chunks_exact_mut(2).zip(words) {
        bytes.copy_from_slice(&word.to_be_bytes());
    }
    header[16..18].copy_from_slice(&checksum.to_be_bytes());
    header
}

#[test]
fn a_raw_socket_that_listens_in_is_neither_end_and_counts_nothing() {
    let node = Node::start();
    let (client, server, eavesdropper) = (node.cgroup(), node.cgroup(), node.cgroup());
    in_namespace(&[], || {
        let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)).expect("a raw socket");
        let _listens_in = eavesdropper.enter(raw);
        let receiver = server.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
        let sender = client.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
        sender.send_to(&[0; 10], receiver.local_addr().expect("an address")).expect("it sends");
        receiver.recv(&mut [0; 20]).expect("it arrives");
    });
    let (key, row) = node.row_from(&client, |row| row.flows == 1);
    assert_eq!((key.target.cgroup, row.volume.bytes_sent, row.volume.packets_sent), (server.id, 10, 1));
}
