//! `cofferdam policy`: what can be done with policies.

mod check;
mod explain;
mod sources;
mod test;

use clap::{Args, Subcommand, ValueEnum};

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
    /// Prints the JSON schema of a policy, for editors.
    Schema,
    /// Tries expectations that lie beside policies (`*.test.yaml`); exit code 1 if one is not met.
    Test(test::Arguments),
}

/// For whom something is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people.
    #[value(alias = "human")]
    Text,
    /// For machines (docs/policy.md).
    Json,
}

pub(super) fn run(arguments: Arguments, client: &Client) -> Result<(), Failure> {
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Explain(arguments) => explain::run(arguments, client),
        Command::Schema => print_json(&document::schema()),
        Command::Test(arguments) => test::run(&arguments),
    }
}
