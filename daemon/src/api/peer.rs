//! Who is at the other end of the unix socket, as the kernel tells.

use std::io;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, request::Parts},
    serve::Listener,
};
use nix::unistd::{Uid, geteuid};
use tokio::net::{UnixListener, UnixStream, unix::SocketAddr};

use super::Refusal;

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

    /// Whether it may change something: root, and the user `own` that the daemon runs as. The socket's group may read.
    pub(super) fn may_change(&self, own: Uid) -> bool {
        self.uid == 0 || self.uid == own.as_raw()
    }
}

/// Proof that whoever asks may change something. A handler that takes it has nobody else's body read.
pub(super) struct Permitted;

impl<S: Sync> FromRequestParts<S> for Permitted {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        match parts.extensions.get::<Peer>() {
            Some(peer) if peer.may_change(geteuid()) => Ok(Self),
            peer => {
                let uid = peer.map(|peer| peer.uid);
                tracing::warn!(
                    uid,
                    path = parts.uri.path(),
                    "a client that may not change anything is refused"
                );
                let error = "only root and the daemon's own user may do that: try again as root (sudo)";
                Err(Refusal(StatusCode::FORBIDDEN, error.to_owned()))
            }
        }
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

    #[test]
    fn root_and_the_daemons_own_user_may_change_something_and_a_group_gives_no_right_to_it() {
        let of = |uid, gid| Peer { uid, gid, pid: None };
        let may = |peer: Peer| peer.may_change(Uid::from_raw(990));
        assert_eq!(
            [of(0, 990), of(990, 1), of(1_000, 990), of(1_000, 0)].map(may),
            [true, true, false, false]
        );
    }

    #[tokio::test]
    async fn who_is_not_known_may_not_change_anything() {
        let (mut parts, ()) = axum::http::Request::new(()).into_parts();
        let refused =
            async |parts: &mut Parts| Permitted::from_request_parts(parts, &()).await.err().map(|it| it.0);
        assert_eq!(refused(&mut parts).await, Some(StatusCode::FORBIDDEN));
        parts.extensions.insert(Peer { uid: geteuid().as_raw() + 1, gid: 0, pid: None });
        assert_eq!(refused(&mut parts).await, Some(StatusCode::FORBIDDEN));
        parts.extensions.insert(Peer { uid: geteuid().as_raw(), gid: 0, pid: None });
        assert_eq!(refused(&mut parts).await, None);
    }
}
