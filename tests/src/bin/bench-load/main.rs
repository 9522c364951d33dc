//! The two containers of the bench: one acts, the other answers. Each enters a cgroup and a network namespace of its
//! own, says that it is ready, and does what standard input tells it until that ends.

mod client;

mod server;

use std::{
    fs,
    io::{self, Write as _},
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use nix::{
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    unistd::Pid,
};

/// One of the containers of the bench.
#[derive(Parser)]
struct Arguments {
    /// The cgroup to enter.
    #[arg(long)]
    cgroup: PathBuf,
    /// The only CPU to run on.
    #[arg(long)]
    cpu: Option<usize>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers.
    Serve,
    /// Acts.
    Act {
        /// Who answers.
        server: Ipv4Addr,
    },
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(cpu) = arguments.cpu {
        let mut cpus = CpuSet::new();
        cpus.set(cpu)?;
        sched_setaffinity(Pid::from_raw(0), &cpus).with_context(|| format!("cannot run on CPU {cpu}"))?;
    }
    // Sockets belong to the cgroup in which they are made: first of all.
    enter(&arguments.cgroup)?;
    unshare(CloneFlags::CLONE_NEWNET).context("no network namespace")?;
    match arguments.command {
        Command::Serve => server::run(),
        Command::Act { server } => client::Client::new(server, arguments.cgroup)?.run(),
    }
}

/// Moves this process.
fn enter(cgroup: &Path) -> anyhow::Result<()> {
    let file = cgroup.join("cgroup.procs");
    fs::write(&file, "0").with_context(|| format!("cannot enter {}", cgroup.display()))
}

/// Tells the bench something.
fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
