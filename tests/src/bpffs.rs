//! A BPF file system for who has none.

use std::path::PathBuf;

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// A bpffs in a mount namespace of this thread's own, for a machine that has none: its mounts are left alone.
///
/// # Errors
/// When this is not root.
pub fn private_bpffs() -> anyhow::Result<PathBuf> {
    let bpffs = PathBuf::from("/sys/fs/bpf");
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), none)?;
    Ok(bpffs)
}
