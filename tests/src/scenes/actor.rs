//! Makes those who play act: `traffic act` or `outside act`, which is told what to try, and says what came back and what has
//! arrived. A try is known by its number at both ends.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// What an actor is asked, as a line of JSON.
#[derive(Debug, Deserialize, Serialize)]
pub enum Ask {
    /// Try all this at once. The answer is which were answered.
    Try {
        /// What.
        tries: Vec<Try>,
        /// Milliseconds without any answer after which what is awaited is given up: as long as answers come, a machine is only
        /// slow.
        silence: u64,
        /// Milliseconds that all else gets from then on, when nothing is left to do that could have kept it.
        patience: u64,
    },
    /// Which have arrived since this was asked last?
    Arrived,
}

/// One attempt.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Try {
    /// What is sent: these eight bytes.
    pub number: u64,
    /// To whom. Without a port where there are none.
    pub to: SocketAddr,
    /// As in the IP header; 1 also for ICMPv6.
    pub protocol: u8,
    /// Whether a datagram is sent by a connected socket.
    pub connected: bool,
    /// Whether it shall be answered.
    pub awaited: bool,
}

/// What answers an attempt. It is told from an attempt: raw sockets of servers hear answers as well.
#[must_use]
pub fn answer_to(number: u64) -> u64 {
    !number
}

/// Whether a number is no answer. Those of attempts are small.
#[must_use]
pub fn is_attempt(number: u64) -> bool {
    number < 1 << 63
}

/// Numbers of attempts.
pub type Numbers = Vec<u64>;

/// A program that acts. Ended when dropped.
#[derive(Debug)]
pub struct Actor {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Actor {
    /// Starts it, and waits until its servers are up.
    ///
    /// # Errors
    /// When it cannot be started, or ends.
    pub fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("no actor")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = (input.context("no input")?, BufReader::new(output.context("no output")?));
        let mut actor = Self { child, input, output };
        actor.answer().with_context(|| format!("{command:?}"))?;
        Ok(actor)
    }

    /// Asks something.
    ///
    /// # Errors
    /// When it has ended.
    pub fn ask(&mut self, what: &Ask) -> Result<()> {
        let mut line = serde_json::to_vec(what)?;
        line.push(b'\n');
        self.input.write_all(&line)?;
        Ok(self.input.flush()?)
    }

    /// What it says to that.
    ///
    /// # Errors
    /// When it has ended.
    pub fn answer(&mut self) -> Result<Numbers> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("an actor said {line:?}"))
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
