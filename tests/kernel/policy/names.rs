//! Peers outside that a workload may reach by name: by the addresses that it was told, and by whom.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use cofferdam_common::{
    ids::{Address, CgroupId},
    name::{Entrance, NamedKey, PatternId, PatternKey, Resolver},
    network::{VERDICT_ALLOW, VERDICT_DENY},
    policy::{EGRESS, Identity, Interval, PairKey, Span, Subject, why},
};
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Socket, Type};

use super::{
    bridge::{API, Away, datagram, ip, scene},
    forged::raw_socket,
    judge::{DB, Judge, RULE, WEB, got, mapped, v4, v6},
};
use crate::node::{Cgroup, Node};

/// Who has the name `a.example`, and who one below `b.example`.
const WHOLE: Identity = Identity(7);
const BELOW: Identity = Identity(8);

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// Addresses outside, of which the namespace has its share.
const FAR: [&str; 4] = ["203.0.113.7/32", "203.0.113.8/32", "2001:db8::7/128", "169.254.1.7/32"];

fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> =
        labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

/// An answer to a question, with such records: owner, type and data.
fn answer(question: &str, records: &[(Vec<u8>, u16, Vec<u8>)]) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
    message.extend(wire(question));
    message.extend([0, 1, 0, 1]);
    for (owner, kind, data) in records {
        message.extend(owner);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
    }
    message
}

/// The record of an address, whose owner is the name that was asked for.
fn of(address: &str) -> (Vec<u8>, u16, Vec<u8>) {
    let pointer = vec![0xc0, 12];
    match address.parse().expect("an address") {
        IpAddr::V4(address) => (pointer, A, address.octets().to_vec()),
        IpAddr::V6(address) => (pointer, AAAA, address.octets().to_vec()),
    }
}

/// From here on `WEB` may only send to `DB` and `API`, who may resolve, and to who has one of the names.
fn only_by_name(judge: &mut Judge<'_>) {
    let maps = &mut judge.node.loaded.policy;
    let slot = maps.next_slot();
    maps.clear(slot).expect("a slot");
    let denied = Interval { first: 0, rule: RULE, verdict: VERDICT_DENY, why: why::NOT_ALLOWED, padding: 0 };
    let allowed = Interval { verdict: VERDICT_ALLOW, why: why::RULE, ..denied };
    maps.set_intervals(slot, 0, &[denied, allowed]).expect("intervals");
    for peer in [DB, API, WHOLE, BELOW] {
        let key = PairKey { subject: WEB, peer, direction: EGRESS, slot, padding: 0 };
        maps.set_pair(key, Span { start: 1, length: 1 }).expect("a pair");
    }
    let web = Subject { any: [Span { start: 0, length: 1 }, Span::default()], pairs: [1, 0] };
    maps.set_subject(slot, WEB, web).expect("a subject");
    for other in [Identity::UNRESOLVED, Identity::NOBODY, DB, API] {
        maps.set_subject(slot, other, Subject::default()).expect("a subject");
    }
    let whole = PatternKey::new(slot, b"\x01a\x07example", true);
    let below = PatternKey::new(slot, b"\x01b\x07example", false);
    let hole = PatternKey::new(slot, b"\x01b\x07example", true);
    let patterns = [
        (whole, (PatternId(71), WHOLE)),
        (below, (PatternId(72), BELOW)),
        (hole, (PatternId::NONE, Identity::NOBODY)),
    ];
    maps.set_patterns(slot, &patterns.into()).expect("names");
    maps.activate().expect("a generation");
}

/// A namespace in which `WEB` asks `DB`, and the far addresses are.
struct Scene<'a> {
    judge: Judge<'a>,
    web: &'a Cgroup,
    db: &'a Cgroup,
    far: &'a Cgroup,
}

