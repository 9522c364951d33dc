//! Packets that pretend to belong to what others have begun.

use std::{
    fs,
    mem::MaybeUninit,
    net::{SocketAddr, UdpSocket},
    thread,
    time::Duration,
};

use cofferdam::sensor::record::Record;
use cofferdam_common::network::{FlowKey, VERDICT_ALLOW, VERDICT_DENY};
use smoltcp::{
    phy::{ChecksumCapabilities, Device as _, Medium, TunTapInterface, TxToken as _},
    time::Instant as At,
    wire::{IpProtocol, IpRepr},
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    bridge::{SIZE, datagram, frame, framed, ip, packet, scene},
    forged::raw_socket,
    judge::{Judge, WEB, WHILE, got, mapped, v4},
};

/// Somebody outside, of whom nobody here knows.
const OUTSIDE: [u8; 4] = [203, 0, 113, 9];
/// The flag of an acknowledgement in a header of TCP (RFC 9293 section 3.1).
const ACK: u8 = 1 << 4;
/// Longer than it takes until a target is taken for outside (ebpf/src/flow.rs).
const DECIDED_AFTER: Duration = Duration::from_millis(150);

fn outside(port: u16) -> SocketAddr {
    SocketAddr::from((OUTSIDE, port))
}

/// The flow between two ends, as the kernel has it: when it began.
fn began(judge: &Judge<'_>, one: SocketAddr, two: SocketAddr) -> Vec<u64> {
    let is_of = |key: &FlowKey| {
        let ends = [(key.low, key.low_port), (key.high, key.high_port)];
        [one, two].iter().all(|end| ends.contains(&(mapped(*end), end.port())))
    };
    let flows = judge.node.loaded.ledger.flows().expect("flows");
    flows.iter().filter(|(key, _)| is_of(key)).map(|(_, flow)| flow.opened_at).collect()
}

/// It has sent there, and nobody on this host has got it.
fn asks_outside(socket: &UdpSocket, to: SocketAddr) {
    for _ in 0..2 {
        // Told or not that there is no way.
        let _ = socket.send_to(b"?", to);
        thread::sleep(DECIDED_AFTER);
    }
}

#[test]
fn who_is_outside_and_denied_does_not_pass_as_the_answer_of_somebody_who_was_asked() {
    scene(|judge, [_, (db, db_cgroup), (api, api_cgroup)]| {
        ip("addr add 198.18.0.254/24 dev bridge0");
        ip("tuntap add mode tun name outside0");
        ip("link set outside0 up");
        for (setting, value) in
            [("ip_forward", "1"), ("conf/all/rp_filter", "0"), ("conf/outside0/rp_filter", "0")]
        {
            fs::write(format!("/proc/sys/net/ipv4/{setting}"), value).expect("a setting");
        }
        let mut tun = TunTapInterface::new("outside0", Medium::Ip).expect("a TUN device");
        let to = v4(2, 4_000);
        let mut come = |port| {
            let packet = packet(outside(port), to);
            let token = tun.transmit(At::now()).expect("there is room");
            token.consume(packet.len(), |buffer| buffer.copy_from_slice(&packet));
        };
        let server = db.receiver(db_cgroup, to);
        let friend = api.receiver(api_cgroup, v4(3, 4_000));
        judge.says(None, VERDICT_DENY);
        for round in 0..3 {
            server.send_to(&[0; 10], v4(3, 4_000)).expect("it asks");
            assert_eq!(got(&friend), Some(10));
            come(9_000 + round);
            assert_eq!(got(&server), None, "while it waits for an answer");
            friend.send_to(&[0; 20], to).expect("it answers");
            assert_eq!(got(&server), Some(20));
            come(9_010 + round);
            assert_eq!(got(&server), None, "when it has got it");
        }
        let told = judge.node.record(|record| match record {
            Record::Verdict(verdict) if verdict.source_address == mapped(outside(0)) => Some(**verdict),
            _ => None,
        });
        assert_eq!((told.target, told.port), (db_cgroup.id, 4_000));
        judge.says(None, VERDICT_ALLOW);
        come(9_020);
        assert_eq!(got(&server), Some(SIZE), "there is a way");
    });
}

