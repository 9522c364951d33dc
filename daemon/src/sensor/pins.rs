//! Pins the ledger, so that `bpftool` and a successor can read what a daemon counted that was killed.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use aya::Ebpf;

/// The maps that are pinned, under their own names in lower case.
const PINNED: [&str; 4] = ["LEDGER_INDEX", "LEDGER_ROWS", "RECORD_STATS", "FAILURES"];

/// Pinned maps. They are removed when this is dropped.
pub struct Pins {
    directory: PathBuf,
}

impl Pins {
    /// Pins the maps. Pins that are there already are of a daemon that was killed: its lock was free.
    pub(super) fn make(directory: &Path, ebpf: &Ebpf) -> anyhow::Result<Self> {
        let pins = Self { directory: directory.to_owned() };
        pins.remove().with_context(|| format!("cannot remove old pins in {}", directory.display()))?;
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        for name in PINNED {
            let path = directory.join(name.to_lowercase());
            ebpf.map(name)
                .with_context(|| format!("map {name} is not in the object"))?
                .pin(&path)
                .with_context(|| format!("cannot pin {}", path.display()))?;
        }
        Ok(pins)
    }

    fn remove(&self) -> io::Result<()> {
        if_there(fs::remove_dir_all(&self.directory))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::warn!(directory = %self.directory.display(), %error, "cannot remove the pins");
        }
    }
}

/// What is not there need not be removed.
pub(super) fn if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
