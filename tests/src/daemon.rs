//! A running Cofferdam, asked through its own clients.

mod ends;

use std::{
    fs::{self, File},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, bail};
use cofferdam::interaction::Edge;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{
    command::{output, run, wait_for},
    docker::Docker,
    events::Events,
    node::{Node, built},
};

/// What root may do, as dist/cofferdam.service has it: the daemon is to do with that here as well. But for DAC_OVERRIDE: there
/// its own cgroup is writable, here it is at the root of the tree, which is not.
const POWERS: &str = "+bpf,+perfmon,+net_admin,+sys_ptrace,+dac_read_search,+dac_override";

/// How long the hooks may take to be attached.
const START: Duration = Duration::from_secs(30);

/// How long it may take to read its configuration.
const RELOADED: Duration = Duration::from_secs(10);

/// How long records may be on their way.
const ACCOUNTED: Duration = Duration::from_secs(20);

/// A daemon on a node. Stopped when dropped.
#[derive(Debug)]
pub struct Daemon {
    node: Arc<Node>,
    program: PathBuf,
    directory: PathBuf,
    listen: String,
    child: Child,
    /// As it was started with.
    arguments: Vec<String>,
}

impl Daemon {
    /// Starts the daemon beside a Docker and waits until its hooks are attached.
    ///
    /// # Errors
    /// When it is not built, or ends; the error holds what it said.
    pub fn start(docker: &Docker) -> anyhow::Result<Self> {
        Self::start_with(docker, &[])
    }

