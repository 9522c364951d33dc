//! Frames past the IP stack of whoever has no link of his own where they are judged: judged as they are sent.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::Arc,
    thread,
};

use cofferdam::{
    attribution::Placed,
    config::{ByDefault, Policies},
    enforcement::Sync,
    event::{Workload, WorkloadKind},
    policy::Settings,
    sensor::record::Record,
};
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
    apply,
    bridge::{Away, Container, SIZE, frame, ip, without_links},
    judge::{Judge, RULE, WEB},
    link::Tap,
};
use crate::node::{Cgroup, Node};

/// As it stands in the IP header of no packet: of frames that are not IP, or cannot be read.
const RESERVED: u8 = 255;
/// `AF_XDP` (include/linux/socket.h).
const AF_XDP: i32 = 44;

/// Whether this kernel asks programs among its security modules; says so where it does not.
#[expect(clippy::print_stdout, reason = "that nothing was tested is to be seen")]
fn is_lacking(node: &Node) -> bool {
    let hooks = node.loaded.sensor.hooks().list();
    let refused = hooks.iter().find_map(|hook| hook.refused.as_ref().filter(|_| hook.optional));
    if let Some(reason) = refused {
        println!("NOT TESTED: this kernel has no such layer: {reason}");
    }
    refused.is_some()
}

/// [`without_links`], where this kernel has the layer.
fn scene(act: impl FnOnce(&mut Judge<'_>, [(&Container, &Cgroup); 3])) {
    without_links(|judge, cast| {
        if !is_lacking(judge.node) {
            act(judge, cast);
        }
    });
}

/// A packet socket at a container's interface, made as a process of `cgroup`. To make one is allowed to anybody.
fn packets(container: &Container, cgroup: &Cgroup) -> Arc<OwnedFd> {
    cgroup.enter(|| packets_here(container))
}

/// The same, as a process of this one's cgroup.
fn packets_here(container: &Container) -> Arc<OwnedFd> {
    let make = || {
        let (family, flags) = (AddressFamily::Packet, SockFlag::SOCK_CLOEXEC);
        let made = socket(family, SockType::Raw, flags, None).expect("a packet socket");
        let addresses = getifaddrs().expect("addresses").filter(|it| it.interface_name == "eth0");
        let at = addresses.filter_map(|it| it.address?.as_link_addr().copied()).next().expect("a link");
        bind(made.as_raw_fd(), &at).expect("it binds");
        made
    };
    Arc::new(container.does(make))
}

/// Sends a frame of `from`'s to `to`, by whatever socket, as a process of `cgroup`. Says what he was told, and whether it arrived.
fn sends(socket: &Arc<OwnedFd>, cgroup: &Cgroup, ends: (&Container, &Container)) -> (Option<Errno>, bool) {
    sends_where(|send| cgroup.enter(send), socket, ends)
}

/// The same, where a process is that `enters` says.
fn sends_where(
    enters: impl FnOnce(&dyn Fn() -> nix::Result<usize>) -> nix::Result<usize>,
    socket: &Arc<OwnedFd>,
    (from, to): (&Container, &Container),
) -> (Option<Errno>, bool) {
    let bytes = frame((from, to), from.at(false), to.at(false));
    let tap = Tap::at(to, EthernetProtocol::Ipv4, 28 + SIZE);
    let send = || {
        let (socket, bytes) = (Arc::clone(socket), bytes.clone());
        from.does(move || send(socket.as_raw_fd(), &bytes, MsgFlags::empty()))
    };
    (enters(&send).err(), tap.heard())
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
    scene(|judge, [(web, web_cgroup), (db, _), (api, api_cgroup)]| {
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
        assert_eq!(denied.caller.tgid.0, std::process::id());
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
    scene(|judge, [(web, web_cgroup), (db, _), _]| {
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
    scene(|judge, [(web, web_cgroup), (db, _), _]| {
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
    scene(|judge, [(web, web_cgroup), (db, _), _]| {
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
    scene(|judge, [(web, web_cgroup), (db, _), _]| {
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
    scene(|judge, [(web, web_cgroup), (api, api_cgroup), _]| {
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

#[test]
fn units_and_the_host_are_judged_by_policies_about_them_alone_and_containers_wherever_no_link_judges_them() {
    const ABOUT_WEB: &str = "  - {from: web, allow: [{to: any, port: udp/53}]}";
    const ABOUT_THE_UNIT: &str = "  - {from: {unit: dhcp.service}, allow: [{to: any, port: udp/67}]}";
    const AND_SO_MUCH: &str = "  - {from: {unit: dhcp.service}, allow: [{to: any, port: ip/255}]}";
    const ABOUT_THE_HOST: &str = "  - {from: host, allow: [{to: any, port: udp/67}]}";
    let node = Node::start();
    if is_lacking(&node) {
        return;
    }
    let (web, unit) = (node.cgroup(), node.cgroup());
    let inside = web.nested("inside");
    let loaded = node.loaded.take();
    loaded.sensor.need("policy", true);
    let placed = [
        apply::placed(CgroupId::ROOT, Workload::host()),
        apply::placed(unit.id, Workload::named(WorkloadKind::Unit, "dhcp.service")),
        Placed { own: true, ..apply::container(&web, "web") },
        Placed { home: web.id, ..apply::container(&inside, "web") },
    ];
    // Which is about containers only.
    let config = Policies { default_egress: ByDefault::Deny, ..Policies::default() };
    let mut sync = Sync::new(loaded.policy);
    let apply = |sync: &mut Sync, rules: &str| {
        let text = format!("policy: shop\nmode: enforce\nrules:\n{rules}\n");
        sync.apply(apply::policies(&text), Settings::from(&config), &placed, |_| {}).expect("policies");
    };
    let _host = Away::from_here();
    ip("link add bridge0 type bridge");
    ip("link set bridge0 up");
    thread::scope(|scope| {
        let (from, to) = (Container::start(scope, 1), Container::start(scope, 2));
        let ends = (&from, &to);
        let (of_host, of_unit) = (packets_here(&from), packets(&from, &unit));
        let (of_web, of_inside) = (packets(&from, &web), packets(&from, &inside));
        let host = || sends_where(|send| send(), &of_host, ends);
        let unit = || sends(&of_unit, &unit, ends);
        let web = || [sends(&of_web, &web, ends), sends(&of_inside, &inside, ends)];
        apply(&mut sync, ABOUT_WEB);
        assert_eq!((host(), unit(), web()), (SENT, SENT, [DENIED; 2]));
        sync.set_covered([placed[2].cgroup].into()).expect("it is told");
        assert_eq!(web(), [SENT; 2], "at its link");
        sync.set_covered([].into()).expect("it is told");
        assert_eq!(web(), [DENIED; 2], "its link is not covered any more");
        apply(&mut sync, ABOUT_THE_UNIT);
        assert_eq!((host(), unit(), web()), (SENT, DENIED, [DENIED; 2]));
        apply(&mut sync, AND_SO_MUCH);
        assert_eq!(unit(), SENT);
        apply(&mut sync, ABOUT_THE_HOST);
        assert_eq!((host(), unit()), (DENIED, SENT));
    });
}
