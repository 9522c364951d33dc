//! What reaches a workload of the daemon, within its own namespace: at its interface, and at its sockets.

use std::{
    collections::HashSet,
    io::{self, Read as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, socket};

use super::wire::{Arrival, At, Token, token};

/// How often it is looked.
const PAUSE: Duration = Duration::from_millis(5);
/// The largest frame that is looked at; what is sent is far smaller.
const FRAME: usize = 2_048;
/// Most that is taken from one socket in one look: others are there too.
const AT_ONCE: usize = 256;
/// Most connections that are held.
const CONNECTIONS: usize = 64;

/// Listens at some ports, and to all that comes to the interfaces of this namespace.
pub(super) struct Ears {
    interface: OwnedFd,
    datagrams: Vec<UdpSocket>,
    listeners: Vec<TcpListener>,
    connections: Vec<TcpStream>,
}

impl Ears {
    /// Over IPv4 as well where `ipv6`, else over IPv4 alone.
    ///
    /// # Errors
    /// What the kernel refuses.
    pub(super) fn open(ports: &[u16], ipv6: bool) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let interface = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)?;
        let any: IpAddr = if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        let mut ears =
            Self { interface, datagrams: Vec::new(), listeners: Vec::new(), connections: Vec::new() };
        for port in ports {
            let datagrams = UdpSocket::bind(SocketAddr::new(any, *port))?;
            datagrams.set_nonblocking(true)?;
            ears.datagrams.push(datagrams);
            let listener = TcpListener::bind(SocketAddr::new(any, *port))?;
            listener.set_nonblocking(true)?;
            ears.listeners.push(listener);
        }
        Ok(ears)
    }

    /// What has arrived, once all these have at a socket, but not before `least` and not after `longest`.
    pub(super) fn collect(&mut self, expected: &[Token], longest: Duration, least: Duration) -> Vec<Arrival> {
        let (begun, mut arrived) = (Instant::now(), HashSet::new());
        loop {
            self.look(&mut arrived);
            let complete =
                expected.iter().all(|token| arrived.contains(&Arrival { token: *token, at: At::Socket }));
            if begun.elapsed() >= longest || complete && begun.elapsed() >= least {
                // What is open now is of this try, and done with.
                self.connections.clear();
                return arrived.into_iter().collect();
            }
            thread::sleep(PAUSE);
        }
    }

    fn look(&mut self, arrived: &mut HashSet<Arrival>) {
        let mut bytes = [0; FRAME];
        for _ in 0..AT_ONCE {
            let Ok(length) = recv(self.interface.as_raw_fd(), &mut bytes, MsgFlags::empty()) else { break };
            arrived.extend(found(&bytes, length, At::Interface));
        }
        for socket in &self.datagrams {
            for _ in 0..AT_ONCE {
                let Ok(length) = socket.recv(&mut bytes) else { break };
                arrived.extend(found(&bytes, length, At::Socket));
            }
        }
        for listener in &self.listeners {
            while self.connections.len() < CONNECTIONS {
                let Ok((connection, _)) = listener.accept() else { break };
                if connection.set_nonblocking(true).is_ok() {
                    self.connections.push(connection);
                }
            }
        }
        self.connections.retain_mut(|connection| match connection.read(&mut bytes) {
            // A few bytes that were sent at once come at once.
            Ok(length) => {
                arrived.extend(found(&bytes, length, At::Socket));
                false
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        });
    }
}

fn found(bytes: &[u8], length: usize, at: At) -> Option<Arrival> {
    token(bytes.get(..length)?).map(|token| Arrival { token, at })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::canary::wire::payload;

    #[test]
    fn what_reaches_a_socket_is_told_once_and_what_does_not_is_waited_for() {
        // Loopback, where no packet socket is needed: there is one all the same where this may have it.
        let Ok(mut ears) = Ears::open(&[17_007], true) else { return };
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(&payload(1), "127.0.0.1:17007").unwrap();
        TcpStream::connect("127.0.0.1:17007").unwrap().write_all(&payload(2)).unwrap();
        let at_sockets = |arrived: Vec<Arrival>| {
            let mut tokens: Vec<_> =
                arrived.iter().filter(|it| it.at == At::Socket).map(|it| it.token).collect();
            tokens.sort_unstable();
            tokens
        };
        let long = Duration::from_secs(20);
        assert_eq!(at_sockets(ears.collect(&[1, 2], long, Duration::ZERO)), [1, 2]);
        let begun = Instant::now();
        let short = Duration::from_millis(50);
        assert_eq!(at_sockets(ears.collect(&[3], short, Duration::ZERO)), Vec::<Token>::new());
        assert!(begun.elapsed() >= short);
    }
}
