//! The sensor in this process, which is in a cgroup of its own, and what its maps take.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use aya::maps::loaded_maps;
use cofferdam::sensor::{self, Loaded, Options, features, offsets};
use cofferdam_common::ids::CgroupId;
use cofferdam_tests::private_bpffs;

use crate::scene::Cgroups;

/// The maps of policies.
const MAPS: [&str; 6] = ["SUBJECTS", "PAIRS", "INTERVALS", "NETWORKS", "RESIDENTS", "ADDRESSES"];

/// Programs and maps in the kernel.
pub(super) struct Kernel {
    pub(super) loaded: Loaded,
    /// The cgroup of this process.
    pub(super) own: CgroupId,
    pub(super) place: Place,
}

/// The cgroup that this process is in; it leaves it at the end.
pub(super) struct Place {
    root: PathBuf,
    _cgroups: Cgroups,
}

impl Kernel {
    /// Loads them.
    pub(super) fn start() -> anyhow::Result<Self> {
        let features = features::detect();
        let root = features.cgroup_root.context("no cgroup v2 tree")?;
        let bpffs = features.bpffs.map_or_else(private_bpffs, Ok)?;
        let options = Options {
            cgroup_root: root.clone(),
            pin_directory: bpffs.join(format!("cofferdam-bench-{}", std::process::id())),
            ..Options::default()
        };
        let located = offsets::read(Path::new(offsets::BTF_PATH))?;
        let loaded = sensor::load(&options, &located)?;
        let cgroups = Cgroups::make()?;
        let cgroup = cgroups.container(0)?;
        let own = CgroupId(fs::metadata(&cgroup)?.ino());
        let place = Place { root, _cgroups: cgroups };
        join(&cgroup)?;
        Ok(Self { loaded, own, place })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A cgroup that is occupied cannot be removed.
        let _ = join(&self.root);
    }
}

fn join(cgroup: &Path) -> anyhow::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
        .with_context(|| format!("cannot join {}", cgroup.display()))
}

/// What each map of policies takes, as the kernel says of the descriptors of this process.
pub(super) fn map_memory() -> anyhow::Result<BTreeMap<String, u64>> {
    let mut own = HashMap::new();
    for entry in fs::read_dir("/proc/self/fdinfo")?.flatten() {
        // One that was closed meanwhile is none.
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let number = |name: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        if let Some((id, bytes)) = number("map_id:").zip(number("memlock:")) {
            own.insert(id, bytes);
        }
    }
    let mut found = BTreeMap::new();
    for map in loaded_maps().flatten() {
        let name = map.name_as_str().unwrap_or_default();
        if let Some(bytes) = own.get(&u64::from(map.id())).filter(|_| MAPS.contains(&name)) {
            found.insert(name.to_lowercase(), *bytes);
        }
    }
    anyhow::ensure!(found.len() == MAPS.len(), "not all maps of policies are there: {found:?}");
    Ok(found)
}
