//! Family network, beyond TCP and UDP.

use std::{
    mem::MaybeUninit,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_UDP, PROTOCOL_UDPLITE},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::{
    namespace::in_namespace,
    node::{Cgroup, Node},
};

/// Numbers that RFC 3692 keeps for experiments.
const EXPERIMENT: u8 = 253;

/// Raw packets have no ports: only addresses tell their ends apart.
const ADDRESSES: [&str; 4] = ["198.18.9.1/32", "198.18.9.2/32", "fd00:c0ff:9::1/128", "fd00:c0ff:9::2/128"];

fn socket(cgroup: &Cgroup, domain: Domain, kind: Type, protocol: u8) -> std::io::Result<Socket> {
    let socket = cgroup.enter(|| Socket::new(domain, kind, Some(Protocol::from(i32::from(protocol)))))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

fn loopback() -> SockAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()
}

fn receive(socket: &Socket) -> usize {
    socket.recv(&mut [MaybeUninit::uninit(); 2048]).expect("it arrives")
}

#[test]
fn an_echo_is_one_flow_from_who_asks_and_nobodys_from_who_answers() {
    for (protocol, request, [from, to]) in [
        (PROTOCOL_ICMP, 8, ["198.18.9.1", "198.18.9.2"]),
        (PROTOCOL_ICMPV6, 128, ["fd00:c0ff:9::1", "fd00:c0ff:9::2"]),
    ] {
        let node = Node::start();
        let client = node.cgroup();
        let [from, to] =
            [from, to].map(|address| SockAddr::from(SocketAddr::new(address.parse().expect("one"), 0)));
        in_namespace(&ADDRESSES, || {
            let ping = socket(&client, from.domain(), Type::RAW, protocol).expect("a raw socket");
            ping.bind(&from).expect("it binds");
            // Type, code, checksum (of ICMPv6 the kernel's affair), identifier, sequence number, four bytes of data.
            let mut echo = [request, 0, 0, 0, 0, 1, 0, 1, 9, 9, 9, 9];
            let checksum = !(0x0800_u16 + 1 + 1 + 0x0909 + 0x0909);
            echo[2..4].copy_from_slice(&checksum.to_be_bytes());
            ping.send_to(&echo, &to).expect("it is sent");
            receive(&ping);
        });
        let (key, row) = node.row_from(&client, |row| row.volume.packets_received == 1);
        assert_eq!((key.protocol, key.port, row.attempts, row.flows), (protocol, 0, 1, 1));
        assert_eq!((row.volume.bytes_sent, row.volume.bytes_received), (4, 4));
        assert_eq!(node.rows(|key| key.protocol == protocol && key.source.cgroup != client.id), []);
    }
}

#[test]
fn raw_packets_of_any_protocol_are_a_flow_between_their_sockets() {
    let node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let [from, to] =
        ["198.18.9.1:0", "198.18.9.2:0"].map(|end| SockAddr::from(end.parse::<SocketAddr>().expect("one")));
    in_namespace(&ADDRESSES, || {
        let receiver = socket(&server, Domain::IPV4, Type::RAW, EXPERIMENT).expect("a raw socket");
        receiver.bind(&to).expect("it binds");
        let sender = socket(&client, Domain::IPV4, Type::RAW, EXPERIMENT).expect("a raw socket");
        sender.bind(&from).expect("it binds");
        sender.send_to(&[7; 100], &to).expect("it is sent");
        assert_eq!(receive(&receiver), 120, "with the IP header");
    });
    let (key, row) = node.row_from(&client, |row| row.flows == 1);
    assert_eq!((key.protocol, key.port, key.target.cgroup), (EXPERIMENT, 0, server.id));
    assert_eq!(row.volume.bytes_sent, 100);
}

