//! Frames that no socket of the IP stack sends, on the way from one container to another: judged at the host's end of the
//! sender's virtual Ethernet link.

use std::{
    fs::{self, File},
    net::{SocketAddr, UdpSocket},
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, Scope},
    time::{Duration, Instant},
};

use cofferdam::sensor::record::Record;
use cofferdam_common::{
    ids::CgroupId,
    network::VERDICT_DENY,
    policy::{Identity, layer, why},
};
use nix::{
    sched::{CloneFlags, setns, unshare},
    unistd::gettid,
};
use smoltcp::{
    phy::{ChecksumCapabilities, Device as _, Medium, RawSocket, RxToken as _, TxToken as _},
    time::Instant as At,
    wire::{EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol, IpRepr, UdpPacket, UdpRepr},
};

use super::judge::{Judge, RULE, WEB, WHILE, got, v4, v6};
use crate::node::{Cgroup, Node};

/// Who may, besides `WEB` and `DB`.
const API: Identity = Identity(5);
/// A type that is free for experiments (IEEE 802: local experimental EtherType 1).
const EXPERIMENT: u16 = 0x88b5;
/// A listener for frames, until one comes or none has come for a while.
struct Tap(Receiver<bool>);

/// Bytes of a payload.
const SIZE: usize = 100;

type Task = Box<dyn FnOnce() + Send>;

/// A network namespace with one link to a bridge on the "host", as Docker makes them.
struct Container {
    tasks: Sender<Task>,
    last: u8,
}

impl Container {
    /// Joins 198.18.0.`last` and fd00:c0ff:d::`last` to the bridge of the namespace that this is called in.
    fn start<'scope>(scope: &'scope Scope<'scope, '_>, last: u8) -> Self {
        let (tasks, inbox): (Sender<Task>, Receiver<Task>) = channel();
        let (started, number) = channel();
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
            started.send(gettid()).expect("it is waited for");
            inbox.into_iter().for_each(|task| task());
        });
        let thread = number.recv().expect("it starts");
        ip(&format!("link add veth{last} type veth peer name eth0 netns {thread}"));
        ip(&format!("link set veth{last} master bridge0 up"));
        let container = Self { tasks, last };
        container.does(move || {
            ip("link set lo up");
            ip(&format!("link set eth0 address 02:00:00:00:00:{last:02}"));
            ip(&format!("addr add 198.18.0.{last}/24 dev eth0"));
            ip(&format!("addr add fd00:c0ff:d::{last}/64 dev eth0 nodad"));
            ip("link set eth0 up");
        });
        container
    }

    /// Does something within.
    fn does<T: Send + 'static>(&self, act: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let task = move || {
            let _ = done.send(act());
        };
        self.tasks.send(Box::new(task)).expect("it lives");
        result.recv().expect("it is done")
    }

    fn at(&self, is_v6: bool) -> SocketAddr {
        if is_v6 { v6(self.last.into(), 4_000) } else { v4(self.last, 4_000) }
    }

    /// A socket that packets arrive at.
    fn receiver(&self, cgroup: &Cgroup, at: SocketAddr) -> UdpSocket {
        cgroup.enter(|| self.does(move || UdpSocket::bind(at).expect("it binds")))
    }

    /// Listens for a frame of a type that is as long, past the IP stack.
    fn taps(&self, wanted: EthernetProtocol, length: usize) -> Tap {
        let (heard, result) = channel();
        let (ready, listens) = channel();
        let task = move || {
            let mut raw = RawSocket::new("eth0", Medium::Ethernet).expect("a packet socket");
            ready.send(()).expect("it is waited for");
            let until = Instant::now() + WHILE;
            let mut found = false;
            while !found && Instant::now() < until {
                let Some((frame, _)) = raw.receive(At::now()) else {
                    thread::sleep(Duration::from_millis(1));
                    continue;
                };
                found = frame.consume(|bytes| {
                    let frame = EthernetFrame::new_unchecked(bytes);
                    frame.ethertype() == wanted && frame.payload().len() == length
                });
            }
            let _ = heard.send(found);
        };
        self.tasks.send(Box::new(task)).expect("it lives");
        listens.recv().expect("it listens");
        Tap(result)
    }

    /// Sends a frame past the IP stack, as a process of `cgroup`.
    fn sends(&self, cgroup: &Cgroup, frame: Vec<u8>) {
        self.sends_at("eth0", cgroup, frame);
    }

    fn sends_at(&self, interface: &'static str, cgroup: &Cgroup, frame: Vec<u8>) {
        let send = move || {
            let mut raw = RawSocket::new(interface, Medium::Ethernet).expect("a packet socket");
            let token = raw.transmit(At::now()).expect("there is room");
            token.consume(frame.len(), |buffer| buffer.copy_from_slice(&frame));
        };
        cgroup.enter(|| self.does(send));
    }
}

