//! Ordinary sockets.

use std::{
    fs,
    io::{self, IoSlice, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd as _, AsRawFd as _},
    time::Duration,
};

use nix::{
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg},
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{
    Prepared, Scene, Version, Way, enough,
    server::{FAST_OPEN, GROUP, GROUP_V6, MPTCP, MPTCP_PORT, PAYLOAD, PORT, SCTP, UDP_LITE, there},
};

pub(super) const WAYS: &[Way] = &[
    Way::new("TCP", |scene, version| connects(scene, Protocol::TCP, to(scene, version))),
    Way::new("TCP to a mapped address", |scene, version| {
        connects(scene, Protocol::TCP, mapped(scene, version))
    })
    .only(&[Version::V4]),
    Way::new("TCP that sends with its first packet", fast_open),
    Way::new("MPTCP", |scene, version| {
        connects(scene, Protocol::from(MPTCP), SocketAddr::new(to(scene, version).ip(), MPTCP_PORT))
    }),
    Way::new("SCTP", |scene, version| connects(scene, Protocol::from(SCTP), to(scene, version))),
    Way::new("connections that were open before", open_before),
    Way::new("UDP", |scene, version| sends(scene, Protocol::UDP, to(scene, version))),
    Way::new("UDP of a socket that was open before", used_before),
    Way::new("UDP of a connected socket", connected),
    Way::new("UDP to a mapped address", |scene, version| sends(scene, Protocol::UDP, mapped(scene, version)))
        .only(&[Version::V4]),
    Way::new("UDP, several at once", several),
    Way::new("UDP larger than a frame", large),
    Way::new("UDP-Lite", |scene, version| sends(scene, Protocol::from(UDP_LITE), to(scene, version))),
    Way::new("multicast", multicast),
    Way::new("broadcast", broadcast).only(&[Version::V4]),
];

pub(super) fn to(scene: &Scene<'_>, version: Version) -> SocketAddr {
    scene.db.at(version == Version::V6)
}

/// The same for a socket of IPv6.
fn mapped(scene: &Scene<'_>, version: Version) -> SocketAddr {
    let SocketAddr::V4(to) = to(scene, version) else { unreachable!("only IPv4 is mapped") };
    SocketAddr::from((to.ip().to_ipv6_mapped(), to.port()))
}

/// Connects anew each time, and sends.
fn connects<'a>(scene: &'a Scene<'a>, protocol: Protocol, to: SocketAddr) -> Prepared<'a> {
    let made = scene.as_web(move || Socket::new(Domain::for_address(to), Type::STREAM, Some(protocol)));
    if there(made).expect("a socket").is_none() {
        return Prepared::Lacking;
    }
    Prepared::ready(move || {
        let patience = scene.patience.get();
        scene.as_web(move || drop(connect(protocol, None, to, patience).and_then(greet)));
    })
}

/// What an attacker does with a connection.
pub(super) fn greet(mut stream: Socket) -> io::Result<Socket> {
    stream.write_all(&PAYLOAD)?;
    Ok(stream)
}

/// A connection, unless it is not there in time.
pub(super) fn connect(
    protocol: Protocol,
    from: Option<SocketAddr>,
    to: SocketAddr,
    patience: Duration,
) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(protocol))?;
    if let Some(from) = from {
        socket.set_reuse_address(true)?;
        socket.bind(&from.into())?;
    }
    socket.set_nonblocking(true)?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    if poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)], timeout)? == 0 {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(socket)
}

/// Sends a datagram of a new socket each time.
fn sends<'a>(scene: &'a Scene<'a>, protocol: Protocol, to: SocketAddr) -> Prepared<'a> {
    if there(scene.as_web(move || datagrams(to, protocol))).expect("a socket").is_none() {
        return Prepared::Lacking;
    }
    Prepared::ready(move || {
        // Whether it is told or not.
        let _ = scene.as_web(move || datagrams(to, protocol)?.send_to(&PAYLOAD, &to.into()));
    })
}

