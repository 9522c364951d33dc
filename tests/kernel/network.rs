//! Family network: who talked to whom, how much, and how it ended.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd as _,
    thread,
    time::Duration,
};

use cofferdam::sensor::record::Record;
use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{FlowRecord, PROTOCOL_TCP, PROTOCOL_UDP, end},
};
use nix::sys::socket::{setsockopt, sockopt::Linger};

use crate::{
    namespace::in_namespace,
    node::{Cgroup, Node},
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const LOOPBACK6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Who closes first, and how.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Client,
    Server,
    Reset,
}

/// Connects, sends `sent` bytes, gets `received` bytes back, and ends.
fn talk(
    listener: &TcpListener,
    client: &Cgroup,
    to: SocketAddr,
    (sent, received): (usize, usize),
    how: Ending,
) -> u16 {
    let mut stream = client.enter(|| TcpStream::connect(to).expect("it connects"));
    let port = stream.local_addr().expect("an address").port();
    let (mut peer, _) = listener.accept().expect("it is accepted");
    stream.write_all(&vec![1; sent]).expect("it sends");
    peer.read_exact(&mut vec![0; sent]).expect("it arrives");
    peer.write_all(&vec![2; received]).expect("it answers");
    stream.read_exact(&mut vec![0; received]).expect("the answer arrives");
    let (first, mut second) = match how {
        Ending::Client => (stream, peer),
        Ending::Server => (peer, stream),
        Ending::Reset => {
            let linger = nix::libc::linger { l_onoff: 1, l_linger: 0 };
            setsockopt(&stream.as_fd(), Linger, &linger).expect("linger");
            (stream, peer)
        }
    };
    drop(first);
    let rest = second.read(&mut [0; 1]);
    assert_eq!(rest.is_err(), matches!(how, Ending::Reset), "{rest:?}");
    port
}

fn flow(record: &Record, port: u16, closed: bool) -> Option<FlowRecord> {
    match record {
        Record::FlowClose(flow) if closed && flow.client_port == port => Some(*flow),
        Record::FlowOpen(flow) if !closed && flow.client_port == port => Some(*flow),
        _ => None,
    }
}

#[test]
fn a_connection_between_two_cgroups_is_one_flow_with_its_bytes_however_it_ends() {
    for (how, expected) in
        [(Ending::Client, end::CLOSED), (Ending::Server, end::CLOSED), (Ending::Reset, end::RESET)]
    {
        for address in [LOOPBACK, LOOPBACK6] {
            let mut node = Node::start();
            let (client, server) = (node.cgroup(), node.cgroup());
            let (to, port) = in_namespace(&[], || {
                // Nothing is sent twice because a slow machine answers late (tail loss probes): all that is sent counts.
                fs::write("/proc/sys/net/ipv4/tcp_early_retrans", "0").expect("a setting");
                let listener = server.enter(|| TcpListener::bind((address, 0)).expect("it listens"));
                let to = listener.local_addr().expect("an address");
                (to, talk(&listener, &client, to, (3000, 70_000), how))
            });

            let opened = node.record(|record| flow(record, port, false));
            assert_eq!((opened.client, opened.server), (client.id, server.id), "{how:?} {address}");
            let closed = node.record(|record| flow(record, port, true));
            assert_eq!(closed.end, expected, "{how:?} {address}");
            assert_eq!((closed.volume.bytes_sent, closed.volume.bytes_received), (3000, 70_000));

            let (key, row) = node.row_from(&client, |row| row.flows == 1);
            assert_eq!((key.target.cgroup, key.port, key.protocol), (server.id, to.port(), PROTOCOL_TCP));
            assert_eq!((row.attempts, row.volume.bytes_sent, row.volume.bytes_received), (1, 3000, 70_000));
            // Its record comes before it goes.
            let left = || {
                let flows = node.loaded.ledger.flows().expect("flows");
                flows.keys().filter(|key| [key.low_port, key.high_port].contains(&port)).count()
            };
            let gone = (0..100).any(|_| {
                left() == 0 || {
                    thread::sleep(Duration::from_millis(20));
                    false
                }
            });
            assert!(gone, "{how:?} {address}: the kernel still holds the flow");
        }
    }
}

#[test]
fn an_ipv4_mapped_socket_is_the_ipv4_peer_it_talks_to() {
    let node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let listener = server.enter(|| TcpListener::bind((LOOPBACK, 0)).expect("it listens"));
    let port = listener.local_addr().expect("an address").port();
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port));
    talk(&listener, &client, mapped, (10, 20), Ending::Client);
    let (key, row) = node.row_from(&client, |row| row.flows == 1);
    assert_eq!((key.target.cgroup, key.port), (server.id, port));
    assert_eq!((row.volume.bytes_sent, row.volume.bytes_received), (10, 20));
}