#[test]
fn udp_lite_is_a_flow_where_the_kernel_has_it() {
    let node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let receiver = match socket(&server, Domain::IPV4, Type::DGRAM, PROTOCOL_UDPLITE) {
        Ok(receiver) => receiver,
        Err(error) => return assert_eq!(error.raw_os_error(), Some(nix::libc::EPROTONOSUPPORT)),
    };
    receiver.bind(&loopback()).expect("it binds");
    let to = receiver.local_addr().expect("an address");
    let sender = socket(&client, Domain::IPV4, Type::DGRAM, PROTOCOL_UDPLITE).expect("a socket");
    sender.send_to(&[1; 50], &to).expect("it is sent");
    assert_eq!(receive(&receiver), 50);
    let (key, row) = node.row_from(&client, |row| row.flows == 1);
    let port = to.as_socket().expect("an IP address").port();
    assert_eq!((key.protocol, key.port, key.target.cgroup), (PROTOCOL_UDPLITE, port, server.id));
    assert_eq!(row.volume.bytes_sent, 50);
}

/// The virtual machines load the module; of other kernels that lack SCTP the exact refusal is asserted.
#[test]
fn an_sctp_association_is_a_flow_where_the_kernel_has_it() {
    let node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let listener = match socket(&server, Domain::IPV4, Type::STREAM, PROTOCOL_SCTP) {
        Ok(listener) => listener,
        Err(error) => {
            assert!(std::env::var_os("COFFERDAM_TEST_VM").is_none(), "the machine has no SCTP: {error}");
            return assert_eq!(error.raw_os_error(), Some(nix::libc::EPROTONOSUPPORT));
        }
    };
    listener.bind(&loopback()).expect("it binds");
    listener.listen(1).expect("it listens");
    let to = listener.local_addr().expect("an address");
    let stream = socket(&client, Domain::IPV4, Type::STREAM, PROTOCOL_SCTP).expect("a socket");
    stream.connect(&to).expect("it connects");
    let (peer, _) = listener.accept().expect("it is accepted");
    stream.send(&[1; 1000]).expect("it is sent");
    assert_eq!(receive(&peer), 1000);
    let (key, row) = node.row_from(&client, |row| row.volume.bytes_sent >= 1000);
    let port = to.as_socket().expect("an IP address").port();
    assert_eq!((key.protocol, key.port, key.target.cgroup), (PROTOCOL_SCTP, port, server.id));
    assert_eq!((row.attempts, row.flows), (1, 1));
}

#[test]
fn a_multicast_packet_is_a_flow_to_each_receiver_and_to_the_group() {
    let node = Node::start();
    let (client, one, two) = (node.cgroup(), node.cgroup(), node.cgroup());
    let group = Ipv4Addr::new(239, 198, 18, 1);
    let join = |cgroup: &Cgroup| {
        let socket = socket(cgroup, Domain::IPV4, Type::DGRAM, PROTOCOL_UDP).expect("a socket");
        socket.set_reuse_address(true).expect("shared");
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 41_998)).into()).expect("it binds");
        socket.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).expect("it joins");
        UdpSocket::from(socket)
    };
    let receivers = [join(&one), join(&two)];
    let sender = socket(&client, Domain::IPV4, Type::DGRAM, PROTOCOL_UDP).expect("a socket");
    sender.set_multicast_if_v4(&Ipv4Addr::LOCALHOST).expect("by loopback");
    sender.send_to(&[5; 60], &SocketAddr::from((group, 41_998)).into()).expect("it is sent");
    for receiver in &receivers {
        assert_eq!(receiver.recv(&mut [0; 100]).expect("it arrives"), 60);
    }
    for receiver in [&one, &two] {
        let rows = node.rows(|key| key.source.cgroup == client.id && key.target.cgroup == receiver.id);
        let counts: Vec<_> =
            rows.iter().map(|(key, row)| (key.port, row.flows, row.volume.bytes_sent)).collect();
        assert_eq!(counts, [(41_998, 1, 60)]);
    }
    let group = Address(group.to_ipv6_mapped().octets());
    let to_group = |rows: &[_]| rows.len() == 1;
    for _ in 0..100 {
        let rows = node.rows(|key| {
            key.source.cgroup == client.id
                && key.target.cgroup == CgroupId::NONE
                && key.target.address == group
        });
        if to_group(&rows) {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("the group got nothing");
}
