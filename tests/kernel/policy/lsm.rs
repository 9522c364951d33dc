//! Frames past the IP stack of whoever has no link of his own where they are judged: judged as they are sent.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::Arc,
};

use cofferdam::sensor::record::Record;
use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{VERDICT_ALLOW, VERDICT_AUDIT, VERDICT_DENY, VERDICT_HOLD},
    policy::{EGRESS, VerdictRecord, layer, why},
};
use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, MsgFlags, MultiHeaders, SockFlag, SockType, SockaddrStorage, bind, send, sendmmsg,
        socket,
    },
};
use smoltcp::wire::EthernetProtocol;
use socket2::{Domain, Socket, Type};

use super::{
    adversary::uring,
    bridge::{Container, SIZE, frame, without_links},
    judge::{Judge, RULE, WEB},
    link::Tap,
};
use crate::node::Cgroup;

/// As it stands in the IP header of no packet: of frames that are not IP, or cannot be read.
const RESERVED: u8 = 255;
/// `AF_XDP` (include/linux/socket.h).
const AF_XDP: i32 = 44;

/// Whether this kernel asks programs among its security modules; says so where it does not.
#[expect(clippy::print_stdout, reason = "that nothing was tested is to be seen")]
fn is_lacking(judge: &Judge<'_>) -> bool {
    let hooks = judge.node.loaded.sensor.hooks().list();
    let refused = hooks.iter().find_map(|hook| hook.refused.as_ref().filter(|_| hook.optional));
    if let Some(reason) = refused {
        println!("NOT TESTED: this kernel has no such layer: {reason}");
    }
    refused.is_some()
}

/// A packet socket at a container's interface, made as a process of `cgroup`. To make one is allowed to anybody.
fn packets(container: &Container, cgroup: &Cgroup) -> Arc<OwnedFd> {
    let make = || {
        let (family, flags) = (AddressFamily::Packet, SockFlag::SOCK_CLOEXEC);
        let made = socket(family, SockType::Raw, flags, None).expect("a packet socket");
        let addresses = getifaddrs().expect("addresses").filter(|it| it.interface_name == "eth0");
        let at = addresses.filter_map(|it| it.address?.as_link_addr().copied()).next().expect("a link");
        bind(made.as_raw_fd(), &at).expect("it binds");
        made
    };
    Arc::new(cgroup.enter(|| container.does(make)))
}

/// Sends a frame of `from`'s to `to`, by whatever socket, as a process of `cgroup`. Says what he was told, and whether it arrived.
fn sends(
    socket: &Arc<OwnedFd>,
    cgroup: &Cgroup,
    (from, to): (&Container, &Container),
) -> (Option<Errno>, bool) {
    let (socket, bytes) = (Arc::clone(socket), frame((from, to), from.at(false), to.at(false)));
    let tap = Tap::at(to, EthernetProtocol::Ipv4, 28 + SIZE);
    let sent = cgroup.enter(|| from.does(move || send(socket.as_raw_fd(), &bytes, MsgFlags::empty())));
    (sent.err(), tap.heard())
}

const SENT: (Option<Errno>, bool) = (None, true);
const DENIED: (Option<Errno>, bool) = (Some(Errno::EPERM), false);

/// What was told of calls that send frames.
fn told(judge: &mut Judge<'_>) -> VerdictRecord {
    judge.node.record(|record| match record {
        Record::Verdict(verdict) if verdict.layer == layer::LSM => Some(**verdict),
        _ => None,
    })
}

/// How many attempts were counted of `source`, with this verdict.
fn attempts(judge: &Judge<'_>, source: &Cgroup, verdict: u8) -> u64 {
    let rows = judge.node.rows(|key| key.source.cgroup == source.id && key.verdict == verdict);
    rows.iter().map(|(_, row)| row.attempts).sum()
}

#[test]
fn a_frame_of_one_who_may_not_send_is_denied_as_it_is_sent_and_told_as_his() {
    without_links(|judge, [(web, web_cgroup), (db, _), (api, api_cgroup)]| {
        if is_lacking(judge) {
            return;
        }
        let (of_web, of_api) = (packets(web, web_cgroup), packets(api, api_cgroup));
        judge.says_of_sending(WEB, VERDICT_ALLOW);
        assert_eq!(sends(&of_web, web_cgroup, (web, db)), SENT, "it may");
        judge.says_of_sending(WEB, VERDICT_DENY);
        assert_eq!(sends(&of_web, web_cgroup, (web, db)), DENIED);
        assert_eq!(sends(&of_api, api_cgroup, (api, db)), SENT, "who may");
        let denied = told(judge);
        assert_eq!(
            (denied.source, denied.target, denied.header.cgroup),
            (web_cgroup.id, CgroupId::NONE, web_cgroup.id)
        );
        assert_eq!((denied.source_address, denied.protocol, denied.port), (Address::NONE, RESERVED, 0));
        let judgement = denied.judgement;
        assert_eq!(
            (judgement.rule, judgement.verdict, judgement.why, judgement.direction),
            (RULE, VERDICT_DENY, why::RULE, EGRESS)
        );
        assert_eq!(attempts(judge, web_cgroup, VERDICT_DENY), 1);
        // A socket is of who made it, and of who uses it.
        assert_eq!(sends(&of_web, api_cgroup, (web, db)), DENIED, "made by one who may not");
        assert_eq!(sends(&of_api, web_cgroup, (api, db)), DENIED, "used by one who may not");
        assert_eq!(attempts(judge, web_cgroup, VERDICT_DENY), 3);
        // Also one of a cgroup inside, of which nothing was said.
        let inside = web_cgroup.nested("inside");
        let deeper = inside.nested("deeper");
        let of_deeper = packets(web, &deeper);
        assert_eq!(sends(&of_deeper, &deeper, (web, db)), DENIED, "inside");
        assert_eq!(sends(&of_deeper, api_cgroup, (web, db)), DENIED, "made inside");
        assert_eq!(attempts(judge, &deeper, VERDICT_DENY), 2);
        assert_eq!(attempts(judge, api_cgroup, VERDICT_DENY), 0);
        judge.node.loaded.policy.deactivate().expect("no policy");
        assert_eq!(sends(&of_web, web_cgroup, (web, db)), SENT, "nothing is judged");
    });
}

