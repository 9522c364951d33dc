//! How a workload of the daemon sends, within its own namespace.

use std::{
    io::{self, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::{
    errno::Errno,
    ifaddrs::getifaddrs,
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
    },
};

use super::{
    packet,
    wire::{How, Outcome, Shot, payload},
};

/// How long a connection may take. It never leaves this machine.
const CONNECT_WITHIN: Duration = Duration::from_millis(400);
/// Ports of the sender, where it makes its packets itself: one for each way, so that no other's flow speaks for them.
const RAW_FROM: u16 = 40_007;
const FRAME_FROM: u16 = 40_009;

/// Sends something by the interface that is called so.
pub(super) fn send(shot: &Shot, interface: &str) -> Outcome {
    match try_send(shot, interface) {
        Ok(()) => Outcome::Sent,
        Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => Outcome::Refused,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn try_send(shot: &Shot, interface: &str) -> io::Result<()> {
    let (to, bytes) = (SocketAddr::new(shot.to, shot.port), payload(shot.token));
    match shot.how {
        How::Connect => TcpStream::connect_timeout(&to, CONNECT_WITHIN)?.write_all(&bytes),
        How::Datagram => UdpSocket::bind(SocketAddr::new(shot.from, 0))?.send_to(&bytes, to).map(drop),
        How::Raw => {
            let packet = made(shot, RAW_FROM, &bytes)?;
            let family = if to.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
            // The header is in the packet. With a port the kernel would take it for a protocol.
            raw(family, SockProtocol::Raw, &packet, &SockaddrStorage::from(SocketAddr::new(shot.to, 0)))
        }
        How::Frame => {
            let packet = made(shot, FRAME_FROM, &bytes)?;
            let (link, own) = link(interface)?;
            let frame = packet::frame(own, shot.mac, to.is_ipv6(), &packet);
            raw(AddressFamily::Packet, SockProtocol::EthAll, &frame, &link)
        }
    }
}

fn made(shot: &Shot, port: u16, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let packet = packet::datagram((shot.from, port), (shot.to, shot.port), bytes);
    packet.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}

fn raw<A: nix::sys::socket::SockaddrLike>(
    family: AddressFamily,
    protocol: SockProtocol,
    bytes: &[u8],
    to: &A,
) -> io::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Raw, flags, protocol)?;
    sendto(socket.as_raw_fd(), bytes, to, MsgFlags::empty())?;
    Ok(())
}

/// Where frames of an interface are sent to, and its hardware address.
fn link(interface: &str) -> io::Result<(LinkAddr, [u8; 6])> {
    let addresses = getifaddrs()?.filter(|it| it.interface_name == interface);
    let link = addresses.filter_map(|it| it.address?.as_link_addr().copied()).next();
    let found = link.and_then(|link| Some((link, link.addr()?)));
    found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{interface} has no address")))
}
