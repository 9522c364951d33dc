//! The process of a workload: it makes its own network namespace, and does there what the daemon asks. It ends when the
//! daemon does, for then nobody asks any more.

use std::{
    io::{BufRead, Write},
    net::IpAddr,
    time::Duration,
};

use anyhow::Context as _;
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{SigSet, Signal},
};

use super::{
    listen::Ears,
    send::send,
    wire::{Answer, Ask},
};
use crate::links::lay;

/// Answers questions, one per line, until there are no more.
///
/// # Errors
/// When they cannot be read, or answers not written.
pub fn answer(asked: impl BufRead, mut answers: impl Write) -> anyhow::Result<()> {
    let mut helper = Helper::default();
    for line in asked.lines() {
        let answer = match serde_json::from_str(&line?) {
            Ok(ask) => helper.answer(ask).unwrap_or_else(|error| Answer::Failed(format!("{error:#}"))),
            Err(error) => Answer::Failed(error.to_string()),
        };
        writeln!(answers, "{}", serde_json::to_string(&answer)?)?;
        answers.flush()?;
    }
    Ok(())
}

#[derive(Default)]
struct Helper {
    interface: String,
    ears: Option<Ears>,
}

impl Helper {
    fn answer(&mut self, ask: Ask) -> anyhow::Result<Answer> {
        Ok(match ask {
            Ask::Enter => {
                enter()?;
                Answer::Done
            }
            Ask::Settle { interface, addresses, neighbours, ports } => {
                let no_ipv6 = settle(&interface, &addresses, &neighbours)?;
                self.ears = Some(Ears::open(&ports, no_ipv6.is_none()).context("cannot listen")?);
                self.interface = interface;
                no_ipv6.map_or(Answer::Done, Answer::WithoutIpv6)
            }
            Ask::Send(shot) => Answer::Sent(send(&shot, &self.interface)),
            Ask::Collect { expected, longest, least } => {
                let ears = self.ears.as_mut().context("nobody listens yet")?;
                let [longest, least] = [longest, least].map(Duration::from_millis);
                Answer::Arrived(ears.collect(&expected, longest, least))
            }
        })
    }
}

/// Goes into a network namespace of its own. Whoever may not make one as it is has a user namespace of its own as well,
/// where it may: so the daemon needs no `CAP_SYS_ADMIN` for it.
fn enter() -> anyhow::Result<()> {
    // Whoever stops the daemon may tell all of its processes. This one ends when the daemon wants no more of it.
    SigSet::from_iter([Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]).thread_block()?;
    unshare(CloneFlags::CLONE_NEWNET)
        .or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET))
        .context("cannot make a network namespace, neither as it is nor with a user namespace")
}

fn settle(
    interface: &str,
    addresses: &[(IpAddr, u8)],
    neighbours: &[(IpAddr, [u8; 6])],
) -> anyhow::Result<Option<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(lay::settle(interface, addresses, neighbours))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_answered_and_the_next_question_is_heard() {
        let asked = "nonsense\n{\"collect\":{\"expected\":[],\"longest\":0,\"least\":0}}\n";
        let mut answers = Vec::new();
        answer(asked.as_bytes(), &mut answers).unwrap();
        let answers: Vec<Answer> = answers
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect();
        let [Answer::Failed(_), Answer::Failed(why)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!(why, "nobody listens yet");
    }
}
