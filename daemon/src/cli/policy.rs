//! `cofferdam policy`: what can be done with policies.

mod apply;
mod candidate;
mod check;
mod coverage;
mod diff;
mod explain;
mod import;
mod learn;
mod shadow;
mod simulate;
mod sources;
mod store;
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
    /// Puts policies into the daemon's folder and in force; with a deadline it goes back by itself unless confirmed.
    Apply(apply::Arguments),
    /// Says what is wrong with policies, and what is suspicious; exit code 3 if anything is wrong.
    Check(check::Arguments),
    /// Confirms policies that are in force for a while only: writes them into the folder.
    Confirm,
    /// Says which traffic no rule explains.
    Coverage(coverage::Arguments),
    /// Says for whom policies change something, against those in force.
    Diff(diff::Arguments),
    /// Says why some may, or may not, interact with others, as `cofferdam why` does.
    Explain(explain::Arguments),
    /// Makes policies of Kubernetes' NetworkPolicy objects and of Compose files.
    Import(import::Arguments),
    /// Writes policies that allow what was seen, and nothing else.
    Learn(learn::Arguments),
    /// Has the daemon read its folder at once.
    Reload,
    /// Takes back policies that are in force for a while only.
    Revert,
    /// Prints the JSON schema of a policy, for editors.
    Schema,
    /// Has policies watched beside those in force, and says what they would have decided of what was seen since.
    Shadow(shadow::Arguments),
    /// Says what policies would have decided of what was seen.
    Simulate(simulate::Arguments),
    /// Tries expectations that lie beside policies (`*.test.yaml`); exit code 1 if one is not met.
    Test(test::Arguments),
}

/// For whom something is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[value(alias = "human")]
    Text,
    /// For machines (docs/policy.md, docs/api.md).
    Json,
}

pub(super) fn run(arguments: Arguments, client: &Client) -> Result<(), Failure> {
    match arguments.command {
        Command::Apply(arguments) => apply::run(&arguments, client),
        Command::Check(arguments) => check::run(&arguments, client),
        Command::Confirm => apply::confirm(client),
        Command::Coverage(arguments) => coverage::run(&arguments, client),
        Command::Diff(arguments) => diff::run(&arguments, client),
        Command::Explain(arguments) => explain::run(arguments, client),
        Command::Import(arguments) => import::run(&arguments),
        Command::Learn(arguments) => learn::run(arguments, client),
        Command::Reload => apply::reload(client),
        Command::Revert => apply::revert(client),
        Command::Schema => print_json(&document::schema()),
        Command::Shadow(arguments) => shadow::run(arguments, client),
        Command::Simulate(arguments) => simulate::run(arguments, client),
        Command::Test(arguments) => test::run(&arguments),
    }
}
