//! One daemon per run directory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use tokio::net::UnixListener;

/// Held for as long as the daemon runs; the kernel lets go of the lock when the process ends, however it ends.
pub(super) struct Instance {
    _lock: Flock<File>,
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
                Ok(Self { _lock: lock })
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
}

/// Listens on a unix socket that the owner and group may use. A socket that is there is a dead daemon's, for the
/// lock was free.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    Ok(listener)
}
