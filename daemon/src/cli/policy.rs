//! `cofferdam policy`: what can be done with policies. Without a daemon.

mod check;

use clap::{Args, Subcommand};

use super::{Failure, output::print_json};
use crate::policy::document;

/// What to do with them.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what is wrong with policies, and what is suspicious; exit code 3 if anything is wrong.
    Check(check::Arguments),
    /// Prints the JSON schema of a policy, for editors.
    Schema,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Schema => print_json(&document::schema()),
    }
}
