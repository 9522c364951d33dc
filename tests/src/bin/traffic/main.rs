//! Makes and answers traffic inside a container, and counts it to the byte: the oracle of the container tests.
//!
//! A request begins with two numbers of four bytes (big endian): its own length, these numbers included, and the
//! length of the answer. So every byte on the wire is payload that both ends count. A request of length zero is a
//! connection without a byte.

mod act;
mod calls;
mod connect;
mod keep;
mod pass;
mod serve;

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use serde::Serialize;

/// Makes and answers traffic, and counts it.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Answers requests until it is killed.
    Serve(serve::Serve),
    /// Makes requests, then prints what was made.
    Connect(connect::Connect),
    /// Keeps one connection, then prints how it ended.
    Keep(keep::Keep),
    /// Makes system calls whose number is known.
    Calls(calls::Calls),
    /// Plays in a scene: serves, and tries what it is told on standard input.
    Act(act::Act),
    /// Passes on what comes to published ports, until it is killed.
    Pass(pass::Pass),
    /// Prints what the server in the same container has counted.
    Counts {
        /// Where the server answers.
        #[arg(long, default_value = serve::CONTROL)]
        control: PathBuf,
    },
}

/// What one end saw, as JSON.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Counts {
    /// TCP connections accepted or made, and UDP exchanges.
    connections: u64,
    /// Connections or exchanges that did not work.
    failed: u64,
    /// Payload bytes sent.
    bytes_sent: u64,
    /// Payload bytes received.
    bytes_received: u64,
}

/// Length of the two numbers that a request begins with.
const HEAD: usize = 8;

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Serve(serve) => serve.run(),
        Command::Connect(connect) => print(&connect.run()?),
        Command::Keep(keep) => print(&keep.run()?),
        Command::Calls(calls) => {
            calls.run();
            Ok(())
        }
        Command::Act(act) => act.run(),
        Command::Pass(pass) => pass.run(),
        Command::Counts { control } => serve::ask(&control),
    }
}

#[expect(clippy::print_stdout, reason = "printing is this program's answer")]
fn print(answer: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}
