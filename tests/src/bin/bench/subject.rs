//! What is on or off while a workload is measured: Cofferdam, or a peer that does part of its job.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use cofferdam_tests::{Daemon, load::Workload};
use nix::{
    sys::signal::{Signal, kill},
    time::ClockId,
    unistd::Pid,
};

use crate::scene::Scene;

/// What runs already must be seen, what compiles its programs first must have done so.
const SETTLE: Duration = Duration::from_millis(700);
const PEER_SETTLE: Duration = Duration::from_secs(4);

/// What peers of each kind are measured on.
const PROGRAMS: [Workload; 2] = [Workload::Getppid, Workload::ForkExec];
const CONNECTIONS: [Workload; 3] = [Workload::Getppid, Workload::Connect, Workload::ConnectReset];

/// Something to measure with and without.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub(crate) name: String,
    /// What it is measured on.
    pub(crate) workloads: Vec<Workload>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The daemon; `read` when a client prints all events to a file.
    Cofferdam { program: PathBuf, read: bool },
    /// A command line for the shell, whose output goes to a file.
    Peer { command: String },
}

impl Subject {
    /// The daemon as it is deployed.
    pub(crate) fn cofferdam(program: &Path) -> Self {
        let kind = Kind::Cofferdam { program: program.to_owned(), read: false };
        Self { name: "cofferdam".to_owned(), workloads: Workload::ALL.to_vec(), kind }
    }

    /// The daemon, doing as a peer does: each event is written to a file.
    pub(crate) fn cofferdam_written(program: &Path) -> Self {
        let kind = Kind::Cofferdam { program: program.to_owned(), read: true };
        let workloads = vec![Workload::ForkExec, Workload::Connect, Workload::ConnectReset];
        Self { name: "cofferdam, events to a file".to_owned(), workloads, kind }
    }

    pub(crate) fn peer(name: &str, command: &str, workloads: &[Workload]) -> Self {
        let kind = Kind::Peer { command: command.to_owned() };
        Self { name: name.to_owned(), workloads: workloads.to_vec(), kind }
    }

    /// Tools that report what Cofferdam reports too: programs that begin, or connections. The getppid line shows what
    /// they cost those who do neither.
    pub(crate) fn libbpf_tools() -> Vec<Self> {
        vec![
            Self::peer("execsnoop (libbpf-tools)", "/usr/sbin/execsnoop", &PROGRAMS),
            Self::peer("tcplife (libbpf-tools)", "/usr/sbin/tcplife", &CONNECTIONS),
            Self::peer("tcpconnect (libbpf-tools)", "/usr/sbin/tcpconnect", &CONNECTIONS),
            Self::peer("tcpstates (libbpf-tools)", "/usr/sbin/tcpstates", &CONNECTIONS),
        ]
    }

    /// The same from bpftrace, whose compiler is too large for the virtual machine.
    pub(crate) fn bpftrace_scripts() -> Vec<Self> {
        let states = "bpftrace -e 'tracepoint:sock:inet_sock_set_state { printf(\"%d %s %s:%d %s:%d %d %d\\n\", \
                      pid, comm, ntop(args->family, args->saddr), args->sport, ntop(args->family, args->daddr), \
                      args->dport, args->oldstate, args->newstate); }'";
        vec![
            Self::peer("execsnoop.bt (bpftrace)", "/usr/sbin/execsnoop.bt", &PROGRAMS),
            Self::peer("inet_sock_set_state (bpftrace)", states, &CONNECTIONS),
        ]
    }

    /// auditd with a rule for programs and one for connections. Once audit was on, the kernel marks every process
    /// made after that, for ever: only for a machine that is thrown away.
    pub(crate) fn peer_that_marks_processes() -> Self {
        let workloads = [Workload::Getppid, Workload::ForkExec, Workload::Connect, Workload::ConnectReset];
        let rule = "auditctl -a always,exit -F arch=b64 -S execve -S connect";
        let command = format!("sh -c 'mkdir -p /var/log/audit; (sleep 1; {rule}) & exec auditd -n'");
        Self::peer("auditd (execve and connect)", &command, &workloads)
    }

    /// `NAME=COMMAND`, as given on the command line: measured on everything.
    ///
    /// # Errors
    /// When there is no name or no command.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, command)) if !name.is_empty() && !command.is_empty() => {
                Ok(Self::peer(name, command, &Workload::ALL))
            }
            _ => Err("expected NAME=COMMAND".to_owned()),
        }
    }

    /// Starts it, and gives it the time to begin.
    ///
    /// # Errors
    /// When it does not run; the error is what it said.
    pub(crate) fn start(&self, scene: &Scene) -> anyhow::Result<Running> {
        match &self.kind {
            Kind::Cofferdam { program, read } => {
                let daemon = Daemon::start_alone(program, scene.node(), &[])?;
                let mut children = Vec::new();
                if *read {
                    let file = File::create(scene.node().directory().join("events.json"))?;
                    children.push(daemon.client(&["events", "--json"]).stdout(file).spawn()?);
                }
                thread::sleep(SETTLE);
                Ok(Running { daemon: Some(daemon), children })
            }
            Kind::Peer { command } => start_peer(command, scene),
        }
    }
}

fn start_peer(command: &str, scene: &Scene) -> anyhow::Result<Running> {
    let [output, errors] = ["peer.out", "peer.err"].map(|name| scene.node().directory().join(name));
    let mut shell = scene.node().command("sh");
    shell.args(["-c", &format!("exec {command}")]).stdin(Stdio::null());
    let mut child = shell.stdout(File::create(output)?).stderr(File::create(&errors)?).spawn()?;
    thread::sleep(PEER_SETTLE);
    if let Some(status) = child.try_wait()? {
        let said = fs::read_to_string(errors).unwrap_or_default();
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("nothing was said");
        bail!("{status}: {line}");
    }
    Ok(Running { daemon: None, children: vec![child] })
}

/// Something that runs; stopped when it is dropped.
pub(crate) struct Running {
    daemon: Option<Daemon>,
    children: Vec<Child>,
}

impl Running {
    /// The daemon, where it is one.
    pub(crate) fn daemon(&self) -> anyhow::Result<&Daemon> {
        self.daemon.as_ref().context("this is a peer")
    }

    /// CPU time that its processes have used so far: the daemon, and who writes its events down.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let pids = self.daemon.iter().map(Daemon::pid).chain(self.children.iter().map(Child::id));
        let times = pids.map(|pid| -> anyhow::Result<Duration> {
            let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed()))?;
            Ok(clock.now()?.into())
        });
        times.sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Asked first: some detach what they attached only then.
            let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT);
        }
        self.daemon = None;
        for child in &mut self.children {
            for _ in 0..100 {
                if matches!(child.try_wait(), Ok(Some(_))) {
                    break;
                }
                thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        // Programs leave the kernel a moment after their process.
        thread::sleep(Duration::from_millis(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_a_name_and_a_command_that_may_contain_anything() {
        let subject = Subject::parse("mine=/bin/tool --flag=1").unwrap();
        assert_eq!(subject.name, "mine");
        assert_eq!(subject.workloads, Workload::ALL);
        for wrong in ["mine", "=tool", "mine="] {
            assert!(Subject::parse(wrong).is_err(), "{wrong}");
        }
    }
}
