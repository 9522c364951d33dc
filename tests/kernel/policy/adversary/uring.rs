//! `io_uring`: the kernel acts for the process, in its own time and with its own threads.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsRawFd as _, RawFd},
    time::Duration,
};

use io_uring::{
    IoUring, opcode, squeue,
    types::{Fd, SubmitArgs, Timespec},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    Prepared, Scene, Version, Way,
    server::PAYLOAD,
    sockets::{datagrams, to},
};

pub(super) const WAYS: &[Way] = &[
    Way::new("io_uring: connect, and send linked to it", |scene, version| {
        tries(scene, version, false, stream)
    }),
    Way::new("io_uring with a thread of the kernel's: connect and send", |scene, version| {
        tries(scene, version, true, stream)
    }),
    Way::new("io_uring: a datagram without a copy", |scene, version| {
        if has(opcode::SendZc::CODE) { tries(scene, version, false, datagram) } else { Prepared::Lacking }
    }),
    Way::new("io_uring with a thread of the kernel's: a datagram without a copy", |scene, version| {
        if has(opcode::SendZc::CODE) { tries(scene, version, true, datagram) } else { Prepared::Lacking }
    }),
];

/// Longest that the kernel may take.
const LIMIT: Duration = Duration::from_secs(1);

fn has(code: u8) -> bool {
    let ring = IoUring::new(2).expect("a ring");
    let mut probe = io_uring::register::Probe::new();
    ring.submitter().register_probe(&mut probe).expect("an answer");
    probe.is_supported(code)
}

fn tries<'a>(
    scene: &'a Scene<'a>,
    version: Version,
    polled: bool,
    act: fn(&mut IoUring, SocketAddr) -> io::Result<()>,
) -> Prepared<'a> {
    let to = to(scene, version);
    Prepared::ready(move || {
        scene.as_web(move || {
            let mut ring = ring(polled);
            // Whether it succeeds or not.
            let _ = act(&mut ring, to);
        });
    })
}

fn stream(ring: &mut IoUring, to: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    let (fd, address) = (Fd(socket.as_raw_fd()), SockAddr::from(to));
    let connect = opcode::Connect::new(fd, address.as_ptr().cast(), address.len()).build();
    let send = opcode::Send::new(fd, PAYLOAD.as_ptr(), PAYLOAD.len() as u32).build();
    does(ring, &[connect.flags(squeue::Flags::IO_LINK), send])
}

fn datagram(ring: &mut IoUring, to: SocketAddr) -> io::Result<()> {
    let (socket, address) = (datagrams(to, Protocol::UDP)?, SockAddr::from(to));
    let send = opcode::SendZc::new(Fd(socket.as_raw_fd()), PAYLOAD.as_ptr(), PAYLOAD.len() as u32);
    does(ring, &[send.dest_addr(address.as_ptr().cast()).dest_addr_len(address.len()).build()])
}

/// Sends bytes by a socket that knows to whom, if the kernel lets it.
pub(in super::super) fn sends(polled: bool, socket: RawFd, bytes: &[u8]) {
    let mut ring = ring(polled);
    let send = opcode::Send::new(Fd(socket), bytes.as_ptr(), bytes.len() as u32).build();
    // Whether it succeeds or not.
    let _ = does(&mut ring, &[send]);
}

/// One with a thread of the kernel's, or without.
fn ring(polled: bool) -> IoUring {
    let mut builder = IoUring::builder();
    if polled {
        builder.setup_sqpoll(1);
    }
    builder.build(4).expect("a ring")
}

/// Has it done, all of it.
fn does(ring: &mut IoUring, entries: &[squeue::Entry]) -> io::Result<()> {
    // SAFETY: all that entries point to lives until they are completed, or is static.
    unsafe { ring.submission().push_multiple(entries) }.map_err(io::Error::other)?;
    let limit = Timespec::from(LIMIT);
    ring.submitter().submit_with_args(entries.len(), &SubmitArgs::new().timespec(&limit))?;
    Ok(())
}
