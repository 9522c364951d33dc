//! `cofferdam policy`: what can be done with policies. Only `explain` asks the daemon.

mod check;
mod explain;
mod import;

use clap::{Args, Subcommand};

use super::{Client, Failure, output::print_json};
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
    /// Says why some may, or may not, interact with others, as `cofferdam why` does.
    Explain(explain::Arguments),
    /// Makes policies of Kubernetes' NetworkPolicy objects and of Compose files.
    Import(import::Arguments),
    /// Prints the JSON schema of a policy, for editors.
    Schema,
}

pub(super) fn run(arguments: Arguments, client: &Client) -> Result<(), Failure> {
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(arguments, client),
        Command::Import(arguments) => import::run(&arguments),
        Command::Schema => print_json(&document::schema()),
    }
}