pub(super) fn datagrams(to: SocketAddr, protocol: Protocol) -> io::Result<Socket> {
    Socket::new(Domain::for_address(to), Type::DGRAM, Some(protocol))
}

fn fast_open<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let to = to(scene, version);
    scene.as_web(|| fs::write(FAST_OPEN, "5").expect("a setting"));
    Prepared::ready(move || {
        scene.as_web(move || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None).expect("a socket");
            socket.set_nonblocking(true).expect("it does not wait");
            let _ = socket.send_to_with_flags(&PAYLOAD, &to.into(), nix::libc::MSG_FASTOPEN);
        });
    })
}

fn open_before<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let (to, patience) = (to(scene, version), scene.patience.get());
    let open = move || {
        let stream = connect(Protocol::TCP, None, to, patience).expect("it connects");
        // Nothing of it is sent any more once all is allowed again.
        stream.set_linger(Some(Duration::ZERO)).expect("a setting");
        stream
    };
    // One for the time when all is allowed.
    let mut streams: Vec<_> = (0..enough()).map(|_| scene.as_web(open)).collect();
    let mut used = Vec::new();
    Prepared::ready(move || used.extend(streams.pop().and_then(|stream| greet(stream).ok())))
}

fn used_before<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let to = to(scene, version);
    let socket = scene.as_web(move || datagrams(to, Protocol::UDP)).expect("a socket");
    Prepared::ready(move || {
        let _ = socket.send_to(&PAYLOAD, &to.into());
    })
}

fn connected<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let to = to(scene, version);
    Prepared::ready(move || {
        let send = move || {
            let socket = datagrams(to, Protocol::UDP)?;
            socket.connect(&to.into())?;
            socket.send(&PAYLOAD)
        };
        let _ = scene.as_web(send);
    })
}

fn several<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let to = to(scene, version);
    Prepared::ready(move || {
        let send = move || -> io::Result<()> {
            let socket = datagrams(to, Protocol::UDP)?;
            let parts = [[IoSlice::new(&PAYLOAD)], [IoSlice::new(&PAYLOAD)]];
            let address = Some(SockaddrStorage::from(to));
            let mut headers = MultiHeaders::preallocate(parts.len(), None);
            sendmmsg(socket.as_raw_fd(), &mut headers, &parts, [address, address], [], MsgFlags::empty())?;
            Ok(())
        };
        let _ = scene.as_web(send);
    })
}

fn large<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let to = to(scene, version);
    Prepared::ready(move || {
        let large = PAYLOAD.repeat(70);
        let _ = scene.as_web(move || datagrams(to, Protocol::UDP)?.send_to(&large, &to.into()));
    })
}

fn multicast<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let group: IpAddr = if version == Version::V4 { GROUP.into() } else { GROUP_V6.into() };
    let group = SocketAddr::new(group, PORT);
    Prepared::ready(move || {
        let send = move || {
            let socket = datagrams(group, Protocol::UDP)?;
            if group.is_ipv4() {
                socket.set_multicast_if_v4(&Ipv4Addr::new(198, 18, 0, 1))?;
            } else {
                socket.set_multicast_if_v6(if_nametoindex("eth0")?)?;
            }
            socket.send_to(&PAYLOAD, &group.into())
        };
        let _ = scene.as_web(send);
    })
}

fn broadcast<'a>(scene: &'a Scene<'a>, _: Version) -> Prepared<'a> {
    let all = SocketAddr::from((Ipv4Addr::new(198, 18, 0, 255), PORT));
    Prepared::ready(move || {
        let send = move || {
            let socket = datagrams(all, Protocol::UDP)?;
            socket.set_broadcast(true)?;
            socket.send_to(&PAYLOAD, &SockAddr::from(all))
        };
        let _ = scene.as_web(send);
    })
}
