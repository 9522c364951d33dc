//! `cofferdam man`: manual pages, made from the command line itself.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{Args, CommandFactory};

use super::{Cli, Failure};

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Where the pages go: `cofferdam.1` and one for each command. It is made if it is not there.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let write = || {
        fs::create_dir_all(directory)?;
        let command = Cli::command().disable_help_subcommand(true);
        clap_mangen::generate_to(command, directory)
    };
    write().with_context(|| format!("cannot write manual pages to {}", directory.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_each_command_and_the_first_one_tells_the_exit_codes() {
        let directory = std::env::temp_dir().join(format!("cofferdam-man-{}", std::process::id()));
        run(&Arguments { directory: directory.clone() }).expect("pages");
        let pages: Vec<_> = fs::read_dir(&directory).expect("a directory").flatten().collect();
        let first = fs::read_to_string(directory.join("cofferdam.1")).expect("a page");
        let events = fs::read_to_string(directory.join("cofferdam-events.1")).expect("a page");
        fs::remove_dir_all(&directory).expect("it goes");
        for command in Cli::command().get_subcommands() {
            let page = format!("cofferdam-{}.1", command.get_name());
            let written = pages.iter().any(|entry| *entry.file_name() == *page);
            assert_eq!(written, !command.is_hide_set(), "{page}: {pages:?}");
        }
        assert!(first.contains("4 no daemon answers"), "{first}");
        assert!(events.contains("follow"), "{events}");
    }
}
