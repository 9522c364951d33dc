//! Family policy: what the kernel lets pass, what it denies, and what it says of that. The oracle is always the receiver.

mod adversary;

mod apply;

mod audit;

mod bridge;

mod caller;

mod flood;

mod forged;

mod judge;

mod link;

mod lsm;

mod names;

mod open;

mod pretend;

mod scenes;

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
    time::Duration,
};

use cofferdam::sensor::record::Record;
use cofferdam_common::{
    ids::CgroupId,
    network::{
        PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, VERDICT_ALLOW, VERDICT_AUDIT, VERDICT_DENY, VERDICT_HOLD,
    },
    policy::{EGRESS, INGRESS, Identity, Interval, PairKey, Span, Subject, layer, service, why},
};
use socket2::{Domain, Socket, Type};

use self::judge::{ADDRESSES, DB, Judge, RULE, WEB, WHILE, got, mapped, v4, v6};
use crate::{namespace::in_namespace, node::Node};

#[test]
fn a_connect_that_is_denied_fails_at_once_and_says_which_rule() {
    for (from, to) in [(v4(1, 0), v4(2, 0)), (v6(1, 0), v6(2, 0))] {
        let mut node = Node::start();
        let (web, db) = (node.cgroup(), node.cgroup());
        let mut judge = Judge::new(&mut node, &web, &db);
        judge.address(&[(from, &web), (to, &db)]);
        judge.says(Some(WEB), VERDICT_DENY);
        let port = in_namespace(&ADDRESSES, || {
            let listener = db.enter(|| TcpListener::bind(to).expect("it listens"));
            let to = listener.local_addr().expect("an address");
            let refused = web.enter(|| TcpStream::connect(to)).expect_err("it is denied");
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
            listener.set_nonblocking(true).expect("it does not wait");
            assert_eq!(listener.accept().expect_err("nobody came").kind(), ErrorKind::WouldBlock);
            to.port()
        });
        let verdict = judge.verdict(port);
        assert_eq!((verdict.source, verdict.target), (web.id, CgroupId::NONE));
        assert_eq!((verdict.target_address, verdict.protocol), (mapped(to), PROTOCOL_TCP));
        assert_eq!((verdict.judgement.rule, verdict.judgement.verdict), (RULE, VERDICT_DENY));
        assert_eq!((verdict.judgement.direction, verdict.layer), (INGRESS, layer::CONNECT));
        assert_eq!(judge.denied(&web).iter().map(|row| row.attempts).sum::<u64>(), 1);
    }
}

#[test]
fn where_the_address_says_nothing_the_sockets_decide() {
    // Loopback, and addresses that the daemon has not heard of.
    for to in
        [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), v4(2, 0)]
    {
        let mut node = Node::start();
        let (web, db) = (node.cgroup(), node.cgroup());
        let mut judge = Judge::new(&mut node, &web, &db);
        judge.says(Some(WEB), VERDICT_DENY);
        let port = in_namespace(&ADDRESSES, || {
            let listener = db.enter(|| TcpListener::bind(to).expect("it listens"));
            let to = listener.local_addr().expect("an address");
            let refused = web.enter(|| TcpStream::connect_timeout(&to, WHILE)).expect_err("it is denied");
            assert_eq!(refused.kind(), ErrorKind::TimedOut, "{to}");
            listener.set_nonblocking(true).expect("it does not wait");
            assert_eq!(listener.accept().expect_err("nobody came").kind(), ErrorKind::WouldBlock);
            // Who is not named by the rule is let in.
            drop(TcpStream::connect(to).expect("another connects"));
            to.port()
        });
        let verdict = judge.verdict(port);
        assert_eq!((verdict.source, verdict.target, verdict.layer), (web.id, db.id, layer::INGRESS), "{to}");
    }
}