#[test]
fn a_refused_connection_is_an_attempt_at_an_address_and_no_flow() {
    let mut node = Node::start();
    let client = node.cgroup();
    let free = TcpListener::bind((LOOPBACK, 0)).expect("a port").local_addr().expect("an address");
    client.enter(|| TcpStream::connect(free).expect_err("it is refused"));
    let closed = node.record(|record| match record {
        Record::FlowClose(flow) if flow.server_port == free.port() => Some(*flow),
        _ => None,
    });
    assert_eq!((closed.end, closed.client, closed.server), (end::REFUSED, client.id, CgroupId::NONE));
    let (key, row) = node.row_from(&client, |row| row.attempts == 1);
    assert_eq!((row.flows, row.failed.refused, key.target.cgroup), (0, 1, CgroupId::NONE));
    assert_eq!(key.target.address, Address(Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets()));
}

#[test]
fn datagrams_are_one_flow_with_their_bytes_both_ways() {
    for address in [LOOPBACK, LOOPBACK6] {
        let node = Node::start();
        let (client, server) = (node.cgroup(), node.cgroup());
        let receiver = server.enter(|| UdpSocket::bind((address, 0)).expect("it binds"));
        let sender = client.enter(|| UdpSocket::bind((address, 0)).expect("it binds"));
        let to = receiver.local_addr().expect("an address");
        for _ in 0..10 {
            sender.send_to(&[0; 100], to).expect("it sends");
            let (_, from) = receiver.recv_from(&mut [0; 200]).expect("it arrives");
            receiver.send_to(&[0; 30], from).expect("it answers");
            sender.recv_from(&mut [0; 200]).expect("the answer arrives");
        }
        let (key, row) = node.row_from(&client, |row| row.volume.packets_received == 10);
        assert_eq!((key.target.cgroup, key.port, key.protocol), (server.id, to.port(), PROTOCOL_UDP));
        assert_eq!((row.attempts, row.flows), (1, 1), "{address}");
        assert_eq!((row.volume.bytes_sent, row.volume.bytes_received), (1000, 300), "{address}");
    }
}

#[test]
fn a_datagram_that_nobody_answers_is_in_the_ledger_all_the_same() {
    let node = Node::start();
    let client = node.cgroup();
    let free = UdpSocket::bind((LOOPBACK, 0)).expect("a port").local_addr().expect("an address");
    let sender = client.enter(|| UdpSocket::bind((LOOPBACK, 0)).expect("it binds"));
    sender.send_to(&[0; 77], free).expect("it sends");
    let (key, row) = node.row_from(&client, |row| row.volume.bytes_sent == 77);
    assert_eq!((key.target.cgroup, key.port, row.attempts), (CgroupId::NONE, free.port(), 1));
}

#[test]
fn a_half_closed_connection_still_counts_what_the_other_half_sends() {
    let node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let listener = server.enter(|| TcpListener::bind((LOOPBACK, 0)).expect("it listens"));
    let to = listener.local_addr().expect("an address");
    let mut stream = client.enter(|| TcpStream::connect(to).expect("it connects"));
    let (mut peer, _) = listener.accept().expect("it is accepted");
    stream.shutdown(Shutdown::Write).expect("half closed");
    peer.write_all(&[0; 5000]).expect("it sends");
    drop(peer);
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("it arrives");
    let (_, row) = node.row_from(&client, |row| row.volume.bytes_received == 5000);
    assert_eq!((row.attempts, row.flows, all.len()), (1, 1, 5000));
}

#[test]
fn a_nested_cgroup_has_rows_of_its_own() {
    let node = Node::start();
    let (outer, server) = (node.cgroup(), node.cgroup());
    let inner = outer.nested("inner");
    let listener = server.enter(|| TcpListener::bind((LOOPBACK, 0)).expect("it listens"));
    talk(&listener, &inner, listener.local_addr().expect("an address"), (1, 1), Ending::Client);
    let (key, _) = node.row_from(&inner, |row| row.flows == 1);
    assert_eq!(key.target.cgroup, server.id);
}

#[test]
fn a_connection_that_was_open_before_the_hooks_counts_its_bytes_but_no_flow() {
    /// Above those that clients get: it is not the port that tells who is the client, but who listens.
    const HIGH: u16 = 61_001;
    for (port, answers_first) in [(0, false), (HIGH, false), (0, true), (HIGH, true)] {
        let (client, server, listener, mut stream, mut peer);
        {
            let before = Node::fresh();
            (client, server) = (before.cgroup(), before.cgroup());
            listener = server.enter(|| TcpListener::bind((LOOPBACK, port)).expect("it listens"));
            let to = listener.local_addr().expect("an address");
            stream = client.enter(|| TcpStream::connect(to).expect("it connects"));
            peer = listener.accept().expect("it is accepted").0;
        }
        let node = Node::fresh();
        for answers in [answers_first, !answers_first] {
            let (from, to, bytes) =
                if answers { (&mut peer, &mut stream, 9) } else { (&mut stream, &mut peer, 400) };
            from.write_all(&vec![0; bytes]).expect("it sends");
            to.read_exact(&mut vec![0; bytes]).expect("it arrives");
        }
        let (key, row) =
            node.row_from(&client, |row| row.volume.bytes_sent + row.volume.bytes_received == 409);
        assert_eq!((row.attempts, row.flows, row.volume.bytes_sent), (0, 0, 400), "{port} {answers_first}");
        assert_eq!(
            (key.target.cgroup, key.port),
            (server.id, listener.local_addr().expect("an address").port())
        );
    }
}
