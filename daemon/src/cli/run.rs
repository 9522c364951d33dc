//! `cofferdam run`: the daemon.

use std::path::Path;

use clap::Args;

use super::{Failure, config::Settings};
use crate::pipeline;

/// What can be set.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

pub(super) fn run(arguments: Arguments, run_dir: &Path) -> Result<(), Failure> {
    let source = arguments.settings.source();
    let config = source.load()?;
    Ok(pipeline::run(run_dir, source, &config)?)
}