#[test]
fn a_datagram_that_is_denied_does_not_arrive_and_one_that_is_allowed_gets_its_answer() {
    for (from, to) in [(v4(1, 0), v4(2, 0)), (v6(1, 0), v6(2, 0))] {
        let mut node = Node::start();
        let (web, db) = (node.cgroup(), node.cgroup());
        let mut judge = Judge::new(&mut node, &web, &db);
        let (sender, receiver) = in_namespace(&ADDRESSES, || {
            (
                web.enter(|| UdpSocket::bind(from).expect("it binds")),
                db.enter(|| UdpSocket::bind(to).expect("it binds")),
            )
        });
        let (from, to) =
            (sender.local_addr().expect("an address"), receiver.local_addr().expect("an address"));
        judge.says(Some(WEB), VERDICT_DENY);
        for known in [false, true] {
            if known {
                judge.address(&[(from, &web), (to, &db)]);
            }
            let sent = web.enter(|| sender.send_to(&[0; 10], to)).map_err(|error| error.kind());
            assert_eq!(sent, if known { Err(ErrorKind::PermissionDenied) } else { Ok(10) }, "{to}");
            assert_eq!(got(&receiver), None, "{to} {known}");
        }
        // Whoever has no port yet is told the same.
        let portless = in_namespace(&ADDRESSES, || {
            let domain = if to.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
            let socket = web.enter(|| Socket::new(domain, Type::DGRAM, None).expect("a socket"));
            web.enter(|| socket.send_to(&[0; 10], &to.into())).map_err(|error| error.kind())
        });
        assert_eq!(portless, Err(ErrorKind::PermissionDenied), "{to}");
        let verdict = judge.verdict(to.port());
        assert_eq!((verdict.source, verdict.protocol), (web.id, PROTOCOL_UDP));
        judge.node.record(|record| match record {
            Record::Verdict(verdict) => (verdict.layer == layer::EGRESS).then_some(()),
            _ => None,
        });
        // The other way round nobody minds, and the answer may come back.
        receiver.send_to(&[0; 20], from).expect("it sends");
        assert_eq!(got(&sender), Some(20));
        judge.says(None, VERDICT_ALLOW);
        sender.send_to(&[0; 10], to).expect("it may now");
        assert_eq!(got(&receiver), Some(10));
    }
}

#[test]
fn a_connection_that_was_open_is_stopped_when_a_policy_denies_it_and_goes_on_when_it_is_taken_back() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    let listener = db.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it listens"));
    let to = listener.local_addr().expect("an address");
    let mut client = web.enter(|| TcpStream::connect(to).expect("it connects"));
    let (mut server, _) = listener.accept().expect("it is accepted");
    client.write_all(&[1; 10]).expect("it sends");
    server.read_exact(&mut [0; 10]).expect("it arrives");

    judge.says(Some(WEB), VERDICT_DENY);
    client.write_all(&[1; 10]).expect("it is queued");
    server.set_read_timeout(Some(WHILE)).expect("a limit");
    assert_eq!(server.read(&mut [0; 10]).expect_err("nothing comes").kind(), ErrorKind::WouldBlock);
    assert_eq!(judge.verdict(to.port()).source, web.id);
    // What the server sends is of the same connection, and is told as such.
    server.write_all(&[2; 10]).expect("it is queued");
    client.set_read_timeout(Some(WHILE)).expect("a limit");
    assert_eq!(client.read(&mut [0; 10]).expect_err("nothing comes").kind(), ErrorKind::WouldBlock);
    let denied = judge.node.rows(|key| key.verdict == VERDICT_DENY);
    let ends = denied.iter().map(|(key, _)| (key.source.cgroup, key.target.cgroup, key.port));
    assert_eq!(Vec::from_iter(ends), [(web.id, db.id, to.port())]);

    judge.says(Some(WEB), VERDICT_ALLOW);
    server.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
    server.read_exact(&mut [0; 10]).expect("it is sent again");
}

#[test]
fn a_connection_that_was_open_before_the_hooks_is_judged_as_its_clients_whatever_its_port() {
    /// Above those that clients get.
    const HIGH: u16 = 61_001;
    for port in [0, HIGH] {
        let (web, db, listener, mut client, mut server);
        {
            let before = Node::fresh();
            (web, db) = (before.cgroup(), before.cgroup());
            listener = db.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it listens"));
            let to = listener.local_addr().expect("an address");
            client = web.enter(|| TcpStream::connect(to).expect("it connects"));
            server = listener.accept().expect("it is accepted").0;
        }
        let mut node = Node::fresh();
        let mut judge = Judge::new(&mut node, &web, &db);
        judge.says(Some(WEB), VERDICT_DENY);
        client.write_all(&[1; 10]).expect("it is queued");
        server.set_read_timeout(Some(WHILE)).expect("a limit");
        assert_eq!(
            server.read(&mut [0; 10]).expect_err("nothing comes").kind(),
            ErrorKind::WouldBlock,
            "{port}"
        );
        assert_eq!(judge.verdict(listener.local_addr().expect("an address").port()).source, web.id);
    }
}

