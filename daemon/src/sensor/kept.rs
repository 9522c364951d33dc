//! Links that stay when the daemon is gone: pinned on the BPF file system, each with the programs and maps that it needs.
//!
//! A daemon that starts attaches its own beside what an earlier one has left, and lets that go once it judges itself: both
//! judge meanwhile, and what one denies is denied.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use aya::{
    maps::{MapData, MapInfo},
    programs::links::{FdLink, PinnedLink},
};

use super::{
    clock::Clock,
    hooks::{Attach, Hook},
    pins::if_there,
};

/// Whether a hook judges, and is attached once for all: those at links come and go with these.
pub(super) fn stays(hook: &Hook) -> bool {
    matches!(hook.attach, Attach::CgroupEgress | Attach::CgroupIngress | Attach::CgroupAddress | Attach::Lsm)
}

/// What the map is called that daemons hand on: which addresses workloads were told by name.
const NAMED: &str = "named";

/// Where links are pinned.
pub(super) struct Kept {
    directory: PathBuf,
    /// Ends the names of this daemon's own.
    mark: String,
}

/// How many links go on judging that were left beside the directory of the pinned maps.
pub(super) fn left(pins: &Path) -> usize {
    Kept::new(pins).names().filter(|name| name != NAMED && is_ours(name)).count()
}

/// Whether this or an earlier daemon has pinned what is called so: a hook, with the mark of that daemon behind.
fn is_ours(name: &str) -> bool {
    let is_mark = |mark: &str| !mark.is_empty() && mark.bytes().all(|byte| byte.is_ascii_digit());
    name == NAMED || name.rsplit_once('-').is_some_and(|(hook, mark)| !hook.is_empty() && is_mark(mark))
}

impl Kept {
    /// Beside the directory of the pinned maps, which ends with the daemon.
    pub(super) fn new(pins: &Path) -> Self {
        let mut directory = pins.as_os_str().to_owned();
        directory.push("-enforce");
        Self { directory: directory.into(), mark: format!("-{}", Clock::now().boot_time()) }
    }

    /// Whether a hook of this daemon is pinned.
    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Whether there is anything that an earlier daemon has left.
    pub(super) fn has_others(&self) -> bool {
        self.names().any(|name| self.is_others(&name))
    }

    /// What lies among the pins that no daemon has put there, each with where that is.
    pub(super) fn foreign(&self) -> impl Iterator<Item = String> {
        let foreign = self.names().filter(|name| !is_ours(name));
        foreign.map(|name| self.directory.join(name).display().to_string())
    }