/// This thread is in a network namespace of its own until it is dropped.
struct Away(File);

impl Away {
    fn from_here() -> Self {
        let here = File::open("/proc/thread-self/ns/net").expect("a namespace");
        unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
        Self(here)
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        setns(&self.0, CloneFlags::CLONE_NEWNET).expect("the way back");
    }
}

impl Tap {
    fn heard(self) -> bool {
        self.0.recv().expect("it ends")
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

fn hardware(last: u8) -> EthernetAddress {
    EthernetAddress([2, 0, 0, 0, 0, last])
}

/// A frame from container to container, with whatever addresses in its IP header.
fn frame((from, to): (&Container, &Container), source: SocketAddr, target: SocketAddr) -> Vec<u8> {
    let udp = UdpRepr { src_port: source.port(), dst_port: target.port() };
    let length = udp.header_len() + SIZE;
    let (source, target) = (source.ip().into(), target.ip().into());
    let ip = IpRepr::new(source, target, IpProtocol::Udp, length, 64);
    let mut bytes = vec![0; 14 + ip.buffer_len()];
    let mut ethernet = EthernetFrame::new_unchecked(&mut bytes[..]);
    ethernet.set_src_addr(hardware(from.last));
    ethernet.set_dst_addr(hardware(to.last));
    ethernet.set_ethertype(if matches!(target, smoltcp::wire::IpAddress::Ipv4(_)) {
        EthernetProtocol::Ipv4
    } else {
        EthernetProtocol::Ipv6
    });
    let checksums = ChecksumCapabilities::default();
    ip.emit(ethernet.payload_mut(), &checksums);
    let mut packet = UdpPacket::new_unchecked(&mut bytes[14 + ip.header_len()..]);
    udp.emit(&mut packet, &source, &target, SIZE, |payload| payload.fill(7), &checksums);
    bytes
}

/// Three containers on a bridge, whose links are covered; `web` may not send to `db`.
fn scene(act: impl FnOnce(&mut Judge<'_>, [(&Container, &Cgroup); 3])) {
    let mut node = Node::start();
    let (web, db, api) = (node.cgroup(), node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    judge.place(&api, API, false);
    judge.address(&[
        (v4(1, 0), &web),
        (v6(1, 0), &web),
        (v4(2, 0), &db),
        (v6(2, 0), &db),
        (v4(3, 0), &api),
        (v6(3, 0), &api),
    ]);
    judge.says(Some(WEB), VERDICT_DENY);
    let _host = Away::from_here();
    ip("link add bridge0 type bridge");
    ip("link set bridge0 up");
    thread::scope(|scope| {
        let containers = [1, 2, 3].map(|last| Container::start(scope, last));
        for (container, cgroup) in containers.iter().zip([&web, &db, &api]) {
            judge.covers(&format!("veth{}", container.last), cgroup.id);
        }
        let [one, two, three] = &containers;
        act(&mut judge, [(one, &web), (two, &db), (three, &api)]);
    });
}

#[test]
fn a_frame_past_the_ip_stack_is_judged_as_its_sender_whatever_address_it_bears() {
    scene(|judge, [(web, web_cgroup), (db, db_cgroup), (api, api_cgroup)]| {
        for v6 in [false, true] {
            let at = |container: &Container| container.at(v6);
            let receiver = db.receiver(db_cgroup, at(db));
            let tries = |sender: &Container, cgroup, source| {
                sender.sends(cgroup, frame((sender, db), source, at(db)));
                got(&receiver)
            };
            assert_eq!(tries(api, api_cgroup, at(api)), Some(SIZE), "who may, may so too");
            assert_eq!(tries(web, web_cgroup, at(web)), None);
            assert_eq!(tries(web, web_cgroup, at(api)), None, "with the address of one who may");
        }
        let denied = judge.node.record(|record| match record {
            Record::Verdict(verdict) if verdict.layer == layer::LINK => Some(**verdict),
            _ => None,
        });
        assert_eq!(
            (denied.source, denied.judgement.rule, denied.judgement.why),
            (web_cgroup.id, RULE, why::RULE)
        );
        assert!(judge.denied(web_cgroup).iter().map(|row| row.attempts).sum::<u64>() >= 4);
    });
}

#[test]
fn what_sockets_send_passes_the_link_as_it_was_judged_and_so_do_the_answers() {
    scene(|judge, [(web, web_cgroup), (db, db_cgroup), (api, api_cgroup)]| {
        for v6 in [false, true] {
            let at = |container: &Container| container.at(v6);
            let server = db.receiver(db_cgroup, at(db));
            let client = api.receiver(api_cgroup, at(api));
            let denied = web.receiver(web_cgroup, at(web));
            client.send_to(&[0; SIZE], at(db)).expect("it sends");
            assert_eq!(got(&server), Some(SIZE));
            server.send_to(&[0; SIZE], at(api)).expect("it answers");
            assert_eq!(got(&client), Some(SIZE));
            // Larger than a frame: all but the first fragment have no ports.
            client.send_to(&[0; 4_000], at(db)).expect("it sends");
            assert_eq!(got(&server), Some(SIZE), "as much as is read of it");
            // Whether it is told or not.
            let _ = denied.send_to(&[0; SIZE], at(db));
            assert_eq!(got(&server), None);
            // What `db` begins, `web` may answer.
            server.send_to(&[0; SIZE], at(web)).expect("it sends");
            assert_eq!(got(&denied), Some(SIZE));
            denied.send_to(&[0; SIZE], at(db)).expect("it answers");
            assert_eq!(got(&server), Some(SIZE));
        }
        let of_links =
            |record: &Record| matches!(record, Record::Verdict(verdict) if verdict.layer == layer::LINK);
        assert!(!judge.node.drain().iter().any(of_links));
    });
}

#[test]
fn who_answers_past_the_ip_stack_is_not_taken_for_one_who_begins() {
    scene(|_, [(web, web_cgroup), (db, db_cgroup), _]| {
        let (from_db, from_web) = (v4(2, 5_000), v4(1, 6_000));
        let answer = || {
            web.sends(web_cgroup, frame((web, db), from_web, from_db));
        };
        let tap = db.taps(EthernetProtocol::Ipv4, 28 + SIZE);
        answer();
        assert!(!tap.heard(), "nobody has asked");
        db.sends(db_cgroup, frame((db, web), from_db, from_web));
        let tap = db.taps(EthernetProtocol::Ipv4, 28 + SIZE);
        answer();
        assert!(tap.heard());
    });
}

#[test]
fn a_frame_that_is_not_ip_is_of_a_protocol_of_its_own() {
    scene(|judge, [(web, web_cgroup), (db, _), _]| {
        let experiment = EthernetProtocol::Unknown(EXPERIMENT);
        let mut bytes = vec![7; 14 + SIZE];
        let mut ethernet = EthernetFrame::new_unchecked(&mut bytes[..]);
        ethernet.set_src_addr(hardware(1));
        ethernet.set_dst_addr(hardware(2));
        ethernet.set_ethertype(experiment);
        let tries = || {
            let tap = db.taps(experiment, SIZE);
            web.sends(web_cgroup, bytes.clone());
            tap.heard()
        };
        // The rules are about what `db` receives, and nobody can say that it is `db` who does.
        assert!(tries());
        judge.says_of_sending(WEB, VERDICT_DENY);
        assert!(!tries());
        assert_eq!(judge.denied(web_cgroup).len(), 1);
    });
}

#[test]
fn what_no_socket_sends_is_judged_as_of_whoever_has_the_link() {
    scene(|judge, [(web, web_cgroup), (db, db_cgroup), (_, api_cgroup)]| {
        let receiver = db.receiver(db_cgroup, db.at(false));
        // Somebody behind `web`, of whom nobody knows.
        let hidden = SocketAddr::from(([198, 18, 9, 1], 4_000));
        db.does(|| ip("route add 198.18.9.0/24 via 198.18.0.1"));
        web.does(|| {
            ip("link add inner type veth peer name beyond");
            ip("link set beyond address 02:00:00:00:00:09");
            ip("addr add 198.18.9.254/24 dev beyond");
            ip("link set inner up");
            ip("link set beyond up");
            fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("it forwards");
        });
        let mut bytes = frame((web, db), hidden, db.at(false));
        EthernetFrame::new_unchecked(&mut bytes[..]).set_dst_addr(hardware(9));
        let tries = || {
            web.sends_at("inner", web_cgroup, bytes.clone());
            got(&receiver)
        };
        assert_eq!(tries(), None, "the link is web's");
        judge.owns("veth1", api_cgroup.id);
        assert_eq!(tries(), Some(SIZE), "were it api's");
        judge.owns("veth1", CgroupId::UNKNOWN);
        assert_eq!(tries(), Some(SIZE), "nothing is said of who is unresolved");
        judge.says_of_unresolved(VERDICT_DENY);
        assert_eq!(tries(), None);
        judge.owns("veth1", CgroupId::NONE);
        assert_eq!(tries(), Some(SIZE), "no container's");
    });
}
