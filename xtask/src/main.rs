//! What cargo cannot say: set-up, test layers, virtual machines, demo. Run it as `cargo xtask`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a tool for the terminal talks to the terminal"
)]

mod shell;

mod setup;

mod demo;

mod bench;

mod layers;

mod parallel;

mod tally;

mod artifacts;

mod fuzz;

mod vm;

#[cfg(test)]
mod tidy;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

/// Builds, tests and shows Cofferdam.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Find or install what the build and the tests need
    Setup,
    /// Start real containers, run traffic, and compare what Cofferdam saw with what was done
    Demo,
    /// Measure what Cofferdam costs, here and where time counts instructions, and write docs/benchmarks.md
    Bench(bench::Arguments),
    /// Run the tests, layer by layer
    Test {
        /// Run this layer only; may be given more than once
        #[arg(long, value_name = "LAYER")]
        only: Vec<layers::Layer>,
        /// Have tests do all that they can that find more the longer they run; takes half an hour more
        #[arg(long)]
        long: bool,
    },
    /// Run the fuzz targets for a while
    Fuzz {
        /// How long each target runs
        #[arg(long, value_name = "N", default_value_t = fuzz::SECONDS)]
        seconds: u32,
        /// Run this target only; may be given more than once
        #[arg(long, value_name = "TARGET")]
        only: Vec<String>,
    },
    /// Run the kernel tests in a virtual machine with another kernel
    Kernel {
        /// Which kernel; both when not given
        #[arg(long, value_name = "VERSION")]
        kernel: Option<vm::image::Kernel>,
        /// Run this program instead of the kernel tests
        #[arg(long, value_name = "PATH")]
        payload: Option<PathBuf>,
    },
    /// Run dist/cofferdam.service under a real systemd in a virtual machine
    Systemd {
        /// Run this daemon instead of the one built here
        #[arg(long, value_name = "PATH")]
        daemon: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Setup => setup::ensure(&setup::Need::OF_TESTS).map(|()| ExitCode::SUCCESS),
        Task::Demo => demo::run(),
        Task::Bench(arguments) => bench::run(&arguments).map(|()| ExitCode::SUCCESS),
        Task::Test { only, long } => layers::run(&only, long),
        Task::Fuzz { seconds, only } => {
            setup::ensure(&[setup::Need::Fuzzing])?;
            fuzz::run(&only, seconds).map(tally::Tally::exit)
        }
        Task::Kernel { kernel, payload } => {
            setup::ensure(&[setup::Need::Build, setup::Need::Networks, setup::Need::VirtualMachine])?;
            let kernels = kernel.map_or_else(|| vm::image::Kernel::ALL.to_vec(), |kernel| vec![kernel]);
            vm::kernel::run(&kernels, payload.as_deref()).map(tally::Tally::exit)
        }
        Task::Systemd { daemon } => {
            setup::ensure(&[setup::Need::Build, setup::Need::VirtualMachine, setup::Need::Systemd])?;
            vm::systemd::run(daemon.as_deref()).map(tally::Tally::exit)
        }
    }
}