    /// [`Daemon::start`] with more arguments of `cofferdam run`.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_with(docker: &Docker, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_program(&built("cofferdam")?, docker, arguments)
    }

    /// [`Daemon::start_with`] for a program that lies elsewhere.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_program(program: &Path, docker: &Docker, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(Self::directory(docker.node())?, program, docker.node(), docker.socket(), arguments)
    }

    /// [`Daemon::start_with`] on a node, where Docker may be absent.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn on(node: &Arc<Node>, arguments: &[&str]) -> anyhow::Result<Self> {
        Self::start_alone(&built("cofferdam")?, node, arguments)
    }

    /// [`Daemon::on`] for a program that lies elsewhere.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_alone(program: &Path, node: &Arc<Node>, arguments: &[&str]) -> anyhow::Result<Self> {
        let directory = Self::directory(node)?;
        let absent = directory.join("docker.sock");
        Self::start_in(directory, program, node, &absent, arguments)
    }

    fn directory(node: &Node) -> anyhow::Result<PathBuf> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let directory = node.directory().join(format!("daemon{}", NUMBER.fetch_add(1, Relaxed)));
        fs::create_dir_all(&directory)?;
        Ok(directory)
    }

    fn start_in(
        directory: PathBuf,
        program: &Path,
        node: &Arc<Node>,
        docker_socket: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<Self> {
        let (mut daemon, ready) = Self::spawn(directory, program, node, docker_socket, arguments)?;
        daemon.wait_until_ready(&ready)?;
        Ok(daemon)
    }

    /// Runs the program, and does not wait until it says at that socket that it is ready.
    fn spawn(
        directory: PathBuf,
        program: &Path,
        node: &Arc<Node>,
        docker_socket: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<(Self, UnixDatagram)> {
        let node = Arc::clone(node);
        let listen = if node.own_network() { "127.0.0.1:9797".to_owned() } else { free_address()? };
        let _ = fs::remove_file(directory.join("notify"));
        let ready = UnixDatagram::bind(directory.join("notify"))?;
        ready.set_nonblocking(true)?;

        let mut command = node.command("setpriv");
        command.arg(format!("--bounding-set=-all,{POWERS}")).arg(program);
        command.arg("run").arg("--run-dir").arg(&directory).args(["--listen", &listen]);
        // The machine's own runtimes stay out of it.
        let own = |name: &str| node.directory().join(name);
        for (option, path) in [
            ("--docker-socket", docker_socket.to_owned()),
            ("--docker-root", own("docker")),
            ("--podman-socket", own("podman.sock")),
            ("--containerd-socket", own("containerd.sock")),
            ("--storage-root", own("storage")),
            ("--history-folder", directory.join("history")),
        ] {
            if !arguments.contains(&option) {
                command.arg(option).arg(path);
            }
        }
        command.args(arguments);
        command.env("NOTIFY_SOCKET", directory.join("notify")).env("NO_COLOR", "1");
        // As dist/cofferdam.service has it.
        command.env("MALLOC_TRIM_THRESHOLD_", "131072");
        let log = File::create(directory.join("log"))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Ok((Self { node, program: program.to_owned(), directory, listen, child, arguments }, ready))
    }

    fn wait_until_ready(&mut self, ready: &UnixDatagram) -> anyhow::Result<()> {
        let mut message = [0_u8; 4096];
        let outcome = wait_for("the daemon to be ready", START, || {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(Err(status));
            }
            let length = ready.recv(&mut message).ok()?;
            String::from_utf8_lossy(&message[..length])
                .lines()
                .any(|line| line == "READY=1")
                .then_some(Ok(()))
        });
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("the daemon ended with {status}: {}", self.log()),
            Err(error) => bail!("{error}; it said: {}", self.log()),
        }
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Its directory at run time.
    #[must_use]
    pub fn run_directory(&self) -> &Path {
        &self.directory
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A client command (`map`, `ps`, ...) that will talk to this daemon.
    #[must_use]
    pub fn client(&self, arguments: &[&str]) -> Command {
        let mut command = self.node.command(&self.program);
        command.args(arguments).arg("--run-dir").arg(&self.directory).env("NO_COLOR", "1");
        command
    }

    /// Runs a client command and returns what it printed.
    ///
    /// # Errors
    /// When the client fails.
    pub fn ask(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(&mut self.client(arguments)).with_context(|| {
            let state = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
            let state = state.lines().find(|line| line.starts_with("State:")).unwrap_or("gone");
            format!("the daemon ({state}) says: {}", self.log())
        })
    }

    /// The map.
    ///
    /// # Errors
    /// When the client fails or prints something else.
    pub fn map(&self) -> anyhow::Result<Vec<Edge>> {
        let said = self.ask(&["map", "--json"])?;
        serde_json::from_str(&said).with_context(|| format!("`map --json` printed {said:.300}"))
    }

    /// The status, as JSON.
    ///
    /// # Errors
    /// When the client fails or prints something else.
    pub fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.ask(&["status", "--json"])?)?)
    }

    /// The containers, as JSON.
    ///
    /// # Errors
    /// When the client fails or prints something else.
    pub fn containers(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.ask(&["ps", "--json"])?)?)
    }

    /// A page of its HTTP server.
    ///
    /// # Errors
    /// When the answer is not 200.
    pub fn page(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("http://{}{path}", self.listen);
        run(self.node.command("busybox").args(["wget", "-q", "-O", "-", &url]))
    }

    /// Sends it SIGHUP: it reads its configuration and its policies again.
    ///
    /// # Errors
    /// When it is gone.
    pub fn hang_up(&self) -> anyhow::Result<()> {
        Ok(kill(Pid::from_raw(self.pid().cast_signed()), Signal::SIGHUP)?)
    }

    /// Has it read its configuration again, and waits until it has.
    ///
    /// # Errors
    /// When it does not take it.
    pub fn reload(&self) -> anyhow::Result<()> {
        let reloads = || self.log().matches("configuration reloaded").count();
        let before = reloads();
        self.hang_up()?;
        wait_for("the configuration to be read", RELOADED, || (reloads() > before).then_some(()))
            .with_context(|| self.log())
    }

    /// One scrape.
    ///
    /// # Errors
    /// When the page cannot be read.
    pub fn metrics(&self) -> anyhow::Result<String> {
        self.page("/metrics")
    }

    /// One scrape that sees itself in order: its own connection opened so long before that every record of it has
    /// passed, and closes after.
    ///
    /// # Errors
    /// When the page cannot be read.
    pub fn settled_metrics(&self) -> anyhow::Result<String> {
        let urls = ["healthz", "metrics"].map(|page| format!("http://{}/{page}", self.listen));
        run(self.node.command("curl").args(["--silent", "--fail", "--rate", "3/s"]).args(urls))
    }

    /// [`sum`] over one scrape.
    ///
    /// # Errors
    /// When the page cannot be read, or there is no such series.
    pub fn metric(&self, name: &str, labels: &[&str]) -> anyhow::Result<u64> {
        sum(&self.metrics()?, name, labels)
    }

    /// What became of the records of a family once issued = shed + lost + delivered: in this order.
    ///
    /// # Errors
    /// When that does not come to hold; with what the counts were.
    pub fn accounted_records(&self, family: &str) -> anyhow::Result<[u64; 4]> {
        let (label, mut last) = (format!("family=\"{family}\""), [0; 4]);
        let law = wait_for("issued = shed + lost + delivered", ACCOUNTED, || {
            let page = self.settled_metrics().ok()?;
            for (count, what) in last.iter_mut().zip(["issued", "shed", "lost", "delivered"]) {
                *count = sum(&page, &format!("cofferdam_records_{what}_total"), &[&label]).ok()?;
            }
            let [issued, rest @ ..] = last;
            (issued == rest.iter().sum::<u64>()).then_some(())
        });
        law.map(|()| last).with_context(|| format!("issued, shed, lost, delivered: {last:?}"))
    }

    /// Where `/metrics` is.
    #[must_use]
    pub fn listen(&self) -> &str {
        &self.listen
    }

    /// Listens to events from now on.
    ///
    /// # Errors
    /// When the client cannot be started.
    pub fn events(&self) -> anyhow::Result<Events> {
        Events::listen(&mut self.client(&["events", "--json"]))
    }

    /// [`Daemon::events`] of one workload, and what is lost of any.
    ///
    /// # Errors
    /// As [`Daemon::events`].
    pub fn events_of(&self, workload: &str) -> anyhow::Result<Events> {
        Events::listen(&mut self.client(&["events", "--json", "--of", workload]))
    }

    /// [`Daemon::events`] of these kinds, separated by commas, and what is lost of any.
    ///
    /// # Errors
    /// As [`Daemon::events`].
    pub fn events_of_kinds(&self, kinds: &str) -> anyhow::Result<Events> {
        Events::listen(&mut self.client(&["events", "--json", "--kind", kinds]))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        if wait_for("", Duration::from_secs(5), || self.child.try_wait().ok().flatten()).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The sum of the series of a metric whose labels contain all of `labels` (`source="web"`).
///
/// # Errors
/// When there is no such series.
pub fn sum(page: &str, name: &str, labels: &[&str]) -> anyhow::Result<u64> {
    let series = page.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let values: Vec<f64> = series.filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect();
    anyhow::ensure!(!values.is_empty(), "no series of {name} with {labels:?} in\n{page}");
    Ok(values.iter().sum::<f64>() as u64)
}

/// An address of this machine that nothing listens on.
fn free_address() -> anyhow::Result<String> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// Runs the daemon where it is expected to refuse; its exit code and what it said.
///
/// # Errors
/// When it cannot be started, or does not end within ten seconds.
pub fn refusal(command: &mut Command) -> anyhow::Result<(Option<i32>, String)> {
    let mut timed = Command::new("timeout");
    timed.args(["--kill-after=2", "10"]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        timed.env(name, value.unwrap_or_default());
    }
    let output = output(&mut timed)?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&said).trim().to_owned()))
}
