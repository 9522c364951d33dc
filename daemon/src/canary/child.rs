//! The daemon's end of a workload's process: starts it in its cgroup, asks it, and ends it. Whatever it does, nobody waits
//! for it longer than it may take.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};

use super::{
    COMMAND,
    wire::{Answer, Ask},
};

/// Longest that an answer may take beside what it was asked to wait for.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A workload's process. It ends when this is dropped.
pub(super) struct Helper {
    process: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
}

impl Helper {
    /// Starts it in a cgroup, and has it make its network namespace.
    ///
    /// # Errors
    /// When it cannot be started, put there, or make one.
    pub(super) fn start(cgroup: &Path) -> anyhow::Result<Self> {
        let mut process = Command::new("/proc/self/exe")
            .arg0("cofferdam")
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run /proc/self/exe")?;
        let (Some(questions), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            bail!("there is no pipe to it");
        };
        // It never says more than it is asked for.
        let (say, answers) = sync_channel(1);
        let mut helper = Self { process, questions, answers };
        thread::Builder::new().name("canary-answers".to_owned()).spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if say.send(line).is_err() {
                    break;
                }
            }
        })?;
        // Before it has a socket, which would be of the cgroup that it was made in.
        let procs = cgroup.join("cgroup.procs");
        fs::write(&procs, helper.pid().to_string())
            .with_context(|| format!("cannot move a process to {}", cgroup.display()))?;
        helper.done(&Ask::Enter)?;
        Ok(helper)
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks something that may wait that long by itself.
    ///
    /// # Errors
    /// When there is no answer, or it says that it failed.
    pub(super) fn ask(&mut self, ask: &Ask, waits: Duration) -> anyhow::Result<Answer> {
        let mut line = serde_json::to_string(ask)?;
        line.push('\n');
        self.questions.write_all(line.as_bytes()).context("the process is gone")?;
        let answer =
            self.answers.recv_timeout(waits + ANSWER_WITHIN).context("the process does not answer")?;
        match serde_json::from_str(&answer)? {
            Answer::Failed(why) => bail!("{why}"),
            answer => Ok(answer),
        }
    }

    /// Asks for something that is only to be done.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub(super) fn done(&mut self, ask: &Ask) -> anyhow::Result<()> {
        match self.ask(ask, Duration::ZERO)? {
            Answer::Done => Ok(()),
            other => bail!("an answer that fits nothing: {other:?}"),
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
