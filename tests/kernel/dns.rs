//! Family network: answers of the DNS.

use std::{net::UdpSocket, time::Duration};

use cofferdam::sensor::record::Record;
use cofferdam_common::{
    dns::{DNS_LIMIT, DnsRecord},
    ids::Address,
};

use crate::{
    namespace::in_namespace,
    node::{Cgroup, Node},
};

const CLIENT: &str = "198.18.9.1";
const RESOLVER: &str = "198.18.9.2";
const STRANGER: &str = "198.18.9.3";
const ADDRESSES: [&str; 3] = ["198.18.9.1/32", "198.18.9.2/32", "198.18.9.3/32"];

/// A query for `a.example` as any client sends it.
const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01";

/// Flags and code of a good answer, and how many records are in it.
const GOOD: ([u8; 2], u8) = ([0x81, 0x80], 1);

/// An answer of `length` bytes at least.
fn answer((flags, answers): ([u8; 2], u8), length: usize) -> Vec<u8> {
    let mut answer = QUERY.to_vec();
    answer[2..4].copy_from_slice(&flags);
    answer[7] = answers;
    answer.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xcb\x00\x71\x07");
    answer.resize(answer.len().max(length), 7);
    answer
}

fn socket(cgroup: &Cgroup, address: &str, port: u16) -> UdpSocket {
    let socket = cgroup.enter(|| UdpSocket::bind((address, port)).expect("it binds"));
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("it takes a limit");
    socket
}

/// The resolver sends these, one after the other, to a client that has asked it.
fn ask(client: &Cgroup, server: &Cgroup, answers: &[Vec<u8>]) {
    in_namespace(&ADDRESSES, || {
        let (resolver, asker) = (socket(server, RESOLVER, 53), socket(client, CLIENT, 0));
        asker.send_to(QUERY, (RESOLVER, 53)).expect("it asks");
        let (_, from) = resolver.recv_from(&mut [0; 512]).expect("the question arrives");
        for answer in answers {
            resolver.send_to(answer, from).expect("it answers");
            assert_eq!(asker.recv(&mut [0; 4096]).expect("the answer arrives"), answer.len());
        }
    });
}

fn answers_to(node: &mut Node, client: &Cgroup) -> Vec<DnsRecord> {
    let records = node.drain().iter();
    let answers = records.filter_map(|record| match record {
        Record::DnsAnswer(answer) if answer.header.cgroup == client.id => Some(**answer),
        _ => None,
    });
    answers.collect()
}

#[test]
fn an_answer_is_handed_on_as_the_client_got_it() {
    let mut node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let sent = answer(GOOD, 0);
    ask(&client, &server, std::slice::from_ref(&sent));
    let [got] = answers_to(&mut node, &client)[..] else { panic!("not one answer") };
    assert_eq!(&got.message[..got.length as usize], sent);
    assert_eq!((got.total as usize, got.resolver), (sent.len(), server.id));
    let resolver: std::net::Ipv4Addr = RESOLVER.parse().expect("an address");
    assert_eq!(got.resolver_address, Address(resolver.to_ipv6_mapped().octets()));
}

#[test]
fn of_a_long_answer_the_beginning_is_handed_on_and_its_length_told() {
    let mut node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let sent = [answer(GOOD, DNS_LIMIT), answer(GOOD, DNS_LIMIT + 1), answer(GOOD, 4000)];
    ask(&client, &server, &sent);
    let got = answers_to(&mut node, &client);
    assert_eq!(got.len(), 3);
    for (got, sent) in got.iter().zip(&sent) {
        assert_eq!((got.length as usize, got.total as usize), (DNS_LIMIT, sent.len()));
        assert_eq!(got.message[..], sent[..DNS_LIMIT]);
    }
}

#[test]
fn what_is_no_answer_is_not_handed_on() {
    let mut node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let query = ([0x01, 0x00], 1);
    let other_operation = ([0xa1, 0x80], 1);
    let no_such_name = ([0x81, 0x83], 1);
    let empty = ([0x81, 0x80], 0);
    let mut sent: Vec<_> =
        [query, other_operation, no_such_name, empty].iter().map(|head| answer(*head, 0)).collect();
    sent.push(vec![0x81; 11]);
    let good = answer(GOOD, 0);
    sent.push(good.clone());
    ask(&client, &server, &sent);
    let got: Vec<_> = answers_to(&mut node, &client)
        .iter()
        .map(|got| got.message[..got.length as usize].to_vec())
        .collect();
    assert_eq!(got, [good]);
}

#[test]
fn what_nobody_asked_for_is_not_handed_on() {
    for asked in [None, Some((RESOLVER, 54)), Some((STRANGER, 53))] {
        let mut node = Node::start();
        let (client, server) = (node.cgroup(), node.cgroup());
        in_namespace(&ADDRESSES, || {
            let asker = socket(&client, CLIENT, 40_053);
            // It helps nobody that the socket has asked somebody else.
            if let Some((address, port)) = asked {
                let other = socket(&server, address, port);
                asker.send_to(QUERY, (address, port)).expect("it asks");
                other.recv(&mut [0; 512]).expect("it arrives");
            }
            let resolver = socket(&server, RESOLVER, 53);
            for _ in 0..3 {
                resolver.send_to(&answer(GOOD, 0), (CLIENT, 40_053)).expect("it is sent");
                asker.recv(&mut [0; 512]).expect("it arrives");
            }
        });
        assert_eq!(answers_to(&mut node, &client), [], "{asked:?}");
    }
}

#[test]
fn where_it_is_turned_off_no_answer_is_handed_on() {
    let mut node = Node::with(|options| options.dns = false);
    let (client, server) = (node.cgroup(), node.cgroup());
    ask(&client, &server, &[answer(GOOD, 0)]);
    assert_eq!(answers_to(&mut node, &client), []);
}
