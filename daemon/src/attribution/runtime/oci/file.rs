//! Reads a small file that others write, some of them not to be trusted.

use std::{fs::OpenOptions, io::Read as _, os::unix::fs::OpenOptionsExt as _, path::Path};

use nix::fcntl::OFlag;

/// Longest file that is read.
const LIMIT: u64 = 1 << 20;

/// The content of a regular file of at most 1 MiB. A pipe in its place is not waited for, a link not followed. Blocks.
pub(super) fn read(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).ok()?;
    let known = file.metadata().ok()?;
    if !known.is_file() || known.len() > LIMIT {
        return None;
    }
    let mut bytes = Vec::new();
    // It may have grown meanwhile.
    file.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}
