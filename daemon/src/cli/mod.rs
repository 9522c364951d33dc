//! The command line: one file per command. Data goes to stdout, talk to stderr.

mod alerts;
mod baseline;
mod client;
mod completions;
mod config;
mod doctor;
mod events;
mod failure;
#[cfg(test)]
mod hostile;
mod log;
mod man;
mod map;
mod mode;
mod output;
mod policy;
mod ps;
mod run;
mod show;
mod since;
mod status;
mod stop;
mod syscall;
mod why;
mod within;

use std::{io, path::PathBuf};

use clap::{Parser, Subcommand};

use self::{
    client::{Client, question},
    mode::ChosenMode,
};
pub use self::{
    failure::Failure,
    log::log_to_stderr,
    output::{printable, printable_json},
};
use crate::{
    canary,
    sensor::{OFFSETS_COMMAND, offsets},
};

/// Who on this host talks to whom.
///
/// Without a command it says how the daemon is and what to do next.
#[derive(Debug, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Cli {
    /// The directory of the daemon's socket.
    #[arg(
        long,
        global = true,
        env = "COFFERDAM_RUN_DIR",
        default_value = "/run/cofferdam",
        value_name = "DIR"
    )]
    run_dir: PathBuf,
    #[command(subcommand)]
    command: Option<Command>,
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 failed, 2 usage, 3 the configuration or a
policy is broken, 4 no daemon answers, 5 not permitted or the kernel lacks something, 10 with --exit-code: the answer is that
something would be denied or is not covered, 130 interrupted.
RUST_LOG sets what is logged to stderr (as `debug` or `cofferdam=debug`).";

#[derive(Debug, Subcommand)]
enum Command {
    /// Watches this host until it is stopped: the daemon.
    Run(run::Arguments),
    /// Shows events as they happen.
    Events(events::Arguments),
    /// Lists the containers.
    Ps(ps::Arguments),
    /// Shows who talks to whom.
    Map(map::Arguments),
    /// Shows one workload, with all that is known of it.
    Show(show::Arguments),
    /// Lists what is unusual, and takes note that somebody has looked at it.
    Alerts(alerts::Arguments),
    /// Says why some may, or may not, interact with others.
    Why(why::Arguments),
    /// Shows the system calls of the workloads that the configuration selects.
    Syscalls(syscall::Arguments),
    /// Tells what works, what does not, why, and what to do about it.
    Doctor(doctor::Arguments),
    /// Says in a few lines how the daemon is.
    Status(status::Arguments),
    /// Ends the daemon, and has what it enforces stay or end.
    Stop(stop::Arguments),
    /// Prints a script that completes this command line in a shell.
    Completions(completions::Arguments),
    /// Writes the manual pages.
    Man(man::Arguments),
    /// Checks and shows the configuration.
    Config(config::Arguments),
    /// Learns, checks, tests, compares and applies policies.
    Policy(policy::Arguments),
    /// Says what is new against what was seen before.
    Baseline(baseline::Arguments),
    /// Prints where fields of this kernel's structures lie, for the daemon itself.
    #[command(name = OFFSETS_COMMAND, hide = true)]
    KernelOffsets,
    /// Is a workload of the daemon's own, for the daemon itself.
    #[command(name = canary::COMMAND, hide = true)]
    Canary,
}

impl Cli {
    /// What is logged when `RUST_LOG` does not say.
    #[must_use]
    pub fn log_level(&self) -> &'static str {
        if matches!(self.command, Some(Command::Run(_))) { "info" } else { "warn" }
    }

    /// Does what was asked.
    ///
    /// # Errors
    /// What went wrong, with its exit code ([`Failure::code`]).
    pub fn execute(self) -> Result<(), Failure> {
        let client = Client::new(&self.run_dir);
        match self.command {
            None => status::overview(&client),
            Some(Command::Run(arguments)) => run::run(arguments, &self.run_dir),
            Some(Command::Events(arguments)) => events::run(&arguments, &client),
            Some(Command::Ps(arguments)) => ps::run(&arguments, &client),
            Some(Command::Map(arguments)) => map::run(&arguments, &client),
            Some(Command::Show(arguments)) => show::run(&arguments, &client),
            Some(Command::Alerts(arguments)) => alerts::run(arguments, &client),
            Some(Command::Why(arguments)) => why::run(arguments, &client),
            Some(Command::Syscalls(arguments)) => syscall::run(&arguments, &client),
            Some(Command::Doctor(arguments)) => doctor::run(&arguments, &client),
            Some(Command::Status(arguments)) => status::run(&arguments, &client),
            Some(Command::Stop(arguments)) => stop::run(&arguments, &client, &self.run_dir),
            Some(Command::Completions(arguments)) => completions::run(&arguments),
            Some(Command::Man(arguments)) => man::run(&arguments),
            Some(Command::Config(arguments)) => config::run(arguments),
            Some(Command::Policy(arguments)) => policy::run(arguments, &client),
            Some(Command::Baseline(arguments)) => baseline::run(&arguments, &client),
            Some(Command::KernelOffsets) => Ok(offsets::print(&mut io::stdout().lock())?),
            Some(Command::Canary) => Ok(canary::answer(io::stdin().lock(), io::stdout().lock())?),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documentation_shows_the_help_of_every_command() {
        let page = include_str!("../../../docs/cli.md");
        let mut command = Cli::command().term_width(100);
        command.build();
        let names: Vec<_> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
        for name in
            names.iter().filter(|name| !["help", OFFSETS_COMMAND, canary::COMMAND].contains(&name.as_str()))
        {
            let subcommand = command.find_subcommand_mut(name).expect("it is there");
            let arguments: Vec<_> = subcommand.get_arguments().filter_map(|arg| arg.get_long()).collect();
            assert!(page.contains(&format!("## cofferdam {name}")), "docs/cli.md lacks `{name}`");
            for long in arguments.into_iter().filter(|long| *long != "help") {
                assert!(page.contains(&format!("`--{long}")), "docs/cli.md lacks `{name} --{long}`");
            }
        }
    }

    #[test]
    fn the_socket_directory_can_be_given_before_and_after_the_command() {
        for line in [["cofferdam", "--run-dir", "/x", "ps"], ["cofferdam", "ps", "--run-dir", "/x"]] {
            assert_eq!(Cli::try_parse_from(line).expect("it parses").run_dir, PathBuf::from("/x"));
        }
    }
}
