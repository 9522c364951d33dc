//! Who is at the other end of the unix socket, as the kernel tells.

use std::io;

use axum::serve::Listener;
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};

/// A client's process at the time when it connected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Peer {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Absent where it is of another pid namespace.
    pub(super) pid: Option<i32>,
}

impl Peer {
    /// Whose stream this is.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let told = stream.peer_cred()?;
        Ok(Self { uid: told.uid(), gid: told.gid(), pid: told.pid() })
    }
}

/// Accepts only who can be named, and names them in the log (`RUST_LOG=debug`). Who *may* connect, owner and mode of
/// the socket say.
pub(super) struct Named(pub(super) UnixListener);

impl Listener for Named {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.0).await;
            match Peer::of(&stream) {
                Ok(Peer { uid, gid, pid }) => {
                    tracing::debug!(uid, gid, pid, "a client connects");
                    return (stream, address);
                }
                Err(error) => tracing::warn!(%error, "a client that the kernel cannot name is sent away"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_is_known_by_what_the_kernel_says() {
        let (ours, _theirs) = UnixStream::pair().expect("a pair");
        let peer = Peer::of(&ours).expect("a peer");
        let pid = i32::try_from(std::process::id()).ok();
        assert_eq!((peer.uid, peer.pid), (nix::unistd::getuid().as_raw(), pid));
        assert_eq!(peer.gid, nix::unistd::getgid().as_raw());
    }
}
