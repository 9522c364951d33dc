//! A small scene of every kind of record. What it leaves in the rings is what `tests/replay` replays:
//!
//! ```console
//! # COFFERDAM_RECORD=1 cargo xtask test --only kernel     # writes tests/fixtures/replay/shop.records anew
//! ```

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Stdio},
};

use cofferdam::sensor::record::Record;
use cofferdam_common::ids::CgroupId;
use cofferdam_tests::recording;

use crate::node::{Cgroup, Node};

/// The scopes that systemd makes for Docker's containers.
const WEB: &str = "docker-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.scope";
const DB: &str = "docker-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.scope";

#[test]
fn a_scene_of_two_containers_leaves_a_record_of_every_kind() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup_named(WEB), node.cgroup_named(DB));
    let ours = [web.id, db.id];
    run(&web);
    let listener = db.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it listens"));
    let to = listener.local_addr().expect("an address");
    let mut stream = web.enter(|| TcpStream::connect(to).expect("it connects"));
    let (mut peer, _) = listener.accept().expect("it is accepted");
    stream.write_all(&[0; 1200]).expect("it sends");
    peer.read_exact(&mut [0; 1200]).expect("it arrives");
    peer.write_all(&[0; 34]).expect("it answers");
    stream.read_exact(&mut [0; 34]).expect("it arrives");
    drop((stream, peer, listener));
    web.enter(|| TcpStream::connect(to).expect_err("nobody listens any more"));
    let receiver = db.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    let sender = web.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    sender.send_to(&[0; 5], receiver.local_addr().expect("an address")).expect("it sends");
    receiver.recv(&mut [0; 5]).expect("it arrives");
    drop((web, db));
    for id in ours {
        node.record(|record| {
            matches!(record, Record::CgroupRemoved(gone) if gone.subject == id).then_some(())
        });
    }

    let kept: Vec<_> = node.raw.iter().filter(|bytes| concerns(bytes, ours)).cloned().collect();
    let mut kinds: Vec<u8> = kept.iter().map(|bytes| bytes[0]).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, [1, 2, 3, 20, 21, 60, 61, 62]);
    if std::env::var_os("COFFERDAM_RECORD").is_some() {
        recording::write(&recording::fixture("shop.records"), &kept).expect("the recording is written");
    }
}

fn run(cgroup: &Cgroup) {
    // The same on every machine, unlike this binary's own path.
    let mut command = Command::new("/proc/self/exe");
    command.args(["no-test-bears-this-name", "--quiet"]).stdout(Stdio::null());
    assert!(cgroup.enter(|| command.status().expect("it runs")).success());
}

/// Records of the machine's own doings are left out.
fn concerns(bytes: &[u8], ours: [CgroupId; 2]) -> bool {
    match Record::decode(bytes).expect("a record") {
        Record::Fork(record) => ours.contains(&record.header.cgroup),
        Record::Exec(record) => ours.contains(&record.header.cgroup),
        Record::Exit(record) => ours.contains(&record.header.cgroup),
        Record::FlowOpen(record) | Record::FlowClose(record) => ours.contains(&record.client),
        Record::CgroupMade(record) | Record::CgroupRemoved(record) => ours.contains(&record.subject),
        Record::CgroupAttached(record) => ours.contains(&record.subject),
        Record::Verdict(record) => ours.contains(&record.source),
        Record::DnsAnswer(record) => ours.contains(&record.header.cgroup),
    }
}
