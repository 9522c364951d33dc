//! Reads maps that change meanwhile, and keeps those in step that only say who belongs.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
};

use aya::{
    Pod,
    maps::{self, MapData, MapError},
};

/// Retries of a read that the kernel changed under our hands.
const WALK_LIMIT: usize = 4;

/// Reads a hash map that changes meanwhile: the kernel begins anew when the entry at which the walk stands was
/// removed, so that entries may come twice, and the walk could go on for ever.
pub(super) fn walk<K, V, I>(capacity: u32, iterate: impl Fn() -> I) -> Result<HashMap<K, V>, MapError>
where
    K: Eq + Hash,
    I: Iterator<Item = Result<(K, V), MapError>>,
{
    let mut found = HashMap::new();
    for entry in iterate().take(capacity as usize * WALK_LIMIT) {
        match entry {
            Ok((key, value)) => {
                found.insert(key, value);
            }
            Err(error) if missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// What is in an entry, if there is one.
pub(super) fn found<V>(got: Result<V, MapError>) -> Result<Option<V>, MapError> {
    match got {
        Ok(value) => Ok(Some(value)),
        Err(error) if missing(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Has the keys of a map be these and no others; `known` is what is there.
pub(super) fn set_members<K: Copy + Eq + Hash + Pod>(
    map: &mut maps::HashMap<MapData, K, u32>,
    known: &mut HashSet<K>,
    wanted: &HashSet<K>,
) -> Result<(), MapError> {
    let old: Vec<K> = known.difference(wanted).copied().collect();
    for key in old {
        was_there(map.remove(&key))?;
        known.remove(&key);
    }
    let new: Vec<K> = wanted.difference(known).copied().collect();
    for key in new {
        map.insert(key, 1, 0)?;
        known.insert(key);
    }
    Ok(())
}

/// Whether there was an entry to remove.
pub(super) fn was_there(removed: Result<(), MapError>) -> Result<bool, MapError> {
    match removed {
        Ok(()) => Ok(true),
        Err(error) if missing(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether an entry is not (any more) in the map.
fn missing(error: &MapError) -> bool {
    match error {
        MapError::KeyNotFound => true,
        MapError::SyscallError(error) => {
            error.io_error.raw_os_error() == Some(nix::errno::Errno::ENOENT as i32)
        }
        _ => false,
    }
}
