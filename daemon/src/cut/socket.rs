//! One socket: what it is, and how its connection is destroyed.

use std::{net::SocketAddr, os::fd::AsFd, thread, time::Duration};

use rustix::{
    io::{Errno, Result},
    net::{
        Shutdown, SocketAddrAny, SocketType, connect_unspec, getpeername, getsockname, ipproto, shutdown,
        sockopt,
    },
};

use super::ends::{Endpoint, Ends};

/// How often it is tried to disconnect a socket that somebody waits at.
const TRIES: u32 = 10;
/// How long those who wait get to notice that nothing will come any more.
const PAUSE: Duration = Duration::from_millis(5);

/// Both ends of a connected TCP socket; `None` for any other, a listening one above all.
pub(super) fn ends(socket: impl AsFd) -> Option<Ends> {
    let socket = socket.as_fd();
    let tcp = sockopt::socket_type(socket).ok()? == SocketType::STREAM
        && sockopt::socket_protocol(socket).ok()? == Some(ipproto::TCP);
    if !tcp || sockopt::socket_acceptconn(socket).ok()? {
        return None;
    }
    let endpoint = |address: SocketAddrAny| SocketAddr::try_from(address).ok().map(endpoint);
    Some(Ends { here: endpoint(getsockname(socket).ok()?)?, there: endpoint(getpeername(socket).ok()??)? })
}

/// An address as flows have it.
pub(super) fn endpoint(address: SocketAddr) -> Endpoint {
    (address.ip().into(), address.port())
}

/// Ends the connection of a socket at once: the other end is sent a reset, what is queued is thrown away, and whoever has
/// the socket is told ECONNRESET.
///
/// Before 6.7, and before the later updates of older lines, the kernel refuses while a thread waits at the socket. Those
/// who wait are told first then that nothing will come any more.
///
/// kernel: int tcp_disconnect(struct sock *sk, int flags)
pub(super) fn destroy(socket: impl AsFd) -> Result<()> {
    for _ in 0..TRIES {
        match connect_unspec(&socket) {
            Err(Errno::BUSY) => {
                // Where it is shut down already there is nothing more to tell.
                let _ = shutdown(&socket, Shutdown::Both);
                thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
    Err(Errno::BUSY)
}

#[cfg(test)]
mod tests {
    use std::{
        io::{ErrorKind, Read as _, Write as _},
        net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket},
        os::unix::net::UnixStream,
        time::Instant,
    };

    use cofferdam_common::ids::Address;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn what_is_queued_never_arrives_and_both_ends_are_told() {
        let (mut client, mut server) = pair();
        client.write_all(&[1; 100]).unwrap();
        // More than the receiver has room for: the rest is queued at the sender.
        client.set_nonblocking(true).unwrap();
        while client.write(&[1; 1 << 16]).is_ok() {}
        destroy(&client).unwrap();
        client.set_nonblocking(false).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        let told = loop {
            match server.read(&mut [0; 1 << 16]) {
                Ok(1..) => (),
                end => break end,
            }
        };
        assert_eq!(told.unwrap_err().kind(), ErrorKind::ConnectionReset);
        // What was received and not read is gone as well.
        let (mut client, mut server) = pair();
        client.write_all(&[1; 100]).unwrap();
        server.peek(&mut [0]).unwrap();
        destroy(&server).unwrap();
        assert_eq!(server.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert_eq!(client.read(&mut [0]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[test]
    fn whoever_waits_for_something_to_come_is_woken_up() {
        let (mut client, mut server) = pair();
        let copy = client.try_clone().unwrap();
        let waiting = thread::spawn(move || client.read(&mut [0]));
        thread::sleep(Duration::from_millis(100));
        let begun = Instant::now();
        destroy(&copy).unwrap();
        // A reset or a broken pipe where the kernel can tell those who wait, or else the end of the stream.
        let told = waiting.join().unwrap();
        let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
        assert!(
            matches!(&told, Ok(0)) || told.as_ref().is_err_and(|it| kinds.contains(&it.kind())),
            "{told:?}"
        );
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert!(server.read(&mut [0]).is_err() || server.read(&mut [0]).is_err());
        assert_eq!(ends(&copy), None);
    }

    #[test]
    fn only_a_connected_tcp_socket_has_ends_whatever_family_it_is_of() {
        let (client, server) = pair();
        let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let mapped = |address: SocketAddr| {
            let IpAddr::V4(ip) = address.ip() else { panic!("{address}") };
            (Address(ip.to_ipv6_mapped().octets()), address.port())
        };
        assert_eq!(ends(&client), Some(Ends { here: mapped(here), there: mapped(there) }));
        assert_eq!(ends(&server), Some(Ends { here: mapped(there), there: mapped(here) }));

        let both = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
        let client = TcpStream::connect((Ipv4Addr::LOCALHOST, both.local_addr().unwrap().port())).unwrap();
        let (server, _) = both.accept().unwrap();
        let (here, there) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        assert_eq!(ends(&server), Some(Ends { here: mapped(there), there: mapped(here) }));

        assert_eq!(ends(&both), None);
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        udp.connect(udp.local_addr().unwrap()).unwrap();
        assert_eq!(ends(&udp), None);
        assert_eq!(ends(UnixStream::pair().unwrap().0), None);
        assert_eq!(ends(std::fs::File::open("/dev/null").unwrap()), None);
    }
}
