//! Where the processes of a workload are.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use cofferdam_common::ids::CgroupId;

/// Where the processes are of whoever lives in a cgroup.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Home {
    /// A container's own cgroup, or else the cgroup that was asked for.
    pub cgroup: CgroupId,
    /// Its directory.
    pub directory: PathBuf,
    /// Whether the cgroups below belong to it: all but the root's do.
    pub whole: bool,
}

impl Home {
    /// The processes that live there, until at least `limit` are found or so many cgroups were looked at. Reads from the
    /// cgroup file system.
    #[must_use]
    pub fn processes(&self, limit: usize) -> Vec<i32> {
        let is_it = fs::metadata(&self.directory).is_ok_and(|meta| meta.ino() == self.cgroup.0);
        let (mut open, mut seen, mut found) = (Vec::new(), 0, Vec::new());
        if is_it {
            open.push(self.directory.clone());
        }
        while let Some(directory) = open.pop() {
            // One with threads of a process of another cgroup has no list, and one that was removed has none any more.
            let listed = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            // 0 is one of a namespace that we do not see into.
            found.extend(listed.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
            seen += 1;
            if seen >= limit || found.len() >= limit {
                break;
            }
            if self.whole {
                open.extend(below(&directory).unwrap_or_default());
            }
        }
        found
    }
}

fn below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.flatten();
    Ok(entries.filter(|entry| entry.file_type().is_ok_and(|it| it.is_dir())).map(|it| it.path()).collect())
}
