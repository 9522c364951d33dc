//! What Cofferdam costs: `cargo xtask bench` runs this, here and in a virtual machine, and has it write
//! docs/benchmarks.md. docs/benchmarks.md says how it is measured.
#![expect(clippy::print_stdout, reason = "a bench says what it is doing")]

mod scene;

mod subject;

mod pairs;

mod hooks;

mod costs;

mod crowd;

mod counted;

mod policy;

mod results;

mod statistics;

mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use cofferdam_tests::{
    Daemon, Docker, Node, Options,
    load::{RESULT, Workload},
};
use results::{Counted, Judged, Machine, Measured, Memory};
use scene::Scene;
use subject::Subject;

/// Measures what Cofferdam costs.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

#[derive(Subcommand)]
enum Task {
    /// On this machine's kernel, in time.
    Measure(Measure),
    /// In a machine whose time counts instructions.
    Count {
        #[command(flatten)]
        programs: Programs,
        /// Cofferdam alone.
        #[arg(long)]
        without_peers: bool,
    },
    /// What judging by policies costs, on this machine's kernel.
    Policy {
        /// Where to write what was found, as JSON.
        #[arg(long)]
        into: PathBuf,
        /// Few rules, and each measured a few times.
        #[arg(long)]
        quick: bool,
    },
    /// Writes what was found into a document, below its marks; the rest of it stays as it is.
    Report {
        /// What `measure` found.
        #[arg(long)]
        measured: Option<PathBuf>,
        /// What `count` found.
        #[arg(long)]
        counted: Option<PathBuf>,
        /// What `policy` found.
        #[arg(long)]
        policy: Option<PathBuf>,
        /// The document.
        #[arg(long)]
        into: PathBuf,
    },
}

#[derive(Args)]
struct Programs {
    /// The `cofferdam` to measure.
    #[arg(long, value_parser = whole)]
    daemon: PathBuf,
    /// The `bench-load` to measure it with.
    #[arg(long, value_parser = whole)]
    load: PathBuf,
}

#[derive(Args)]
struct Measure {
    #[command(flatten)]
    programs: Programs,
    /// Where to write what was found, as JSON.
    #[arg(long)]
    into: PathBuf,
    /// Few and short measurements: to see that it works, not what it says.
    #[arg(long)]
    quick: bool,
    /// Another tool to measure beside; may be given more than once.
    #[arg(long, value_name = "NAME=COMMAND", value_parser = Subject::parse)]
    peer: Vec<Subject>,
}

/// How much is measured.
struct Effort {
    /// Blocks of Cofferdam, of each peer, and among each crowd.
    blocks: [usize; 3],
    /// How long one measurement shall take.
    piece: Duration,
    /// How long a phase of the daemon's own costs takes, in seconds.
    phase: u64,
    /// Connections for the daemon's CPU.
    connections: u64,
    crowds: &'static [usize],
    /// Real containers beside which memory is measured.
    docker: usize,
    policy: policy::Effort,
}

const WHOLE: Effort = Effort {
    blocks: [21, 9, 7],
    piece: Duration::from_millis(250),
    phase: 10,
    connections: 50_000,
    crowds: &[10, 100, 1000],
    docker: 50,
    policy: policy::Effort {
        rules: &[10, 1_000, 100_000],
        workloads: &[10, 1_000, 10_000],
        runs: 21,
        packets: 100_000,
        changes: 5,
    },
};

const QUICK: Effort = Effort {
    blocks: [3, 1, 1],
    piece: Duration::from_millis(100),
    phase: 2,
    connections: 5000,
    crowds: &[10, 100],
    docker: 3,
    policy: policy::Effort {
        rules: &[10, 1_000],
        workloads: &[10, 1_000],
        runs: 5,
        packets: 10_000,
        changes: 1,
    },
};

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Task::Measure(arguments) => {
            let found = measure(&arguments)?;
            keep(&found, &arguments.into)
        }
        Task::Policy { into, quick } => {
            let effort = if quick { QUICK } else { WHOLE };
            let machine = machine(thread::available_parallelism()?.get(), quick)?;
            keep(&policy::measure(effort.policy, machine, say)?, &into)
        }
        Task::Count { programs, without_peers } => {
            let found = counted::measure(&programs.daemon, &programs.load, !without_peers, say)?;
            println!("{RESULT}{}", serde_json::to_string(&found)?);
            Ok(())
        }
        Task::Report { measured, counted, policy, into } => {
            let measured: Option<Measured> = measured.as_deref().map(read).transpose()?;
            let counted: Option<Counted> = counted.as_deref().map(read).transpose()?;
            let judged: Option<Judged> = policy.as_deref().map(read).transpose()?;
            report::write(&into, measured.as_ref(), counted.as_ref(), judged.as_ref())
        }
    }
}