    fn names(&self) -> impl Iterator<Item = String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
    }

    /// Whether what is pinned as a hook of this daemon is that link: not another, and not one that was detached.
    pub(super) fn holds(&self, name: &str, link: &FdLink) -> bool {
        let pinned = PinnedLink::from_pin(self.path(name)).map(FdLink::from).and_then(|pinned| pinned.info());
        pinned.is_ok_and(|pinned| link.info().is_ok_and(|link| link.id() == pinned.id()))
    }

    /// Pins a link, which is lost if that fails.
    pub(super) fn pin(&self, name: &str, link: FdLink) -> anyhow::Result<FdLink> {
        let path = self.path(name);
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        let pinned = link.pin(&path).with_context(|| format!("cannot pin {}", path.display()))?;
        Ok(pinned.into())
    }

    /// Lets go one of this daemon's own, if it is pinned.
    pub(super) fn unpin(&self, name: &str) -> anyhow::Result<()> {
        let path = self.path(name);
        if_there(fs::remove_file(&path)).with_context(|| format!("cannot remove {}", path.display()))
    }

    /// Lets go what earlier daemons have left.
    pub(super) fn clear_others(&self) -> anyhow::Result<()> {
        let others = self.remove(|name| self.is_others(name))?;
        if others > 0 {
            tracing::info!(links = others, "took over from an earlier daemon, which judged until now");
        }
        Ok(())
    }

    /// Lets go all; how many links these were. What others have put there stays, and is told.
    pub(super) fn clear(&self) -> anyhow::Result<usize> {
        let links = self.remove(|name| name != NAMED && is_ours(name))?;
        self.remove(|name| name == NAMED)?;
        match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                let foreign: Vec<_> = self.foreign().collect();
                tracing::warn!("left where it is, for it is not ours: {}", foreign.join(", "));
                Ok(())
            }
            removed => if_there(removed),
        }
        .with_context(|| format!("cannot remove {}", self.directory.display()))?;
        Ok(links)
    }

    fn remove(&self, which: impl Fn(&str) -> bool) -> anyhow::Result<usize> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            entries => entries.with_context(|| format!("cannot read {}", self.directory.display()))?,
        };
        let mut removed = 0;
        for entry in entries {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| which(&name.to_string_lossy())) {
                fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Where the map is that an earlier daemon hands on, if it is like `wanted` in form and size: of key and value, and the
    /// number of entries.
    pub(super) fn handed_on(&self, wanted: [u32; 3]) -> Option<PathBuf> {
        let path = self.directory.join(NAMED);
        let info = MapInfo::from_pin(&path).ok()?;
        ([info.key_size(), info.value_size(), info.max_entries()] == wanted).then_some(path)
    }

    /// Pins the map that the next daemon shall go on with, instead of whatever is there.
    pub(super) fn hand_on(&self, map: &MapData) -> anyhow::Result<()> {
        let path = self.directory.join(NAMED);
        let id = map.info().context("the map of names")?.id();
        if MapInfo::from_pin(&path).is_ok_and(|pinned| pinned.id() == id) {
            return Ok(());
        }
        fs::create_dir_all(&self.directory)
            .with_context(|| format!("cannot make {}", self.directory.display()))?;
        if_there(fs::remove_file(&path)).with_context(|| format!("cannot remove {}", path.display()))?;
        map.pin(&path).with_context(|| format!("cannot pin {}", path.display()))
    }

    fn is_others(&self, name: &str) -> bool {
        name != NAMED && is_ours(name) && !name.ends_with(&self.mark)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}{}", self.mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_only_an_earlier_daemon_has_does_not_stay_when_another_takes_over() {
        let pins = std::env::temp_dir().join(format!("cofferdam-kept-{}", std::process::id()));
        let kept = Kept::new(&pins);
        let at = |name: &str| kept.directory.join(name);
        let (own, named) = (kept.path("connect4"), at(NAMED));
        fs::create_dir(&kept.directory).unwrap();
        // Of builds that had hooks on `sendmsg`.
        for old in [&at("sendmsg4-1"), &at("sendmsg6-1"), &at("connect4-1"), &own, &named] {
            fs::write(old, "").unwrap();
        }
        assert!(kept.has_others());
        kept.clear_others().unwrap();
        assert!(!kept.has_others());
        let mut left: Vec<_> = fs::read_dir(&kept.directory).unwrap().map(|it| it.unwrap().path()).collect();
        left.sort();
        assert_eq!(left, [own, named]);
        assert_eq!(super::left(&pins), 1);
        assert_eq!(kept.clear().unwrap(), 1);
        assert!(!kept.directory.exists());
        assert_eq!(super::left(&pins), 0);
    }

    #[test]
    fn what_others_have_put_among_the_pins_is_told_and_stays() {
        let pins = std::env::temp_dir().join(format!("cofferdam-kept-foreign-{}", std::process::id()));
        let kept = Kept::new(&pins);
        fs::create_dir_all(kept.directory.join("folder/inside")).unwrap();
        for name in ["theirs", "-7", "probe-a1", "egress-1"] {
            fs::write(kept.directory.join(name), "").unwrap();
        }
        let foreign = |kept: &Kept| {
            let mut foreign: Vec<_> = kept.foreign().collect();
            foreign.sort();
            let inside = format!("{}/", kept.directory.display());
            foreign.iter().map(|path| path.replace(&inside, "")).collect::<Vec<_>>()
        };
        assert_eq!(foreign(&kept), ["-7", "folder", "probe-a1", "theirs"]);
        assert!(kept.has_others());
        kept.clear_others().unwrap();
        assert!(!kept.has_others());
        assert_eq!(kept.clear().unwrap(), 0);
        assert_eq!(foreign(&kept), ["-7", "folder", "probe-a1", "theirs"]);
        fs::remove_dir_all(&kept.directory).unwrap();
    }
}
