//! How a daemon ends, and who comes in its place.

use std::{collections::BTreeSet, fs, path::Path, process::ExitStatus, thread, time::Duration};

use anyhow::bail;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::Daemon;
use crate::{command::wait_for, docker::Docker};

impl Daemon {
    /// Stops it in order, as systemd does, and says how it ended.
    ///
    /// # Errors
    /// When it does not stop within ten seconds.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.terminate()
    }

    /// [`Daemon::stop`], where another is to be started in its place.
    ///
    /// # Errors
    /// As [`Daemon::stop`].
    pub fn terminate(&mut self) -> anyhow::Result<ExitStatus> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM)?;
        self.ended()
    }

    /// Waits until it has ended, and says how.
    ///
    /// # Errors
    /// When it does not within ten seconds.
    pub fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        wait_for("the daemon to stop", Duration::from_secs(10), || self.child.try_wait().ok().flatten())
    }

    /// Kills it, and nobody starts another.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn die(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Kills it, unless it has ended, and starts another in its place, as systemd does.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn killed_and_started_again(self, docker: &Docker) -> anyhow::Result<Self> {
        let program = self.program.clone();
        self.killed_and_replaced(docker, &program)
    }

    /// [`Daemon::killed_and_started_again`] with a program that may be another.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn killed_and_replaced(mut self, docker: &Docker, program: &Path) -> anyhow::Result<Self> {
        self.die()?;
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        Self::start_in(self.directory.clone(), program, docker.node(), docker.socket(), &arguments)
    }

    /// Starts another in the place of one that has ended, and kills it so long after. Returns whether it was ready by then.
    ///
    /// # Errors
    /// When it cannot be started or killed, or has ended by itself.
    pub fn killed_while_it_starts(&mut self, docker: &Docker, after: Duration) -> anyhow::Result<bool> {
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let (next, ready) =
            Self::spawn(self.directory.clone(), &self.program, docker.node(), docker.socket(), &arguments)?;
        *self = next;
        thread::sleep(after);
        if let Some(status) = self.child.try_wait()? {
            bail!("the daemon ended with {status}: {}", self.log());
        }
        self.die()?;
        let mut message = [0_u8; 4096];
        Ok(ready.recv(&mut message).is_ok())
    }

    /// The kernel's numbers of the programs that it holds.
    ///
    /// # Errors
    /// When it has ended.
    pub fn programs(&self) -> anyhow::Result<BTreeSet<u32>> {
        let mut held = BTreeSet::new();
        for file in fs::read_dir(format!("/proc/{}/fdinfo", self.pid()))? {
            let told = fs::read_to_string(file?.path()).unwrap_or_default();
            let numbers = told.lines().filter_map(|line| line.strip_prefix("prog_id:"));
            held.extend(numbers.filter_map(|number| number.trim().parse::<u32>().ok()));
        }
        Ok(held)
    }

    /// Kills it, as the kernel does when memory is out.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}