impl Scene<'_> {
    /// `WEB` asks, and is answered so.
    fn is_told(&self, message: &[u8]) {
        let resolver = self.db.enter(|| UdpSocket::bind(v4(2, 53)).expect("it binds"));
        let asker = self.web.enter(|| UdpSocket::bind(v4(1, 0)).expect("it binds"));
        for socket in [&resolver, &asker] {
            socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a limit");
        }
        asker.send_to(&[7; 12], v4(2, 53)).expect("it asks");
        let (_, from) = resolver.recv_from(&mut [0; 64]).expect("the question arrives");
        resolver.send_to(message, from).expect("it answers");
        asker.recv(&mut [0; 4096]).expect("the answer arrives");
    }

    /// Whether what `WEB` sends to this far address arrives.
    fn reaches(&self, address: &str) -> bool {
        let to = SocketAddr::new(address.parse().expect("an address"), 7_000);
        let receiver = self.far.enter(|| UdpSocket::bind(to).expect("it binds"));
        let sender = self.web.enter(|| UdpSocket::bind(own(to)).expect("it binds"));
        // Whether its sender is told or not.
        let _ = sender.send_to(&[0; 10], to);
        let by_packet = got(&receiver).is_some();
        let dials = || {
            let socket = Socket::new(Domain::for_address(to), Type::DGRAM, None).expect("a socket");
            socket.connect(&to.into()).is_ok()
        };
        assert_eq!(self.web.enter(dials), by_packet, "{address}: connect(2) agrees");
        by_packet
    }
}

/// Where `WEB` sends from.
fn own(to: SocketAddr) -> SocketAddr {
    if to.is_ipv4() { v4(1, 0) } else { v6(1, 0) }
}

