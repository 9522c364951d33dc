//! Container-shaped cgroups, of which many can be had quickly.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use cofferdam_tests::cgroup_root;

/// Where they are: a parent as `--cgroup-parent` would make it. Removed with all that is in it when dropped.
pub(crate) struct Parent {
    root: PathBuf,
    path: PathBuf,
}

impl Parent {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let root = cgroup_root()?;
        let path = root.join(format!("cofferdam-cgroups-{}", std::process::id()));
        fs::create_dir(&path)?;
        Ok(Self { root, path })
    }

    /// A container that does nothing yet.
    pub(crate) fn container(&self, number: u64) -> anyhow::Result<PathBuf> {
        let cgroup = self.path.join(id(number));
        fs::create_dir(&cgroup)?;
        Ok(cgroup)
    }

    /// Does something as a member: sockets belong to the cgroup in which they were made.
    pub(crate) fn inside<T>(&self, cgroup: &Path, act: impl FnOnce() -> T) -> anyhow::Result<T> {
        enter(cgroup)?;
        let result = act();
        enter(&self.root)?;
        Ok(result)
    }
}

impl Drop for Parent {
    fn drop(&mut self) {
        let _ = enter(&self.root);
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(&self.path);
    }
}

/// The id of a container.
pub(crate) fn id(number: u64) -> String {
    format!("{number:064x}")
}

fn enter(cgroup: &Path) -> anyhow::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
        .context("this process does not move")
}
