//! `cofferdam config`: checks and shows the configuration. Touches neither the kernel nor the daemon.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{
    Failure,
    output::{print, printable, printable_json},
};
use crate::config::{Given, SHIPPED, Source};

/// What to do with it.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what is wrong with a configuration file; exit code 3 if anything is.
    Check {
        /// The file; that of the daemon if none is named.
        #[arg(value_name = "FILE")]
        named: Option<PathBuf>,
        #[command(flatten)]
        file: ConfigFile,
    },
    /// Shows what `cofferdam run` would work with, and where each value comes from.
    Show {
        /// The file that is shipped instead: each key, explained, at its default.
        #[arg(long)]
        default: bool,
        #[command(flatten)]
        settings: Box<Settings>,
    },
}

/// Where the configuration is.
#[derive(Args, Debug)]
struct ConfigFile {
    /// The configuration file. [default: /etc/cofferdam/config.yaml, if there is one]
    #[arg(long, env = "COFFERDAM_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Where the configuration is, and what goes before it.
#[derive(Args, Debug)]
pub(super) struct Settings {
    #[command(flatten)]
    file: ConfigFile,
    #[command(flatten)]
    given: Given,
}

impl Settings {
    pub(super) fn source(self) -> Source {
        Source { file: self.file.config, given: self.given }
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Check { named, file } => {
            let source = Source { file: named.or(file.config), given: Given::default() };
            source.load()?;
            let path = source.path();
            let finding = if path.exists() { "is fine" } else { "does not exist: defaults are in effect" };
            print(&format!("{} {finding}\n", printable(&path.to_string_lossy())))
        }
        Command::Show { default: true, .. } => print(SHIPPED),
        Command::Show { settings, .. } => {
            let (config, origins) = settings.source().load_with_origins()?;
            print(&printable_json(&config.effective(&origins)))
        }
    }
}
