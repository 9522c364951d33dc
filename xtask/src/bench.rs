//! The bench: what measures is a program of the tests' harness; here it gets everything it needs, here and in a
//! virtual machine, and writes its document.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    artifacts::Artifacts,
    setup::{self, Need},
    shell, vm,
};

/// What can be asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Few and short measurements: to see that it works, not what it says
    #[arg(long)]
    quick: bool,
    /// Measure another tool beside, started with this command line; may be given more than once
    #[arg(long, value_name = "NAME=COMMAND")]
    peer: Vec<String>,
    /// Only count instructions, in the virtual machine; the document keeps its other figures
    #[arg(long, conflicts_with_all = ["quick", "peer"])]
    only_count: bool,
    /// Only measure what judging by policies costs: two minutes; the document keeps its other figures
    #[arg(long, conflicts_with_all = ["peer", "only_count"])]
    only_policy: bool,
    /// Count no peers: a minute instead of five, to see what a change of a hook is worth
    #[arg(long, requires = "only_count")]
    without_peers: bool,
    /// Write the document here instead
    #[arg(long, value_name = "PATH")]
    into: Option<PathBuf>,
}

/// Sets up, builds, measures, counts and reports.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::ensure(if arguments.only_policy {
        &[Need::Build]
    } else {
        &[Need::Build, Need::Containers, Need::VirtualMachine, Need::Peers]
    })?;
    shell::step("building, as shipped");
    let artifacts = Artifacts::build_release()?;
    let [bench, daemon, load] = ["bench", "cofferdam", "bench-load"].map(|name| artifacts.binary(name));
    let (bench, daemon, load) = (bench?, daemon?, load?);
    let directory = shell::target().join("bench");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let [measured, counted, policy] =
        ["measured.json", "counted.json", "policy.json"].map(|name| directory.join(name));
    let mut report = Command::new(&bench);
    report.arg("report");

    if !arguments.only_count {
        shell::step("measuring what judging by policies costs");
        let mut command = Command::new(&bench);
        // As the unit has it.
        command.env("MALLOC_TRIM_THRESHOLD_", "131072").arg("policy");
        if arguments.quick {
            command.arg("--quick");
        }
        shell::run(command.arg("--into").arg(&policy))?;
        report.arg("--policy").arg(&policy);
    }
    if !arguments.only_count && !arguments.only_policy {
        shell::step("measuring");
        let mut command = Command::new(&bench);
        command.arg("measure").arg("--daemon").arg(&daemon).arg("--load").arg(&load);
        if arguments.quick {
            command.arg("--quick");
        }
        for peer in &arguments.peer {
            command.args(["--peer", peer]);
        }
        shell::run(command.arg("--into").arg(&measured))?;
    }
    if !arguments.only_policy {
        vm::bench::run(&bench, &daemon, &load, !arguments.without_peers, &counted)?;
        report.arg("--measured").arg(&measured).arg("--counted").arg(&counted);
    }

    let into = arguments.into.clone().unwrap_or_else(|| shell::root().join("docs/benchmarks.md"));
    shell::run(report.arg("--into").arg(&into))?;
    shell::step(&format!("written: {}; raw: {}", into.display(), directory.display()));
    Ok(())
}