#[test]
fn a_cgroup_that_is_made_inside_a_container_is_judged_as_the_container() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    judge.place(&web, WEB, true);
    judge.says(Some(WEB), VERDICT_DENY);
    let inside = web.nested("inside");
    let deeper = inside.nested("deeper");
    in_namespace(&ADDRESSES, || {
        let receiver = db.enter(|| UdpSocket::bind(v4(2, 0)).expect("it binds"));
        let to = receiver.local_addr().expect("an address");
        for cgroup in [&inside, &deeper] {
            let sender = cgroup.enter(|| UdpSocket::bind(v4(1, 0)).expect("it binds"));
            sender.send_to(&[0; 10], to).expect("it is sent");
            assert_eq!(got(&receiver), None);
        }
    });
    drop(deeper);
    drop(inside);
}

#[test]
fn what_would_be_denied_passes_and_is_reported() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    judge.says(Some(WEB), VERDICT_AUDIT);
    let receiver = db.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    let to = receiver.local_addr().expect("an address");
    let sender = web.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    for _ in 0..3 {
        sender.send_to(&[0; 10], to).expect("it sends");
        assert_eq!(got(&receiver), Some(10));
    }
    let verdict = judge.verdict(to.port());
    assert_eq!(
        (verdict.judgement.verdict, verdict.judgement.rule, verdict.attempts),
        (VERDICT_AUDIT, RULE, 1)
    );
    let (key, row) = judge.node.row_from(&web, |row| row.volume.packets_sent == 3);
    assert_eq!((key.verdict, key.rule, row.flows), (VERDICT_AUDIT, RULE, 1));
}

#[test]
fn whoever_is_not_known_yet_is_held_and_what_he_sends_again_passes_once_he_is() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let unknown = node.cgroup();
    let mut judge = Judge::new(&mut node, &web, &db);
    judge.says_of_unresolved(VERDICT_HOLD);
    let listener = db.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it listens"));
    let to = listener.local_addr().expect("an address");
    thread::scope(|scope| {
        let connects = scope.spawn(|| {
            let started = unknown.enter(|| TcpStream::connect_timeout(&to, Duration::from_secs(20)));
            started.expect("it connects with its second try or a later one")
        });
        let held = || judge.node.failures("held");
        while held() == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        listener.set_nonblocking(true).expect("it does not wait");
        assert_eq!(listener.accept().expect_err("nobody came").kind(), ErrorKind::WouldBlock);
        judge.place(&unknown, WEB, false);
        connects.join().expect("it ends well");
    });
    // Nobody was denied anything.
    assert_eq!(judge.denied(&unknown).len(), 0);
    let (_, row) = judge.node.row_from(&unknown, |row| row.flows == 1);
    assert_eq!(row.attempts, 1);
}

#[test]
fn repeats_are_counted_one_by_one_and_reported_together() {
    const TRIES: u64 = 500;
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    judge.says(None, VERDICT_DENY);
    let receiver = db.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    let to = receiver.local_addr().expect("an address");
    let sender = web.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    for _ in 0..TRIES {
        sender.send_to(&[0; 10], to).expect("it is sent");
    }
    assert_eq!(got(&receiver), None);
    assert_eq!(judge.verdict(to.port()).attempts, 1);
    assert_eq!(judge.denied(&web).iter().map(|row| row.attempts).sum::<u64>(), TRIES);
    thread::sleep(Duration::from_millis(1100));
    sender.send_to(&[0; 10], to).expect("it is sent");
    let folded = judge.node.record(|record| match record {
        Record::Verdict(verdict) if verdict.attempts > 1 => Some(verdict.attempts),
        _ => None,
    });
    assert_eq!(folded, TRIES);
}

