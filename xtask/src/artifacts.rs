//! Builds everything once and tells where it is.

use std::{
    env,
    io::BufReader,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{Artifact, Message};

use crate::{shell, tally::Tally};

/// Longest that one test binary may run, and one that does all that it can.
const LIMIT: Duration = Duration::from_secs(30 * 60);
const LONG_LIMIT: Duration = Duration::from_secs(3 * 60 * 60);

/// Has tests do all that they can that find more the longer they run (`rounds` in tests/src/long.rs).
const LONG: &str = "COFFERDAM_LONG";

/// Whether whoever started this asks for it.
pub(crate) fn is_long() -> bool {
    env::var_os(LONG).is_some_and(|value| value == "1")
}

/// What the build made.
pub(crate) struct Artifacts(Vec<Artifact>);

impl Artifacts {
    /// Builds all binaries and tests of the default members, in one go: with one set of features for all of them,
    /// nothing is compiled twice.
    pub(crate) fn build() -> Result<Self> {
        Self::build_with(shell::cargo())
    }

    /// The same, with a cargo that was given an environment.
    pub(crate) fn build_with(cargo: Command) -> Result<Self> {
        Self::of(cargo, &["--all-targets"])
    }

    /// Builds all binaries as they are shipped.
    pub(crate) fn build_release() -> Result<Self> {
        Self::of(shell::cargo(), &["--release", "--bins"])
    }

    fn of(mut cargo: Command, what: &[&str]) -> Result<Self> {
        let mut child = cargo
            .arg("build")
            .args(what)
            .arg("--message-format=json-render-diagnostics")
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo build")?;
        let output = child.stdout.take().context("cargo's output was not piped")?;
        let mut made = Vec::new();
        for message in Message::parse_stream(BufReader::new(output)) {
            if let Message::CompilerArtifact(artifact) = message.context("cannot read cargo's messages")?
                && artifact.executable.is_some()
            {
                made.push(artifact);
            }
        }
        ensure!(child.wait()?.success(), "the build failed");
        Ok(Self(made))
    }

    /// The path of a binary.
    pub(crate) fn binary(&self, name: &str) -> Result<PathBuf> {
        let found = self.0.iter().find(|a| !a.profile.test && a.target.is_bin() && a.target.name == name);
        let path = found.and_then(|artifact| artifact.executable.as_ref());
        path.map(|path| path.clone().into_std_path_buf())
            .with_context(|| format!("no binary {name} was built"))
    }

    /// The integration test of that name.
    pub(crate) fn test(&self, name: &str) -> Result<TestBinary> {
        let mut tests =
            self.0.iter().filter(|a| a.profile.test && a.target.is_test() && a.target.name == name);
        tests.find_map(TestBinary::of).with_context(|| format!("no test binary {name} was built"))
    }

    /// The tests inside crates: libraries and binaries, xtask's own (the tidy tests) apart.
    pub(crate) fn unit_tests(&self) -> impl Iterator<Item = TestBinary> {
        let inside = |a: &&Artifact| a.profile.test && !a.target.is_test() && a.target.name != "xtask";
        self.0.iter().filter(inside).filter_map(TestBinary::of)
    }

    /// xtask's own tests.
    pub(crate) fn tidy_tests(&self) -> impl Iterator<Item = TestBinary> {
        let own = |a: &&Artifact| a.profile.test && a.target.name == "xtask";
        self.0.iter().filter(own).filter_map(TestBinary::of)
    }
}

/// A program made of tests.
pub(crate) struct TestBinary {
    pub(crate) path: PathBuf,
    directory: PathBuf,
}

impl TestBinary {
    fn of(artifact: &Artifact) -> Option<Self> {
        let path = artifact.executable.clone()?.into_std_path_buf();
        Some(Self { path, directory: artifact.manifest_path.parent()?.to_owned().into_std_path_buf() })
    }

    /// Runs it as cargo would: in its package's directory.
    /// If `long`, tests that find more the longer they run do all that they can.
    pub(crate) fn run(&self, pace: Pace, long: bool) -> Result<Tally> {
        let mut command = Command::new(&self.path);
        command.current_dir(&self.directory).env("CARGO_MANIFEST_DIR", &self.directory);
        if pace == Pace::OneByOne {
            command.env("RUST_TEST_THREADS", "1");
        }
        println!("--- {}", name(&self.path));
        if long {
            return follow(command.env(LONG, "1"), LONG_LIMIT);
        }
        follow(&mut command, LIMIT)
    }
}

/// How the tests of a binary are run.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) enum Pace {
    /// At the same time.
    Together,
    /// One after the other.
    OneByOne,
}

/// Runs tests, shows what they say, and adds up their results.
fn follow(command: &mut Command, limit: Duration) -> Result<Tally> {
    let mut tally = Tally::default();
    let status = shell::stream(command, limit, |line| {
        println!("{line}");
        if let Some(result) = Tally::of_line(line) {
            tally += result;
        }
    })?;
    if status.is_none() {
        println!("killed after {} minutes", limit.as_secs() / 60);
    }
    Ok(tally.ended(status.is_some_and(|status| status.success())))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
