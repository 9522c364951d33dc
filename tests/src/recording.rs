//! Records as the kernel sent them, in a file: each with its length before it, as four bytes, little-endian.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

/// Where recordings are kept.
#[must_use]
pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/replay").join(name)
}

/// Writes a recording.
///
/// # Errors
/// When the file cannot be written.
pub fn write(path: &Path, records: &[Vec<u8>]) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    for record in records {
        bytes.extend(u32::try_from(record.len())?.to_le_bytes());
        bytes.extend(record);
    }
    std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads a recording.
///
/// # Errors
/// When the file cannot be read or ends within a record.
pub fn read(path: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rest = bytes.as_slice();
    let mut records = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk() {
        let length = u32::from_le_bytes(*length) as usize;
        let Some((record, tail)) = tail.split_at_checked(length) else {
            bail!("{} ends within a record", path.display());
        };
        records.push(record.to_vec());
        rest = tail;
    }
    Ok(records)
}