#[test]
fn only_the_services_that_a_rule_names_are_denied() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let judge = Judge::new(&mut node, &web, &db);
    let maps = &mut judge.node.loaded.policy;
    let allowed = |first| Interval { first, rule: 1, verdict: VERDICT_ALLOW, why: why::RULE, padding: 0 };
    let denied = |first| Interval { first, rule: 2, verdict: VERDICT_DENY, why: why::RULE, padding: 0 };
    let (ports, icmp) = (40_010_u16..=40_019, service(PROTOCOL_ICMP, 0));
    let intervals = [
        denied(0),
        allowed(icmp),
        denied(icmp + 1),
        allowed(service(PROTOCOL_UDP, *ports.start())),
        denied(service(PROTOCOL_UDP, *ports.end()) + 1),
    ];
    let slot = maps.next_slot();
    maps.set_intervals(slot, 0, &intervals).expect("intervals");
    let span = Span { start: 0, length: 5 };
    maps.set_subject(slot, DB, Subject { any: [Span::default(), span], pairs: [0; 2] }).expect("a subject");
    maps.activate().expect("a generation");
    let sender = web.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    for port in [40_009, 40_010, 40_015, 40_019, 40_020] {
        let receiver = db.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("it binds"));
        sender.send_to(&[0; 10], (Ipv4Addr::LOCALHOST, port)).expect("it is sent");
        assert_eq!(got(&receiver).is_some(), ports.contains(&port), "{port}");
    }
}

#[test]
fn a_peer_outside_is_known_by_its_network_and_the_narrowest_counts() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let judge = Judge::new(&mut node, &web, &db);
    let maps = &mut judge.node.loaded.policy;
    let (wide, narrow) = (Identity(6), Identity(7));
    let slot = maps.next_slot();
    maps.set_network(slot, "203.0.113.0/24".parse().expect("a network"), wide).expect("a network");
    maps.set_network(slot, "203.0.113.128/25".parse().expect("a network"), narrow).expect("a network");
    maps.set_network(slot, "2001:db8::/32".parse().expect("a network"), wide).expect("a network");
    let denied = Interval { first: 0, rule: RULE, verdict: VERDICT_DENY, why: why::RULE, padding: 0 };
    maps.set_intervals(slot, 0, &[denied]).expect("an interval");
    let span = Span { start: 0, length: 1 };
    let key = PairKey { subject: WEB, peer: wide, direction: EGRESS, slot, padding: 0 };
    maps.set_pair(key, span).expect("a pair");
    maps.set_subject(slot, WEB, Subject { any: [Span::default(); 2], pairs: [1, 0] }).expect("a subject");
    maps.activate().expect("a generation");
    let connects = |to: &str| {
        let to: SocketAddr = to.parse().expect("an address");
        web.enter(|| TcpStream::connect_timeout(&to, WHILE)).err().map(|error| error.kind())
    };
    in_namespace(&ADDRESSES, || {
        for to in ["203.0.113.1:9", "203.0.113.127:9", "[2001:db8::1]:9"] {
            assert_eq!(connects(to), Some(ErrorKind::PermissionDenied), "{to}");
        }
        // There is no way to them, which is another error.
        for to in ["203.0.113.128:9", "203.0.114.1:9", "[2001:db9::1]:9"] {
            assert_eq!(connects(to), Some(ErrorKind::NetworkUnreachable), "{to}");
        }
    });
}

#[test]
fn whoever_may_not_send_is_stopped_at_his_socket_and_that_is_counted() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let judge = Judge::new(&mut node, &web, &db);
    let maps = &mut judge.node.loaded.policy;
    let slot = maps.next_slot();
    let denied = Interval { first: 0, rule: RULE, verdict: VERDICT_DENY, why: why::RULE, padding: 0 };
    maps.set_intervals(slot, 0, &[denied]).expect("an interval");
    let span = Span { start: 0, length: 1 };
    maps.set_subject(slot, WEB, Subject { any: [span, Span::default()], pairs: [0; 2] }).expect("a subject");
    maps.activate().expect("a generation");
    in_namespace(&ADDRESSES, || {
        for (from, to) in [(v4(1, 0), v4(2, 9)), (v6(1, 0), v6(2, 9))] {
            let sender = web.enter(|| UdpSocket::bind(from).expect("it binds"));
            let sent = web.enter(|| sender.send_to(&[0; 10], to)).expect_err("it is denied");
            assert_eq!(sent.kind(), ErrorKind::PermissionDenied, "{to}");
        }
    });
    let rows = judge.node.rows_from(&web);
    let counted: Vec<_> = rows.iter().map(|(key, row)| (key.protocol, key.verdict, row.attempts)).collect();
    assert_eq!(counted.len(), 2, "{counted:?}");
    assert!(
        counted.iter().all(|(_, verdict, attempts)| (*verdict, *attempts) == (VERDICT_DENY, 1)),
        "{counted:?}"
    );
}
