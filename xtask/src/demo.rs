//! The demo: the scene is a program of the tests' harness; here it gets everything it needs.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::{artifacts::Artifacts, setup, shell};

/// Sets up, builds and runs the demo; its exit code is ours.
pub(crate) fn run() -> Result<ExitCode> {
    setup::ensure(&[setup::Need::Build, setup::Need::Containers])?;
    shell::step("building");
    let artifacts = Artifacts::build()?;
    let mut demo = Command::new(artifacts.binary("demo")?);
    let status =
        demo.arg("--daemon").arg(artifacts.binary("cofferdam")?).status().context("cannot run the demo")?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
