//! Cofferdam at work, in under a minute: real containers talk, the daemon watches, and the map is compared with what
//! was done. Ends with an error when an edge is missing or wrong.
#![expect(clippy::print_stdout, reason = "the demo is what it prints")]

mod shop;

use std::{
    path::PathBuf,
    process::{ExitCode, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use cofferdam::interaction::Edge;
use cofferdam_tests::{
    Daemon, Docker, Node,
    edges::{Expected, name, of},
};
use shop::Shop;

/// Shows Cofferdam on real containers, and checks what it says.
#[derive(Parser)]
struct Arguments {
    /// The `cofferdam` to show; by default the one beside this program.
    #[arg(long)]
    daemon: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let arguments = Arguments::parse();
    let docker = docker()?;
    let daemon = match &arguments.daemon {
        Some(program) => Daemon::start_program(program, &docker, &[])?,
        None => Daemon::start(&docker)?,
    };
    say("Cofferdam watches: no agent in the containers, no change to them, no configuration");

    say("a shop opens: seven containers on three networks; live events (cofferdam events):");
    let mut events =
        daemon.client(&["events", "--of", "demo", "--kind", "flow_close,process_exec"]).spawn()?;
    thread::sleep(Duration::from_millis(300));
    let shop = Shop::open(&docker)?;
    let expected = shop.trade()?;
    thread::sleep(Duration::from_secs(1));
    events.kill()?;
    events.wait()?;

    for arguments in [["map"].as_slice(), &["ps"], &[]] {
        say(&["cofferdam", &arguments.join(" ")].join(" "));
        daemon.client(arguments).stdin(Stdio::null()).status()?;
    }

    say("what it saw, against what was done:");
    let map = daemon.map()?;
    let wrong = compare(&of(&shop.names(), &map), &expected);
    drop((daemon, shop, docker));
    println!();
    if wrong == 0 {
        println!(
            "All {} edges are right, to the byte. {:.0} s; all is cleaned up.",
            expected.len(),
            begun.elapsed().as_secs_f64()
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{wrong} of the edges are missing, wrong or too much.");
    Ok(ExitCode::FAILURE)
}

/// The Docker that runs here, or one that is started for the demo.
fn docker() -> anyhow::Result<Docker> {
    let node = Arc::new(Node::on_this_network()?);
    if let Some(docker) = Docker::running(&node)? {
        say("using the Docker that runs on this machine");
        return Ok(docker);
    }
    say("no Docker runs on this machine: starting one for the demo, in a network of its own");
    Docker::start(&Arc::new(Node::start()?))
}

/// Prints one line per edge and returns how many are not as they should be.
fn compare(edges: &[&Edge], expected: &[Expected]) -> usize {
    let mut wrong = 0;
    for one in expected {
        let found = edges.iter().find(|edge| name(edge) == one.to_string());
        let complaints = found.map_or_else(|| vec!["missing".to_owned()], |edge| one.wrong(edge));
        if complaints.is_empty() {
            println!("  ✔ {one}{}", found.map(|edge| figures(edge)).unwrap_or_default());
        } else {
            wrong += 1;
            println!("  ✖ {one}: {}", complaints.join(", "));
        }
    }
    for edge in edges.iter().filter(|edge| expected.iter().all(|one| name(edge) != one.to_string())) {
        wrong += 1;
        println!("  ✖ {}: nobody did that", name(edge));
    }
    wrong
}

fn figures(edge: &Edge) -> String {
    format!(
        ": {} of {} opened, {} B sent, {} B received",
        edge.flows, edge.attempts, edge.bytes_sent, edge.bytes_received
    )
}

fn say(line: &str) {
    println!("\n\u{25b8} {line}");
}
