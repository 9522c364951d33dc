//! What cannot be held is folded and counted, never lost in silence.

use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    thread,
};

use cofferdam::sensor::record::Record;
use cofferdam_common::ids::CgroupId;

use crate::node::Node;

#[test]
fn every_hook_loads_and_tells_its_price() {
    let node = Node::start();
    let mut prices = node.loaded.sensor.verified_instructions();
    prices.sort();
    // Past the capture of the test's output: this is asked for, and not only when it fails.
    let mut out = io::stdout().lock();
    for (program, instructions) in &prices {
        writeln!(out, "instructions: {program} {instructions}").expect("stdout");
    }
    let hooks = node.loaded.sensor.hooks().list();
    // What not every kernel has is not loaded where it does not.
    let needed = hooks.iter().filter(|hook| !hook.optional || hook.refused.is_none()).count();
    assert_eq!(prices.len(), needed);
}

#[test]
fn a_full_ledger_folds_into_other_per_source_and_loses_no_count() {
    let node = Node::with(|options| options.ledger_rows = 64);
    let (client, server) = (node.cgroup(), node.cgroup());
    let sockets = 150;
    let sender = client.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    // Kept open, so that no port comes twice.
    let mut receivers = Vec::new();
    for _ in 0..sockets {
        let receiver = server.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
        sender.send_to(&[0; 10], receiver.local_addr().expect("an address")).expect("it sends");
        receiver.recv(&mut [0; 20]).expect("it arrives");
        receivers.push(receiver);
    }
    let rows = node.rows_from(&client);
    assert!(rows.len() < 64, "{} rows", rows.len());
    let other = rows.iter().find(|(key, _)| key.target.cgroup == CgroupId::OTHER);
    let folded = other.expect("a row for `other`").1.attempts;
    assert_eq!(rows.iter().map(|(_, row)| row.attempts).sum::<u64>(), sockets);
    assert_eq!(rows.iter().map(|(_, row)| row.volume.bytes_sent).sum::<u64>(), sockets * 10);
    assert!(node.failures("ledger_full") >= folded);
}

#[test]
fn a_ring_too_small_loses_records_to_the_last_one_counted_and_the_ledger_stays_exact() {
    let mut node = Node::with(|options| options.flow_ring_bytes = 4096);
    let (client, server) = (node.cgroup(), node.cgroup());
    let connections = 2000;
    let listener = server.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it listens"));
    let to = listener.local_addr().expect("an address");
    client.enter(|| {
        for _ in 0..connections {
            let stream = TcpStream::connect(to).expect("it connects");
            drop(listener.accept().expect("it is accepted"));
            drop(stream);
        }
    });
    node.row_from(&client, |row| row.flows == connections && row.attempts == connections);
    thread::sleep(std::time::Duration::from_millis(200));
    let delivered = node
        .drain()
        .iter()
        .filter(|record| matches!(record, Record::FlowOpen(_) | Record::FlowClose(_)))
        .count() as u64;
    let counters = node.counters();
    let network = counters.families.iter().find(|family| family.family == "network").expect("the family");
    assert!(network.lost > 0 && network.issued >= 2 * connections, "{network:?}");
    assert_eq!(network.issued, delivered + network.shed + network.lost);
}

#[test]
fn rows_of_a_cgroup_that_is_gone_can_be_taken_and_are_free_again() {
    let node = Node::start();
    let (client, server) = (node.cgroup(), node.cgroup());
    let receiver = server.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    let sender = client.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    sender.send_to(&[0; 10], receiver.local_addr().expect("an address")).expect("it sends");
    receiver.recv(&mut [0; 20]).expect("it arrives");
    node.row_from(&client, |row| row.flows == 1);

    let mut taken = Vec::new();
    node.loaded.ledger.take(&[client.id].into(), &mut taken).expect("taken");
    assert_eq!(taken.iter().map(|(_, row)| row.volume.bytes_sent).collect::<Vec<_>>(), [10]);
    assert_eq!(node.rows_from(&client), []);
}

#[test]
fn a_ledger_that_was_full_folds_the_next_source_as_well_as_the_first() {
    let node = Node::with(|options| options.ledger_rows = 64);
    let server = node.cgroup();
    let receivers: Vec<_> = (0..80)
        .map(|_| server.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds")))
        .collect();
    // More sources, one after the other, than there are rows kept for `other`.
    for _ in 0..12 {
        let client = node.cgroup();
        let sender = client.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
        for receiver in &receivers {
            sender.send_to(&[0; 10], receiver.local_addr().expect("an address")).expect("it sends");
            receiver.recv(&mut [0; 20]).expect("it arrives");
        }
        let mut taken = Vec::new();
        node.loaded.ledger.take(&[client.id].into(), &mut taken).expect("taken");
        assert_eq!(taken.iter().map(|(_, row)| row.attempts).sum::<u64>(), 80);
    }
    assert_eq!(node.failures("ledger_overfull"), 0);
}