#[test]
fn a_forged_packet_ends_nothing_that_others_have_begun() {
    scene(|judge, [(web, web_cgroup), (db, db_cgroup), _]| {
        db.does(|| ip("route add 203.0.113.0/24 dev eth0"));
        web.does(|| ip("route add 203.0.113.0/24 dev eth0"));
        let (here, there) = (v4(2, 4_000), outside(53));
        let asker = db.receiver(db_cgroup, here);
        asks_outside(&asker, there);
        let before = began(judge, here, there);
        assert_eq!(before.len(), 1);
        let raw = web_cgroup.enter(|| web.does(raw_socket));
        // As if he were who is asked, and as if he were who asks.
        for (from, to) in [(there, here), (here, there)] {
            let _ = raw.send_to(&datagram(from, to, &[7; SIZE]), &to.into());
        }
        assert_eq!(got(&asker), None);
        assert_eq!(began(judge, here, there), before);
    });
}

#[test]
fn only_through_whom_somebody_outside_is_reached_can_bring_his_answers() {
    scene(|judge, [(web, web_cgroup), (db, db_cgroup), _]| {
        db.does(|| ip("route add 203.0.113.0/24 dev eth0"));
        let here = v4(2, 4_000);
        let asker = db.receiver(db_cgroup, here);
        let answer = |port| {
            web.sends(web_cgroup, frame((web, db), outside(port), here));
            got(&asker)
        };
        asks_outside(&asker, outside(53));
        assert_eq!(answer(53), None, "web has nothing to do with it");
        assert_eq!(judge.verdict(4_000).source, web_cgroup.id);
        db.does(|| ip("route replace 203.0.113.0/24 via 198.18.0.1"));
        asks_outside(&asker, outside(54));
        assert_eq!(answer(54), Some(SIZE), "the way there leads through web");
        assert_eq!(answer(53), None, "of another it brings nothing");
    });
}

/// A segment of TCP without payload, in whose options something is written.
fn segment(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![7; 60];
    bytes[0..2].copy_from_slice(&from.port().to_be_bytes());
    bytes[2..4].copy_from_slice(&to.port().to_be_bytes());
    (bytes[12], bytes[13]) = (15 << 4, ACK);
    bytes
}

#[test]
fn what_stands_in_the_header_of_a_segment_made_by_hand_is_denied_as_well() {
    scene(|judge, [(web, web_cgroup), (db, db_cgroup), _]| {
        let (from, to) = (v4(1, 4_000), v4(2, 4_000));
        let raw = |container: &super::bridge::Container, cgroup: &crate::node::Cgroup| {
            let make = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP)).expect("a raw socket");
            cgroup.enter(|| container.does(make))
        };
        let (sender, receiver) = (raw(web, web_cgroup), raw(db, db_cgroup));
        receiver.set_read_timeout(Some(WHILE)).expect("a limit");
        let written = segment(from, to);
        let header = IpRepr::new(from.ip().into(), to.ip().into(), IpProtocol::Tcp, written.len(), 64);
        let mut whole = vec![0; header.buffer_len()];
        header.emit(&mut whole[..], &ChecksumCapabilities::default());
        whole[header.header_len()..].copy_from_slice(&written);
        let arrives = || {
            // What the kernel answers to it is not looked at.
            let mut buffer = [MaybeUninit::uninit(); 200];
            receiver.recv(&mut buffer).ok()
        };
        let ways: [(&str, &dyn Fn()); 2] = [
            ("a raw socket", &|| {
                // Whether its sender is told or not.
                let _ = web_cgroup.enter(|| sender.send_to(&written, &to.into()));
            }),
            ("a packet socket", &|| web.sends(web_cgroup, framed((web, db), &whole))),
        ];
        for (way, send) in ways {
            judge.says(Some(WEB), VERDICT_ALLOW);
            send();
            assert_eq!(arrives(), Some(whole.len()), "{way} is a way");
            judge.says(Some(WEB), VERDICT_DENY);
            let before = judge.denied(web_cgroup).iter().map(|row| row.attempts).sum::<u64>();
            send();
            assert_eq!(arrives(), None, "{way}");
            let after = judge.denied(web_cgroup).iter().map(|row| row.attempts).sum::<u64>();
            assert!(after > before, "{way} is not told of");
        }
    });
}
