//! One daemon per run directory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;

use crate::api;

/// Held for as long as the daemon runs; the kernel lets go of the lock when the process ends, however it ends.
pub(super) struct Instance {
    socket: PathBuf,
    _lock: Flock<File>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        // Before the lock is let go: a successor's socket must not be hit.
        if let Err(error) = remove(&self.socket) {
            tracing::warn!(socket = %self.socket.display(), %error, "cannot remove the socket");
        }
    }
}

impl Instance {
    /// Makes the run directory and takes the lock in it.
    ///
    /// # Errors
    /// When another daemon holds it, or the directory cannot be made or written.
    pub(super) fn claim(run_dir: &Path) -> anyhow::Result<Self> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(run_dir)
            .with_context(|| format!("cannot make {}", run_dir.display()))?;
        let path = run_dir.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut lock) => {
                lock.set_len(0)?;
                writeln!(lock, "{}", std::process::id())?;
                Ok(Self { socket: run_dir.join(api::SOCKET_NAME), _lock: lock })
            }
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                let pid = fs::read_to_string(&path).unwrap_or_default();
                bail!(
                    "another cofferdam runs already (pid {}); stop it first, or give this one another --run-dir",
                    pid.trim()
                )
            }
            Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// The process that holds the lock in a run directory; 0 where it has not said yet who it is.
    ///
    /// # Errors
    /// When the lock cannot be opened.
    pub(super) fn holder(run_dir: &Path) -> anyhow::Result<Option<u32>> {
        let path = run_dir.join("lock");
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.with_context(|| format!("cannot open {}", path.display()))?,
        };
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => Ok(None),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => {
                let pid = fs::read_to_string(&path)?;
                Ok(Some(pid.trim().parse().unwrap_or(0)))
            }
            Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }

    /// Listens on the socket of the API, which owner and group may use. One that is there is a dead daemon's, for
    /// the lock was free.
    ///
    /// # Errors
    /// When the socket cannot be made. Must be called in an async runtime.
    pub(super) fn listen(&self) -> anyhow::Result<UnixListener> {
        let listen = || {
            remove(&self.socket)?;
            let listener = UnixListener::bind(&self.socket)?;
            fs::set_permissions(&self.socket, Permissions::from_mode(0o660))?;
            Ok::<_, io::Error>(listener)
        };
        listen().with_context(|| format!("cannot listen on {}", self.socket.display()))
    }
}

/// Removes a socket, if there is one.
fn remove(socket: &Path) -> io::Result<()> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
