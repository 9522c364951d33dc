//! The maps of family syscall: whose calls are counted, and the counts.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{self, MapData},
};
use cofferdam_common::{
    ids::CgroupId,
    syscall::{CallKey, NEW_CGROUPS},
};

use super::{
    ONLY_NEW, Options,
    counts::{Calls, Use},
    lock, take,
    walk::{walk, was_there},
};

/// The maps of the family. Nothing counts until the hook is attached ([`super::Sensor::need`]).
pub struct CallMaps {
    maps: Mutex<Maps>,
}

struct Maps {
    selected: maps::HashMap<MapData, CgroupId, CgroupId>,
    calls: maps::HashMap<MapData, CallKey, u64>,
    capacity: Capacity,
}

#[derive(Clone, Copy)]
struct Capacity {
    selected: u32,
    calls: u32,
}

impl CallMaps {
    pub(super) fn new(ebpf: &mut Ebpf, options: &Options) -> anyhow::Result<Self> {
        let maps = Maps {
            selected: take(ebpf, "SELECTED")?.try_into()?,
            calls: take(ebpf, "CALLS")?.try_into()?,
            capacity: Capacity { selected: options.syscall_cgroups, calls: options.syscall_counts },
        };
        Ok(Self { maps: Mutex::new(maps) })
    }

    /// How full the maps are.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn fill(&self) -> anyhow::Result<[Use; 2]> {
        let selected = self.selected()?.len();
        let maps = lock(&self.maps);
        let fill = |name: &str, used: usize, capacity: u32| Use {
            name: name.to_owned(),
            used: used as u64,
            capacity: capacity.into(),
        };
        Ok([
            fill("syscall_cgroups", selected, maps.capacity.selected),
            fill("syscalls", maps.counts()?.len(), maps.capacity.calls),
        ])
    }
}

impl Calls for CallMaps {
    fn count_new_cgroups(&self, on: bool) -> anyhow::Result<()> {
        let selected = &mut lock(&self.maps).selected;
        if on {
            selected.insert(NEW_CGROUPS, NEW_CGROUPS, 0).context("cannot have new cgroups counted")
        } else {
            was_there(selected.remove(&NEW_CGROUPS)).map(drop).context("cannot stop counting new cgroups")
        }
    }

    fn selected(&self) -> anyhow::Result<HashMap<CgroupId, CgroupId>> {
        let maps = lock(&self.maps);
        let mut selected = walk(maps.capacity.selected, || maps.selected.iter())?;
        selected.remove(&NEW_CGROUPS);
        Ok(selected)
    }

    fn select(&self, cgroup: CgroupId, account: CgroupId) -> anyhow::Result<()> {
        let maps = &mut *lock(&self.maps);
        for failed in [false, true] {
            let key = CallKey::other(account, failed);
            // There already, or no room.
            let _ = maps.calls.insert(key, 0, ONLY_NEW);
        }
        maps.selected.insert(cgroup, account, 0).with_context(|| format!("cannot select cgroup {}", cgroup.0))
    }

    fn leave(&self, cgroup: CgroupId) -> anyhow::Result<()> {
        was_there(lock(&self.maps).selected.remove(&cgroup)).map(drop).context("cannot unselect a cgroup")
    }

    fn counts(&self) -> anyhow::Result<HashMap<CallKey, u64>> {
        lock(&self.maps).counts()
    }

    fn take(&self, accounts: &HashSet<CgroupId>) -> anyhow::Result<HashMap<CallKey, u64>> {
        let maps = &mut *lock(&self.maps);
        let mut counts = maps.counts()?;
        counts.retain(|key, _| accounts.contains(&key.account));
        for key in counts.keys() {
            was_there(maps.calls.remove(key)).context("cannot remove a count")?;
        }
        Ok(counts)
    }
}

impl Maps {
    fn counts(&self) -> anyhow::Result<HashMap<CallKey, u64>> {
        walk(self.capacity.calls, || self.calls.iter()).context("cannot read the counts of system calls")
    }
}
