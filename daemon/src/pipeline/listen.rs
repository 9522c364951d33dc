//! The listener of metrics and health, which is there also where its address is not yet.

use std::{io::ErrorKind, net::SocketAddr};

use anyhow::Context as _;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted, as tokio's own listeners have it.
const BACKLOG: u32 = 1_024;

/// Listens at an address. One that this host does not have is one that comes later, as at boot, where the network is up
/// after us: whoever connects to it then is heard (`IP_FREEBIND`, ip(7)). Must be called in an async runtime.
///
/// # Errors
/// When somebody else listens there, or may not be disturbed there.
pub(super) fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let here = bind(address, false);
    let listener = match here {
        Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
            tracing::warn!(%address, "this host does not have this address: metrics are there once it has");
            bind(address, true)
        }
        here => here,
    };
    listener.with_context(|| format!("cannot listen on {address}"))
}

fn bind(address: SocketAddr, absent: bool) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    if absent {
        let socket = SockRef::from(&socket);
        if address.is_ipv4() { socket.set_freebind_v4(true) } else { socket.set_freebind_v6(true) }?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_that_is_not_there_yet_is_listened_at_and_one_that_is_taken_is_not() {
        for absent in ["198.18.99.1:0", "[fd00:c0ff:99::1]:0"] {
            listen(absent.parse().unwrap()).unwrap();
        }
        let taken = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let error = format!("{:#}", listen(address).unwrap_err());
        assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }
}