fn keep(found: &impl serde::Serialize, into: &Path) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(found)?;
    fs::write(into, text).with_context(|| format!("cannot write {}", into.display()))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> anyhow::Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is of another bench", path.display()))
}

fn measure(arguments: &Measure) -> anyhow::Result<Measured> {
    let effort = if arguments.quick { QUICK } else { WHOLE };
    let Programs { daemon, load } = &arguments.programs;
    let cofferdam = Subject::cofferdam(daemon);
    say("two containers");
    // The last CPU is the one that interrupts like least.
    let processors = thread::available_parallelism()?.get();
    let mut scene = Scene::start(load, (processors > 1).then_some(processors - 1))?;
    let counts = pairs::calibrate(&mut scene, effort.piece)?;

    let [blocks, of_peers, of_crowds] = effort.blocks;
    let (mut pairs, _) = pairs::measure(&mut scene, std::slice::from_ref(&cofferdam), &counts, blocks, say)?;
    // Cofferdam again among the peers, doing what they do: in the same run, in turn with them.
    let mut peers = vec![Subject::cofferdam_written(daemon)];
    peers.extend(Subject::libbpf_tools());
    peers.extend(Subject::bpftrace_scripts());
    peers.extend(arguments.peer.iter().cloned());
    let (beside, refused) = pairs::measure(&mut scene, &peers, &counts, of_peers, say)?;
    pairs.extend(beside);

    say("each hook");
    let hooks = {
        let running = cofferdam.start(&scene)?;
        hooks::measure(&mut scene, &running, &Workload::ALL, &counts)?
    };
    say("the daemon's own costs");
    let costs = costs::measure(&mut scene, &cofferdam, effort.connections, effort.phase)?;
    let mut crowds = Vec::new();
    for size in effort.crowds {
        say(&format!("among {size} containers"));
        crowds.push(crowd::measure(&mut scene, &cofferdam, *size, &counts, of_crowds, &effort)?);
    }
    drop(scene);
    say(&format!("beside {} containers of a real Docker", effort.docker));
    let beside_docker = match beside_docker(daemon, effort.docker) {
        Ok(memory) => Some(memory),
        Err(error) => {
            say(&format!("left out: {error:#}"));
            None
        }
    };
    let machine = machine(processors, arguments.quick)?;
    Ok(Measured { machine, pairs, refused, hooks, costs, crowds, beside_docker })
}

/// Memory of the daemon beside real containers that do nothing.
fn beside_docker(daemon: &Path, containers: usize) -> anyhow::Result<results::BesideDocker> {
    let docker = Docker::start(&Arc::new(Node::start()?))?;
    let daemon = Daemon::start_program(daemon, &docker, &[])?;
    for number in 0..containers {
        docker.container(&format!("idle{number}"), &Options::new())?;
    }
    thread::sleep(Duration::from_secs(5));
    let memory: Memory = costs::memory(daemon.pid())?;
    Ok(results::BesideDocker { containers, memory })
}

fn machine(processors: usize, quick: bool) -> anyhow::Result<Machine> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpus.lines().find(|line| line.starts_with("model name"));
    let commit = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()
        .filter(|output| output.status.success());
    Ok(Machine {
        date: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
        commit: commit.map_or_else(
            || "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        ),
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        processor: model
            .and_then(|line| line.split_once(": "))
            .map_or("unknown", |(_, name)| name)
            .to_owned(),
        processors,
        quick,
    })
}

/// The path as others, who are elsewhere, find it.
fn whole(path: &str) -> std::io::Result<PathBuf> {
    fs::canonicalize(path)
}

fn say(what: &str) {
    println!("bench: {what}");
}
