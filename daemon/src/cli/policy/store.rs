//! Writes files of policies into the daemon's folder: each is whole there or not at all, also when the power fails.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};

use crate::policy::folder::{FileName, NamedText};

/// Who may read a file that is new: everybody, as far as its folder lets them.
const MODE: u32 = 0o644;

/// Refuses what cannot be replaced.
pub(super) fn check<'a>(folder: &Path, names: impl IntoIterator<Item = &'a FileName>) -> anyhow::Result<()> {
    for name in names {
        let path = folder.join(&**name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if !meta.is_file() => {
                bail!("{} is no plain file, and is not replaced: write where it leads to", path.display())
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot look at {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Writes all of them beside their places first, so that what can fail fails before anything is replaced.
pub(super) fn write(folder: &Path, files: &[NamedText]) -> anyhow::Result<()> {
    check(folder, files.iter().map(|file| &file.name))?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut beside = Beside::default();
    for file in files {
        let place = folder.join(&*file.name);
        // Hidden: nobody reads it as a policy.
        let temporary = folder.join(format!(".{}.{}", &*file.name, std::process::id()));
        beside.0.push((temporary.clone(), place.clone()));
        put(&temporary, &place, &file.text)
            .with_context(|| format!("cannot write {}", temporary.display()))?;
    }
    while let Some((temporary, place)) = beside.0.first() {
        fs::rename(temporary, place).with_context(|| format!("cannot replace {}", place.display()))?;
        beside.0.remove(0);
    }
    File::open(folder).and_then(|folder| folder.sync_all()).context("cannot flush the folder to the disk")
}

/// Files that are not in their places yet. They go when it is given up.
#[derive(Default)]
struct Beside(Vec<(PathBuf, PathBuf)>);

impl Drop for Beside {
    fn drop(&mut self) {
        for (temporary, _) in &self.0 {
            // Should it stay, nobody reads it.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn put(temporary: &Path, place: &Path, text: &str) -> io::Result<()> {
    // One that is there is of an earlier process that was killed.
    match fs::remove_file(temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Whom the one that is there is kept from is not to read this one.
    let permissions = fs::metadata(place).map_or(Permissions::from_mode(MODE), |meta| meta.permissions());
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(permissions)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cofferdam-store-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    fn named(name: &str, text: &str) -> NamedText {
        NamedText { name: name.to_owned().try_into().unwrap(), text: text.to_owned() }
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_made_and_replaced_and_keep_who_may_read_them() {
        let folder = folder("write");
        write(&folder, &[named("a.yaml", "1"), named("b.yaml", "2")]).unwrap();
        fs::set_permissions(folder.join("a.yaml"), Permissions::from_mode(0o640)).unwrap();
        write(&folder, &[named("a.yaml", "3")]).unwrap();
        assert_eq!(names(&folder), ["a.yaml", "b.yaml"]);
        assert_eq!(fs::read_to_string(folder.join("a.yaml")).unwrap(), "3");
        let mode = |name: &str| fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("a.yaml"), mode("b.yaml")), (0o640, 0o644));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_link_is_not_replaced_and_nothing_is_left_behind() {
        let folder = folder("link");
        fs::create_dir_all(&folder).unwrap();
        symlink("/nonexistent", folder.join("b.yaml")).unwrap();
        let failed = write(&folder, &[named("a.yaml", "1"), named("b.yaml", "2")]).unwrap_err();
        assert!(failed.to_string().contains("b.yaml is no plain file"), "{failed}");
        assert_eq!(names(&folder), ["b.yaml"]);
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_cannot_all_be_written_replaces_nothing() {
        let folder = folder("partly");
        write(&folder, &[named("a.yaml", "1")]).unwrap();
        // Where the second would be written beside its place there is a folder.
        fs::create_dir(folder.join(format!(".b.yaml.{}", std::process::id()))).unwrap();
        write(&folder, &[named("a.yaml", "2"), named("b.yaml", "2")]).unwrap_err();
        assert_eq!(fs::read_to_string(folder.join("a.yaml")).unwrap(), "1");
        assert_eq!(names(&folder).len(), 2);
        fs::remove_dir_all(folder).unwrap();
    }
}
