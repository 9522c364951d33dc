//! Policies and expectations out of the files and folders that are named on the command line.

use std::path::{Path, PathBuf};

use crate::{
    config::{self, DEFAULT_POLICIES, Problem},
    policy::folder::{Kind, Set, files},
};

/// Longest file of expectations.
const SIZE_LIMIT: usize = 4 << 20;

/// What lies there.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// All policies.
    pub(super) set: Set,
    /// The texts of expectations, and where they are from.
    pub(super) expectations: Vec<(PathBuf, String)>,
}

/// Reads files and folders as one set. Without any: the daemon's folder, which need not exist.
pub(super) fn load(paths: &[PathBuf]) -> Result<Sources, Problem> {
    let mut sources = Sources::default();
    if paths.is_empty() {
        let folder = Path::new(DEFAULT_POLICIES);
        sources.set = Set::load(folder)?;
        if folder.is_dir() {
            sources.add_expectations(folder)?;
        }
    }
    for path in paths {
        if !path.is_dir() && Kind::of(path) == Some(Kind::Expectations) {
            sources.add_expectation(path)?;
            continue;
        }
        sources.set.add_path(path)?;
        if path.is_dir() {
            sources.add_expectations(path)?;
        }
    }
    Ok(sources)
}

impl Sources {
    fn add_expectations(&mut self, folder: &Path) -> Result<(), Problem> {
        let files = files(folder, Kind::Expectations).map_err(|error| unreadable(folder, &error))?;
        files.iter().try_for_each(|file| self.add_expectation(file))
    }

    fn add_expectation(&mut self, path: &Path) -> Result<(), Problem> {
        let text = config::read(path, SIZE_LIMIT).map_err(|error| unreadable(path, &error))?;
        self.expectations.push((path.to_owned(), text));
        Ok(())
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    Problem::unreadable(path, "expectations", error)
}
