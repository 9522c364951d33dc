//! Frames that no socket of the IP stack sends, on the way from one container to another: judged at the host's end of the
//! sender's virtual Ethernet link.

use std::{
    fs,
    net::SocketAddr,
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use cofferdam::sensor::{self, record::Record};
use cofferdam_common::{
    ids::CgroupId,
    network::{VERDICT_ALLOW, VERDICT_DENY},
    policy::{layer, why},
};
use smoltcp::{
    phy::{Device as _, Medium, RawSocket, RxToken as _},
    time::Instant as At,
    wire::{EthernetFrame, EthernetProtocol},
};

use super::{
    bridge::{Container, SIZE, frame, hardware, ip, scene},
    judge::{RULE, WEB, WHILE, got, mapped, v4},
};
use crate::node::{PATIENCE, pin_directory};

/// A type that is free for experiments (IEEE 802: local experimental EtherType 1).
const EXPERIMENT: u16 = 0x88b5;
/// Longer than who began is remembered without a frame (`ebpf/src/link.rs`).
const FORGOTTEN_AFTER: Duration = Duration::from_secs(31);

/// A listener for frames, until one comes or none has come for a while.
pub(super) struct Tap(Receiver<bool>);

impl Tap {
    /// Listens in a container for a frame of a type that is as long, past the IP stack.
    pub(super) fn at(container: &Container, wanted: EthernetProtocol, length: usize) -> Self {
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
        container.tasks.send(Box::new(task)).expect("it lives");
        listens.recv().expect("it listens");
        Self(result)
    }

    pub(super) fn heard(self) -> bool {
        self.0.recv().expect("it ends")
    }
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
fn what_a_daemon_has_left_judges_on_until_it_is_let_go() {
    scene(|judge, [(web, web_cgroup), (db, db_cgroup), _]| {
        let at = db.at(false);
        let receiver = db.receiver(db_cgroup, at);
        let arrives = || {
            web.sends(web_cgroup, frame((web, db), web.at(false), at));
            got(&receiver).is_some()
        };
        judge.stays(&[(web, web_cgroup), (db, db_cgroup)]);
        judge.node.loaded.end();
        assert!(!arrives(), "what it left judges");
        let hooks = sensor::clear_left(&pin_directory()).expect("it is let go");
        assert!(hooks > 0);
        // The kernel lets them go a moment later.
        let until = Instant::now() + PATIENCE;
        while !arrives() {
            assert!(Instant::now() < until, "something judges still");
        }
        assert_eq!(sensor::clear_left(&pin_directory()).expect("nothing is left"), 0);
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
        // Ports that no other test uses.
        let (from_db, from_web) = (v4(2, 5_001), v4(1, 6_001));
        let answer = || {
            let tap = Tap::at(db, EthernetProtocol::Ipv4, 28 + SIZE);
            web.sends(web_cgroup, frame((web, db), from_web, from_db));
            tap.heard()
        };
        assert!(!answer(), "nobody has asked");
        let ask = || db.sends(db_cgroup, frame((db, web), from_db, from_web));
        ask();
        assert!(answer());
        thread::sleep(FORGOTTEN_AFTER);
        assert!(!answer(), "that was long ago");
        ask();
        assert!(answer(), "he asks once more");
    });
}

#[test]
fn an_answer_that_is_denied_at_a_link_is_told_as_an_attempt_of_who_began() {
    scene(|judge, [(web, web_cgroup), (db, db_cgroup), _]| {
        let (from_web, from_db) = (v4(1, 6_000), v4(2, 5_000));
        judge.says(Some(WEB), VERDICT_ALLOW);
        let tap = Tap::at(db, EthernetProtocol::Ipv4, 28 + SIZE);
        web.sends(web_cgroup, frame((web, db), from_web, from_db));
        assert!(tap.heard());
        judge.says(Some(WEB), VERDICT_DENY);
        let tap = Tap::at(web, EthernetProtocol::Ipv4, 28 + SIZE);
        db.sends(db_cgroup, frame((db, web), from_db, from_web));
        assert!(!tap.heard());
        let told = judge.verdict(from_db.port());
        assert_eq!((told.source_address, told.target_address), (mapped(from_web), mapped(from_db)));
        assert_eq!((told.source, told.target, told.source_port), (CgroupId::NONE, db_cgroup.id, 6_000));
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
            let tap = Tap::at(db, experiment, SIZE);
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