#[test]
fn several_frames_at_once_and_those_that_the_kernel_sends_for_a_ring_are_denied_as_well() {
    const TIMES: usize = 4;
    without_links(|judge, [(web, web_cgroup), (db, _), _]| {
        if is_lacking(judge) {
            return;
        }
        let socket = packets(web, web_cgroup);
        judge.says_of_sending(WEB, VERDICT_DENY);
        let bytes = frame((web, db), web.at(false), db.at(false));
        let several = {
            let (socket, bytes) = (Arc::clone(&socket), bytes.clone());
            move || {
                let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(TIMES, None);
                let frames = [[io::IoSlice::new(&bytes)]; TIMES];
                let addresses = [None; TIMES];
                let fd = socket.as_raw_fd();
                sendmmsg(fd, &mut headers, &frames, addresses, [], MsgFlags::empty()).map(Iterator::count)
            }
        };
        let tap = Tap::at(db, EthernetProtocol::Ipv4, 28 + SIZE);
        assert_eq!(web_cgroup.enter(|| web.does(several)), Err(Errno::EPERM));
        assert!(!tap.heard(), "several at once");
        for polled in [false, true] {
            let (socket, bytes) = (Arc::clone(&socket), bytes.clone());
            let before = attempts(judge, web_cgroup, VERDICT_DENY);
            let tap = Tap::at(db, EthernetProtocol::Ipv4, 28 + SIZE);
            web_cgroup.enter(|| web.does(move || uring::sends(polled, socket.as_raw_fd(), &bytes)));
            assert!(!tap.heard(), "by a ring, polled: {polled}");
            assert!(attempts(judge, web_cgroup, VERDICT_DENY) > before, "by a ring, polled: {polled}");
        }
    });
}

#[test]
fn what_would_be_denied_passes_and_is_told() {
    without_links(|judge, [(web, web_cgroup), (db, _), _]| {
        if is_lacking(judge) {
            return;
        }
        let socket = packets(web, web_cgroup);
        judge.says_of_sending(WEB, VERDICT_AUDIT);
        assert_eq!(sends(&socket, web_cgroup, (web, db)), SENT);
        let told = told(judge);
        assert_eq!((told.source, told.judgement.verdict), (web_cgroup.id, VERDICT_AUDIT));
        assert_eq!(attempts(judge, web_cgroup, VERDICT_AUDIT), 1);
    });
}

#[test]
fn who_has_a_link_of_his_own_is_left_to_it() {
    without_links(|judge, [(web, web_cgroup), (db, _), _]| {
        if is_lacking(judge) {
            return;
        }
        let socket = packets(web, web_cgroup);
        judge.says_of_sending(WEB, VERDICT_DENY);
        judge.place(web_cgroup, WEB, true);
        // The link is not really covered here: else it would be denied there.
        assert_eq!(sends(&socket, web_cgroup, (web, db)), SENT);
        let inside = web_cgroup.nested("inside");
        assert_eq!(sends(&socket, &inside, (web, db)), SENT, "inside");
        assert_eq!(attempts(judge, web_cgroup, VERDICT_DENY), 0);
    });
}

#[test]
fn who_is_not_known_is_judged_as_the_policy_says_of_him() {
    without_links(|judge, [(web, web_cgroup), (db, _), _]| {
        if is_lacking(judge) {
            return;
        }
        let unknown = judge.node.cgroup();
        let (of_web, socket) = (packets(web, web_cgroup), packets(web, &unknown));
        judge.says_of_unresolved(VERDICT_ALLOW);
        assert_eq!(sends(&socket, &unknown, (web, db)), SENT);
        // Nobody sends it again by himself.
        judge.says_of_unresolved(VERDICT_HOLD);
        let held = judge.node.failures("held");
        assert_eq!(sends(&socket, &unknown, (web, db)), DENIED);
        assert_eq!(judge.node.failures("held"), held + 1);
        assert_eq!(sends(&of_web, web_cgroup, (web, db)), SENT, "of others nothing is said");
        assert_eq!(attempts(judge, &unknown, VERDICT_DENY), 0);
        judge.says_of_unresolved(VERDICT_DENY);
        assert_eq!(sends(&socket, &unknown, (web, db)), DENIED);
        assert_eq!(attempts(judge, &unknown, VERDICT_DENY), 1);
    });
}

#[test]
fn a_socket_by_which_a_driver_sends_without_a_call_is_denied_when_it_is_made() {
    without_links(|judge, [(web, web_cgroup), (api, api_cgroup), _]| {
        if is_lacking(judge) {
            return;
        }
        judge.says_of_sending(WEB, VERDICT_DENY);
        let make = |container: &Container, cgroup: &Cgroup| {
            let made = || Socket::new(Domain::from(AF_XDP), Type::RAW, None);
            cgroup.enter(|| container.does(made)).map(drop).map_err(|error| error.kind())
        };
        assert_eq!(make(web, web_cgroup), Err(io::ErrorKind::PermissionDenied));
        assert_eq!(make(api, api_cgroup), Ok(()));
        assert_eq!(told(judge).source, web_cgroup.id);
    });
}
