//! A second thread changes the address while the first one connects: what is judged, what is told and where bytes arrive
//! must be the same, whichever address it was.

use std::{
    mem::{offset_of, size_of},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use cofferdam::sensor::record::Record;
use cofferdam_tests::rounds;
use nix::libc;
use socket2::{Domain, Socket, Type};

use crate::policy::{
    bridge::scene,
    judge::{mapped, v4},
};

/// What `connect` is handed (include/uapi/linux/in.h), of which another thread writes the address.
#[repr(C)]
struct Target {
    family: u16,
    port: u16,
    address: AtomicU32,
    zero: [u8; 8],
}

const _: () = assert!(
    size_of::<Target>() == size_of::<libc::sockaddr_in>()
        && offset_of!(Target, address) == offset_of!(libc::sockaddr_in, sin_addr)
);

/// What came of all connects.
#[derive(Default)]
struct Outcome {
    denied: u64,
    sent: u64,
}

fn number(address: SocketAddr) -> u32 {
    let SocketAddr::V4(address) = address else { unreachable!("it is IPv4") };
    u32::from_ne_bytes(address.ip().octets())
}

/// Connects as often to an address that is changed all the time between these two, and sends a byte to where that leads.
fn race(connects: u32, one: SocketAddr, other: SocketAddr) -> Outcome {
    let target = Arc::new(Target {
        family: libc::AF_INET as u16,
        port: one.port().to_be(),
        address: AtomicU32::new(number(one)),
        zero: [0; 8],
    });
    let stops = Arc::new(AtomicBool::new(false));
    let flips = {
        let (target, stops) = (Arc::clone(&target), Arc::clone(&stops));
        thread::spawn(move || {
            while !stops.load(Ordering::Relaxed) {
                target.address.fetch_xor(number(one) ^ number(other), Ordering::Relaxed);
            }
        })
    };
    let mut outcome = Outcome::default();
    for _ in 0..connects {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
        let length = size_of::<Target>() as libc::socklen_t;
        // SAFETY: it lives until the call is over, and is as long.
        let result = unsafe { libc::connect(socket.as_raw_fd(), Arc::as_ptr(&target).cast(), length) };
        if result != 0 {
            assert_eq!(nix::Error::last(), nix::Error::EPERM);
            outcome.denied += 1;
        } else if socket.send(&[1]).is_ok() {
            outcome.sent += 1;
        }
    }
    stops.store(true, Ordering::Relaxed);
    flips.join().expect("it ends");
    outcome
}

#[test]
fn what_is_judged_is_where_bytes_arrive_although_the_address_changes_meanwhile() {
    // The machines of other kernels are slow.
    let most = if std::env::var_os("COFFERDAM_TEST_VM").is_some() { 100_000 } else { 1_000_000 };
    let connects = rounds(1_000_000).min(most);
    scene(|judge, [(web, web_cgroup), (db, db_cgroup), (api, api_cgroup)]| {
        let (allowed, denied) = (v4(3, 4_000), v4(2, 4_000));
        let count = |receiver: UdpSocket| {
            receiver.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
            // So that none is lost for want of room.
            nix::sys::socket::setsockopt(&receiver, nix::sys::socket::sockopt::RcvBufForce, &(64 << 20))
                .expect("room");
            thread::spawn(move || {
                let mut got = 0;
                let mut begun = false;
                loop {
                    match receiver.recv(&mut [0; 9]) {
                        Ok(_) => (got, begun) = (got + 1, true),
                        Err(_) if begun => return got,
                        Err(_) => {}
                    }
                }
            })
        };
        let forbidden = db.receiver(db_cgroup, denied);
        let arrived = count(api.receiver(api_cgroup, allowed));
        let outcome = web_cgroup.enter(|| web.does(move || race(connects, allowed, denied)));
        let arrived: u64 = arrived.join().expect("it ends");
        println!(
            "of {connects} connects {} were denied, {} sent, {arrived} arrived",
            outcome.denied, outcome.sent
        );
        assert!(outcome.denied > 1_000 && outcome.sent > 1_000, "there was no race");
        assert_eq!(arrived, outcome.sent, "where they were allowed to");
        forbidden.set_nonblocking(true).expect("it does not wait");
        assert!(forbidden.recv(&mut [0; 9]).is_err(), "something arrived where nothing may");
        assert_eq!(judge.denied(web_cgroup).iter().map(|row| row.attempts).sum::<u64>(), outcome.denied);
        for record in judge.node.drain() {
            if let Record::Verdict(verdict) = record {
                assert_eq!((verdict.source, verdict.target_address), (web_cgroup.id, mapped(denied)));
            }
        }
    });
}
