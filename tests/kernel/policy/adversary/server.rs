//! What is tried to be reached: counts all that it gets, by whatever protocol.

use std::{
    fs,
    io::{self, Read as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};

use super::Version;
use crate::{node::Cgroup, policy::bridge::Container};

/// Where it serves.
pub(super) const PORT: u16 = 4_000;
/// MPTCP listens beside TCP.
pub(super) const MPTCP_PORT: u16 = 4_001;
/// A number that RFC 3692 keeps for experiments.
pub(super) const EXPERIMENT: i32 = 253;
pub(super) const GROUP: Ipv4Addr = Ipv4Addr::new(239, 198, 18, 7);
pub(super) const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0xc0ff, 7);
/// Whether data may go with the first packet of TCP.
pub(super) const FAST_OPEN: &str = "/proc/sys/net/ipv4/tcp_fastopen";
/// What is sent, so that it is told from what the kernel itself says.
pub(super) const PAYLOAD: [u8; 64] = [7; 64];

/// Numbers of protocols (include/uapi/linux/in.h).
pub(super) const UDP_LITE: i32 = nix::libc::IPPROTO_UDPLITE;
pub(super) const SCTP: i32 = nix::libc::IPPROTO_SCTP;
pub(super) const MPTCP: i32 = nix::libc::IPPROTO_MPTCP;

pub(super) struct Server {
    bytes: Arc<AtomicU64>,
    /// Its sockets for UDP, of IPv4 and of IPv6.
    datagrams: Vec<Socket>,
    stops: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves in a container, by all that this kernel has.
    pub(super) fn start(container: &Container, cgroup: &Cgroup) -> Self {
        let (bytes, stops) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let sockets = cgroup.enter(|| container.does(Sockets::open)).expect("it serves");
        let datagrams = sockets.datagrams.iter().map(|socket| socket.try_clone().expect("a copy")).collect();
        let (counted, stopped) = (Arc::clone(&bytes), Arc::clone(&stops));
        let thread = thread::spawn(move || sockets.serve(&counted, &stopped));
        Self { bytes, datagrams, stops, thread: Some(thread) }
    }

    /// How much it has got so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Sends somebody something of which he may answer.
    pub(super) fn asks(&self, whom: SocketAddr) {
        let socket = &self.datagrams[usize::from(whom.is_ipv6())];
        socket.send_to(b"?", &whom.into()).expect("it may");
    }

    /// Whether it gets more than it had got `before`.
    pub(super) fn gets_more_than(&self, before: u64, within: Duration) -> bool {
        let until = Instant::now() + within;
        while self.bytes() == before && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        self.bytes() > before
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What takes connections, and what takes bytes.
#[derive(Default)]
struct Sockets {
    listeners: Vec<Socket>,
    datagrams: Vec<Socket>,
    receivers: Vec<Socket>,
}

impl Sockets {
    fn open() -> io::Result<Self> {
        // Whoever connects may send with his first packet, also without a cookie (net.ipv4.tcp_fastopen).
        fs::write(FAST_OPEN, "1543")?;
        let mut sockets = Self::default();
        for version in [Version::V4, Version::V6] {
            let address = any(version);
            sockets.listener(Protocol::TCP, SocketAddr::new(address, PORT))?;
            for (protocol, port) in [(MPTCP, MPTCP_PORT), (SCTP, PORT)] {
                there(sockets.listener(Protocol::from(protocol), SocketAddr::new(address, port)))?;
            }
            let udp = receiver(Type::DGRAM, Protocol::UDP, SocketAddr::new(address, PORT))?;
            match version {
                Version::V4 => udp.join_multicast_v4(&GROUP, &Ipv4Addr::new(198, 18, 0, 2))?,
                Version::V6 => udp.join_multicast_v6(&GROUP_V6, if_nametoindex("eth0")?)?,
            }
            let lite = receiver(Type::DGRAM, Protocol::from(UDP_LITE), SocketAddr::new(address, PORT));
            let icmp = if version == Version::V4 { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
            let raw = |protocol| receiver(Type::RAW, protocol, SocketAddr::new(address, 0));
            sockets.datagrams.push(udp);
            sockets.receivers.extend([raw(Protocol::from(EXPERIMENT))?, raw(icmp)?]);
            sockets.receivers.extend(there(lite)?);
        }
        Ok(sockets)
    }

    fn listener(&mut self, protocol: Protocol, address: SocketAddr) -> io::Result<()> {
        let listener = receiver(Type::STREAM, protocol, address)?;
        listener.listen(1_000)?;
        self.listeners.push(listener);
        Ok(())
    }

    fn serve(mut self, bytes: &AtomicU64, stops: &AtomicBool) {
        while !stops.load(Ordering::Relaxed) {
            for listener in &self.listeners {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).expect("it does not wait");
                    self.receivers.push(stream);
                }
            }
            for socket in &mut self.datagrams {
                goes_on(socket, bytes);
            }
            self.receivers.retain_mut(|receiver| goes_on(receiver, bytes));
            thread::sleep(Duration::from_micros(500));
        }
    }
}

/// Whether more can come.
fn goes_on(receiver: &mut Socket, bytes: &AtomicU64) -> bool {
    let mut buffer = [0; 8_192];
    loop {
        match receiver.read(&mut buffer) {
            Ok(0) => return false,
            Ok(length) => {
                if buffer[..length].windows(8).any(|window| window == &PAYLOAD[..8]) {
                    bytes.fetch_add(length as u64, Ordering::Relaxed);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            // Of a datagram socket it is about what it has sent.
            Err(_) => return receiver.r#type().is_ok_and(|kind| kind != Type::STREAM),
        }
    }
}

fn receiver(kind: Type, protocol: Protocol, address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() && kind != Type::RAW {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

pub(super) fn any(version: Version) -> std::net::IpAddr {
    match version {
        Version::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Version::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Nothing where the kernel has no such protocol.
pub(super) fn there<T>(made: io::Result<T>) -> io::Result<Option<T>> {
    match made {
        Ok(made) => Ok(Some(made)),
        Err(error)
            if [nix::libc::EPROTONOSUPPORT, nix::libc::EPROTOTYPE, nix::libc::ESOCKTNOSUPPORT]
                .contains(&error.raw_os_error().unwrap_or_default()) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