fn in_scene(act: impl FnOnce(&mut Scene<'_>)) {
    let mut node = Node::start();
    let (web, db, far) = (node.cgroup(), node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    judge.place(&far, Identity(9), false);
    judge.node.loaded.policy.set_subject(0, Identity(9), Subject::default()).expect("a subject");
    judge.node.loaded.policy.set_subject(1, Identity(9), Subject::default()).expect("a subject");
    judge.address(&[(v4(1, 0), &web), (v4(2, 0), &db)]);
    only_by_name(&mut judge);
    let believed = [Resolver { owner: db.id, address: Address::NONE }];
    judge.node.loaded.policy.set_resolvers(&believed.into()).expect("a resolver");
    let _host = Away::from_here();
    ip("link set lo up");
    for address in ["198.18.0.1/32", "198.18.0.2/32", "fd00:c0ff:d::1/128"].into_iter().chain(FAR) {
        ip(&format!("addr add {address} dev lo"));
    }
    act(&mut Scene { judge, web: &web, db: &db, far: &far });
}

#[test]
fn an_address_is_reached_by_whoever_was_told_it_for_a_name_that_may_be_reached() {
    in_scene(|scene| {
        assert!(!scene.reaches("203.0.113.7"), "nobody has been told anything");
        scene.is_told(&answer("A.exAmple", &[of("203.0.113.7"), of("2001:db8::7")]));
        assert!(scene.reaches("203.0.113.7") && scene.reaches("2001:db8::7"));
        assert!(!scene.reaches("203.0.113.8"));
        // What another was told is nothing to him.
        let maps = &mut scene.judge.node.loaded.policy;
        let address = mapped("203.0.113.8:0".parse().expect("an address"));
        maps.name(NamedKey { owner: scene.db.id, address }, PatternId(71), u64::MAX).expect("room");
        assert!(!scene.reaches("203.0.113.8"));
    });
}

/// In a hundred rounds with each version of IP, as the adversary's ways ([`super::adversary`]).
#[test]
fn an_address_with_a_name_that_is_another_containers_now_is_not_reached_by_it() {
    const ROUNDS: u64 = 100;
    in_scene(|scene| {
        let addresses = ["203.0.113.7", "2001:db8::7"];
        scene.is_told(&answer("a.example", &addresses.map(of)));
        assert!(addresses.iter().all(|address| scene.reaches(address)));
        let [one, two] = addresses.map(|address| SocketAddr::new(address.parse().expect("one"), 7_000));
        let (web, db, far) = (scene.web, scene.db, scene.far);
        scene.judge.address(&[(v4(1, 0), web), (v4(2, 0), db), (one, far), (two, far)]);
        let denied = |judge: &Judge<'_>| judge.denied(web).iter().map(|row| row.attempts).sum::<u64>();
        for to in [one, two] {
            let before = denied(&scene.judge);
            let receiver = far.enter(|| UdpSocket::bind(to).expect("it binds"));
            for _ in 0..ROUNDS {
                let sender = web.enter(|| UdpSocket::bind(own(to)).expect("it binds"));
                // Whether its sender is told or not.
                let _ = sender.send_to(&[0; 10], to);
            }
            assert_eq!(got(&receiver), None, "{to}");
            assert_eq!(denied(&scene.judge) - before, ROUNDS, "{to}");
        }
    });
}

#[test]
fn of_names_below_one_each_counts_and_the_one_itself_does_not() {
    in_scene(|scene| {
        for (name, reached) in [
            ("b.example", false),
            ("ab.example", false),
            ("a.example.org", false),
            ("xa.example", false),
            ("c.a.example", false),
            ("example", false),
            ("x.b.example", true),
        ] {
            scene.is_told(&answer(name, &[of("203.0.113.7")]));
            assert_eq!(scene.reaches("203.0.113.7"), reached, "{name}");
        }
        scene.is_told(&answer("d.c.B.example", &[of("203.0.113.8")]));
        assert!(scene.reaches("203.0.113.8"));
    });
}

#[test]
fn behind_aliases_it_is_still_the_name_that_was_asked_for() {
    in_scene(|scene| {
        let (alias, next) = (wire("edge.cdn.example"), wire("pop7.cdn.example"));
        let records = [
            (wire("a.example"), CNAME, alias.clone()),
            (alias, CNAME, next.clone()),
            (next, A, vec![203, 0, 113, 7]),
        ];
        scene.is_told(&answer("a.example", &records));
        assert!(scene.reaches("203.0.113.7"));
        let many: Vec<_> = (0..40).map(|last| of(&format!("203.0.113.{}", 100 - last))).collect();
        assert_eq!(scene.judge.node.failures("names_unread"), 0);
        scene.is_told(&answer("a.example", &many));
        assert_eq!(scene.judge.node.failures("names_unread"), 1, "the daemon has to add the rest");
    });
}

#[test]
fn what_is_only_valid_on_a_host_or_a_link_is_not_for_the_dns_to_tell() {
    in_scene(|scene| {
        scene.is_told(&answer("a.example", &[of("169.254.1.7")]));
        assert!(!scene.reaches("169.254.1.7"));
    });
}

#[test]
fn what_cannot_be_read_teaches_nothing() {
    in_scene(|scene| {
        let good = answer("a.example", &[of("203.0.113.7")]);
        let question = 12..12 + wire("a.example").len();
        let address = mapped("203.0.113.7:0".parse().expect("an address"));
        // A name that points at itself, one with a label of a kind that is none, and one without an end.
        let mut broken = vec![
            [&good[..12], &[0xc0, 12], &good[question.end..]].concat(),
            [&good[..12], &[0x41, b'a'], &good[question.end..]].concat(),
            [&good[..12], &[63; 240]].concat(),
        ];
        // Records that are cut, of another class, or too long for what they are.
        let record = question.end + 4;
        broken.extend((record..good.len()).map(|end| good[..end].to_vec()));
        for (at, value) in [(record + 5, 3), (record + 11, 5)] {
            let mut other = good.clone();
            other[at] = value;
            other.extend([0; 8]);
            broken.push(other);
        }
        for message in broken {
            scene.is_told(&message);
            let learned = scene.judge.node.loaded.policy.names_of(scene.web.id, &address);
            assert_eq!(learned, [], "{message:?}");
        }
        scene.is_told(&good);
        assert!(scene.reaches("203.0.113.7"));
    });
}

#[test]
fn who_is_not_believed_allows_nothing_whatever_he_answers() {
    in_scene(|scene| {
        scene.judge.node.loaded.policy.set_resolvers(&[].into()).expect("none");
        scene.is_told(&answer("a.example", &[of("203.0.113.7")]));
        assert!(!scene.reaches("203.0.113.7"));
        // Nor by the address, where the answer comes by the loopback: it could be his own.
        let address = mapped(v4(2, 0));
        let believed = [Resolver { owner: CgroupId::NONE, address }];
        scene.judge.node.loaded.policy.set_resolvers(&believed.into()).expect("a resolver");
        let entrances = [0, 1].map(|link| Entrance { owner: scene.web.id, link, padding: 0 });
        scene.judge.node.loaded.sensor.set_entrances(&entrances.into()).expect("links");
        scene.is_told(&answer("a.example", &[of("203.0.113.7")]));
        assert!(!scene.reaches("203.0.113.7"));
    });
}

#[test]
fn whoever_forges_an_answer_to_himself_is_not_believed() {
    in_scene(|scene| {
        let resolver = scene.db.enter(|| UdpSocket::bind(v4(2, 53)).expect("it binds"));
        let asker = scene.web.enter(|| UdpSocket::bind(v4(1, 0)).expect("it binds"));
        asker.send_to(&[7; 12], v4(2, 53)).expect("it asks");
        let (_, from) = resolver.recv_from(&mut [0; 64]).expect("the question arrives");
        let message = answer("a.example", &[of("203.0.113.7")]);
        let packet = datagram(v4(2, 53), from, &message);
        for forger in [scene.web, scene.far] {
            let raw = forger.enter(raw_socket);
            for _ in 0..100 {
                let _ = raw.send_to(&packet, &from.into());
            }
            assert!(!scene.reaches("203.0.113.7"));
        }
    });
}

#[test]
fn a_resolver_outside_is_believed_by_the_workloads_own_link_and_by_no_other() {
    scene(|judge, [(web, web_group), (_, _), (api, api_group)]| {
        only_by_name(judge);
        let address = mapped(v4(3, 0));
        let believed = [Resolver { owner: CgroupId::NONE, address }];
        judge.node.loaded.policy.set_resolvers(&believed.into()).expect("a resolver");
        let link = web.does(|| if_nametoindex("eth0").expect("a link"));
        let at =
            NamedKey { owner: web_group.id, address: mapped("203.0.113.7:0".parse().expect("an address")) };
        for (entrance, known) in [(link + 1, vec![]), (link, vec![PatternId(71)])] {
            let entrance = Entrance { owner: web_group.id, link: entrance, padding: 0 };
            judge.node.loaded.sensor.set_entrances(&[entrance].into()).expect("a link");
            let resolver = api.receiver(api_group, v4(3, 53));
            let asker = web.receiver(web_group, v4(1, 0));
            asker.send_to(&[7; 12], v4(3, 53)).expect("it asks");
            let (_, from) = resolver.recv_from(&mut [0; 64]).expect("the question arrives");
            resolver.send_to(&answer("a.example", &[of("203.0.113.7")]), from).expect("it answers");
            asker.recv(&mut [0; 512]).expect("the answer arrives");
            assert_eq!(judge.node.loaded.policy.names_of(at.owner, &at.address), known);
        }
    });
}

#[test]
fn what_is_not_valid_any_more_is_forgotten_and_what_is_told_again_is_not() {
    in_scene(|scene| {
        let at = |last: u8| NamedKey {
            owner: scene.web.id,
            address: mapped(SocketAddr::from(([203, 0, 113, last], 0))),
        };
        let keys = [at(7), at(8)];
        let web = scene.web.id;
        let maps = &mut scene.judge.node.loaded.policy;
        maps.name(keys[0], PatternId(71), 100).expect("room");
        maps.name(keys[1], PatternId(71), 100).expect("room");
        maps.name(keys[1], PatternId(72), 300).expect("room");
        assert_eq!(maps.stale_names(50, |_| true).expect("all are read"), []);
        let sorted = |mut keys: Vec<NamedKey>| {
            keys.sort_unstable_by_key(|key| key.address);
            keys
        };
        assert_eq!(sorted(maps.stale_names(200, |_| true).expect("all are read")), keys);
        assert_eq!(sorted(maps.stale_names(50, |owner| owner != web).expect("all are read")), keys);
        maps.forget_name(&keys[1], 200, true).expect("one of two is not valid");
        assert_eq!(maps.names_of(web, &keys[1].address), [PatternId(72)]);
        maps.name(keys[0], PatternId(71), 400).expect("room");
        maps.forget_name(&keys[0], 200, true).expect("it is told again");
        assert_eq!(maps.names_of(web, &keys[0].address), [PatternId(71)]);
        maps.forget_name(&keys[0], 400, true).expect("it is not valid");
        assert_eq!(maps.names_of(web, &keys[0].address), []);
        assert!(!scene.reaches("203.0.113.7") && scene.reaches("203.0.113.8"));
    });
}
