//! Container-shaped cgroups, of which many can be had quickly.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use cofferdam_tests::{Node, cgroup_root};

/// Where they are: the node's cgroup, as `--cgroup-parent` would make it. Goes with the node, also when the test is killed.
pub(crate) struct Parent {
    root: PathBuf,
    path: PathBuf,
}

impl Parent {
    pub(crate) fn make(node: &Node) -> anyhow::Result<Self> {
        let root = cgroup_root()?;
        let path = root.join(node.cgroup().trim_start_matches('/'));
        fs::create_dir_all(&path)?;
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
        // A test that failed may have left this process inside.
        let _ = enter(&self.root);
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
