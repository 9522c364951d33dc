//! Cgroups of the daemon's own workloads: below the daemon's own, where its unit delegates that to it (`Delegate=`), or else
//! wherever the daemon runs. What a daemon has left that was killed is removed.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use anyhow::Context as _;
use cofferdam_common::ids::CgroupId;

/// What their directories begin with; then the process that made them, and the name.
const PREFIX: &str = "cofferdam-canary-";
/// How often it is tried to remove one whose process has just been killed, and how long it is waited between.
const TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(25);

/// A cgroup that goes when this is dropped. Whoever lives there must have gone before.
pub(super) struct Home {
    directory: PathBuf,
    /// Its number.
    pub(super) cgroup: CgroupId,
}

impl Home {
    /// Makes one in a directory of the cgroup tree.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn make(parent: &Path, name: &str) -> anyhow::Result<Self> {
        let directory = parent.join(format!("{PREFIX}{}-{name}", std::process::id()));
        let made = || {
            fs::create_dir(&directory)?;
            fs::metadata(&directory)
        };
        let cgroup = made().with_context(|| format!("cannot make the cgroup {}", directory.display()))?.ino();
        Ok(Self { directory, cgroup: CgroupId(cgroup) })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.directory) {
            tracing::warn!(cgroup = %self.directory.display(), %error, "a cgroup of the daemon's own cannot be removed");
        }
    }
}

/// The cgroup that this process is in. `root` is where the tree is mounted.
///
/// # Errors
/// When `/proc` does not tell.
pub(super) fn own(root: &Path) -> anyhow::Result<PathBuf> {
    let told = fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    let path = in_v2(&told).context("this process is in no cgroup of the v2 tree")?;
    Ok(root.join(path.trim_start_matches('/')))
}

/// The line of the v2 tree (cgroups(7)).
fn in_v2(told: &str) -> Option<&str> {
    told.lines().find_map(|line| line.strip_prefix("0::"))
}

/// Removes what daemons have left that are no more, and what this one has.
pub(super) fn clear(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let Some(maker) = name.to_str().and_then(maker) else { continue };
        if maker != std::process::id() && Path::new("/proc").join(maker.to_string()).exists() {
            continue;
        }
        let directory = entry.path();
        // Nobody of it should be there any more: without its daemon it ends by itself.
        let _ = OpenOptions::new()
            .write(true)
            .open(directory.join("cgroup.kill"))
            .and_then(|mut kill| kill.write_all(b"1"));
        if let Err(error) = remove(&directory) {
            tracing::warn!(cgroup = %directory.display(), %error, "what an earlier daemon has left cannot be removed");
        }
    }
}

/// The process whose cgroup that is, of the daemon's own only.
fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split_once('-')?.0.parse().ok()
}

fn remove(directory: &Path) -> io::Result<()> {
    let mut tries = 1..=TRIES;
    loop {
        match fs::remove_dir(directory) {
            // Who was killed is there for a moment.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && tries.next().is_some() => {
                thread::sleep(PAUSE);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => return removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_v2_tree_is_found_among_others() {
        assert_eq!(
            in_v2("9:name=systemd:/x\n0::/system.slice/cofferdam.service\n"),
            Some("/system.slice/cofferdam.service")
        );
        assert_eq!(in_v2("1:cpu:/\n"), None);
    }

    #[test]
    fn only_what_is_named_as_ours_is_ours() {
        assert_eq!(maker("cofferdam-canary-12-sender"), Some(12));
        for other in ["cofferdam-canary-", "cofferdam-canary-x-sender", "cofferdam-test-12-sender", "docker"]
        {
            assert_eq!(maker(other), None, "{other}");
        }
    }

    #[test]
    fn what_a_dead_daemon_left_is_removed_and_what_a_living_one_has_is_not() {
        let parent = std::env::temp_dir().join(format!("cofferdam-home-{}", std::process::id()));
        let [living, dead, other] = ["cofferdam-canary-1-sender", "cofferdam-canary-4194305-sender", "other"]
            .map(|name| parent.join(name));
        [&living, &dead, &other].into_iter().for_each(|it| fs::create_dir_all(it).unwrap());
        let home = Home::make(&parent, "sender").unwrap();
        assert_eq!(home.cgroup.0, fs::metadata(home.directory()).unwrap().ino());
        clear(&parent);
        assert_eq!([&living, &dead, &other].map(|it| it.exists()), [true, false, true]);
        drop(home);
        fs::remove_dir_all(parent).unwrap();
    }
}
