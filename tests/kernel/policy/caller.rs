//! Whose call it was that was denied.

use std::{
    ffi::CStr,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
};

use cofferdam_common::{
    network::VERDICT_DENY,
    policy::{VerdictRecord, layer},
    process::Caller,
};
use procfs::process::Process;

use super::judge::{ADDRESSES, Judge, WEB, v4};
use crate::{
    namespace::in_namespace,
    node::{Cgroup, Node},
};

#[test]
fn whose_call_it_was_is_told_and_nobodys_where_it_was_none_of_his() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    let (from, to) = (v4(1, 0), v4(2, 0));
    judge.address(&[(from, &web), (to, &db)]);
    judge.says(Some(WEB), VERDICT_DENY);
    let sends = |by: &Cgroup| {
        in_namespace(&ADDRESSES, || {
            let to = db.enter(|| UdpSocket::bind(to).expect("it binds")).local_addr().expect("an address");
            let socket = web.enter(|| UdpSocket::bind(from).expect("it binds"));
            by.enter(|| socket.send_to(&[0; 10], to)).expect_err("it is denied");
            to.port()
        })
    };
    let connects = in_namespace(&ADDRESSES, || {
        let listener = db.enter(|| TcpListener::bind(to).expect("it listens"));
        let to = listener.local_addr().expect("an address");
        web.enter(|| TcpStream::connect(to)).expect_err("it is denied");
        to.port()
    });
    let this = Process::myself().and_then(|process| process.stat()).expect("/proc/self/stat");
    let tick = 1_000_000_000 / procfs::ticks_per_second();
    for (port, layer) in [(connects, layer::CONNECT), (sends(&web), layer::EGRESS)] {
        let VerdictRecord { caller, layer: at, .. } = judge.verdict(port);
        assert_eq!((caller.tgid.0, caller.uid, at), (std::process::id(), 0, layer));
        assert_eq!(caller.start_time / tick, this.starttime, "{layer}");
        assert_eq!(i32::try_from(caller.parent.0), Ok(this.ppid), "{layer}");
        let command = CStr::from_bytes_until_nul(&caller.command).expect("it ends");
        assert_eq!(command.to_str(), Ok(this.comm.as_str()), "{layer}");
    }
    // By a socket of web's, somebody else: he has taken it over, or the kernel sends while he runs.
    let verdict = judge.verdict(sends(&db));
    assert_eq!((verdict.source, verdict.caller), (web.id, Caller::default()));
    // What its receiver's socket denies, whoever runs there may have nothing to do with.
    judge.address(&[]);
    let arrives = in_namespace(&ADDRESSES, || {
        let receiver = db.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
        let to = receiver.local_addr().expect("an address");
        web.enter(|| {
            UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.send_to(&[0; 10], to))
        })
        .expect("it is sent");
        to.port()
    });
    let verdict = judge.verdict(arrives);
    assert_eq!((verdict.layer, verdict.caller), (layer::INGRESS, Caller::default()));
}
