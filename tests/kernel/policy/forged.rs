//! Packets that say they come from somebody else.

use std::net::UdpSocket;

use cofferdam_common::{network::VERDICT_DENY, policy::Identity};
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    bridge::datagram,
    judge::{ADDRESSES, Judge, got, v4},
};
use crate::{
    namespace::in_namespace,
    node::{Cgroup, Node},
};

/// A socket whose packets bring their own header.
pub(super) fn raw_socket() -> Socket {
    /// include/uapi/linux/in.h
    const IPPROTO_RAW: i32 = 255;
    Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(IPPROTO_RAW))).expect("a raw socket")
}

#[test]
fn whoever_forges_the_address_of_one_who_may_is_judged_as_himself() {
    const FORGER: Identity = Identity(6);
    let mut node = Node::start();
    let (web, db, forger) = (node.cgroup(), node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    judge.place(&forger, FORGER, false);
    judge.address(&[(v4(1, 0), &web), (v4(2, 0), &db)]);
    judge.says(Some(FORGER), VERDICT_DENY);
    in_namespace(&ADDRESSES, || {
        let sender = web.enter(|| UdpSocket::bind(v4(1, 0)).expect("it binds"));
        let receiver = db.enter(|| UdpSocket::bind(v4(2, 0)).expect("it binds"));
        let (from, to) =
            (sender.local_addr().expect("an address"), receiver.local_addr().expect("an address"));
        let packet = datagram(from, to, &[0; 4]);
        let forge = |cgroup: &Cgroup| {
            let raw = cgroup.enter(raw_socket);
            // Whether its sender is told or not.
            let _ = raw.send_to(&packet, &to.into());
            got(&receiver)
        };
        for flow_is_known in [false, true] {
            if flow_is_known {
                sender.send_to(&[0; 10], to).expect("it sends");
                assert_eq!(got(&receiver), Some(10));
            }
            assert_eq!(forge(&forger), None, "{flow_is_known}");
        }
        // Who has that address may write his packets as he likes.
        assert_eq!(forge(&web), Some(4));
    });
    assert!(judge.denied(&forger).iter().map(|row| row.attempts).sum::<u64>() >= 2);
}
