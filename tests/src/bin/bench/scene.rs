//! Two containers on a host of their own: one acts, one answers, over veth pairs and a bridge, as Docker joins them.
//!
//! They are namespaces and cgroups with the names that a container runtime gives; no runtime is needed, so that the
//! same scene also runs in a virtual machine.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, anyhow};
use cofferdam::sensor::features;
use cofferdam_tests::{
    Node,
    command::run,
    load::{Done, Order, Workload},
};

/// Cgroups of a bench begin with this, then the id of its process.
const PREFIX: &str = "cofferdam-bench-";

const BRIDGE: &str = "198.18.0.1/24";
const CLIENT: &str = "198.18.0.2";
const SERVER: &str = "198.18.0.3";

/// The containers, ready to act.
pub(crate) struct Scene {
    client: Party,
    _server: Party,
    // After the parties: a cgroup that is occupied cannot be removed.
    cgroups: Cgroups,
    node: Arc<Node>,
}

impl Scene {
    /// Both containers share one CPU where there are several: a wake-up across CPUs of a virtual machine costs more
    /// than what is measured, and another amount each time. The daemon runs where it likes.
    pub(crate) fn start(load: &Path, cpu: Option<usize>) -> anyhow::Result<Self> {
        let node = Arc::new(Node::start()?);
        // In the node's own mount namespace: peers look for their tracepoints here.
        for (what, place) in [("tracefs", "/sys/kernel/tracing"), ("debugfs", "/sys/kernel/debug")] {
            let script = format!("grep -q ' {place} ' /proc/mounts || mount -t {what} {what} {place}");
            run(node.command("sh").args(["-c", &script]))?;
        }
        let cgroups = Cgroups::make()?;
        ip(&node, "link add bridge0 type bridge")?;
        ip(&node, &format!("addr add {BRIDGE} dev bridge0"))?;
        ip(&node, "link set bridge0 up")?;
        let server = Party::start(&node, load, &cgroups.container(1)?, cpu, &["serve"])?;
        server.join(&node, SERVER)?;
        let client = Party::start(&node, load, &cgroups.container(0)?, cpu, &["act", SERVER])?;
        client.join(&node, CLIENT)?;
        let mut scene = Self { client, _server: server, cgroups, node };
        // Neighbours are found, caches are warm.
        for workload in Workload::ALL {
            scene.run(workload, workload.few().min(1000))?;
        }
        Ok(scene)
    }

    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Has the client do something, and waits until it is done.
    pub(crate) fn order(&mut self, order: &Order) -> anyhow::Result<Done> {
        self.client.order(order)
    }

    /// [`Order::Run`].
    pub(crate) fn run(&mut self, workload: Workload, count: u64) -> anyhow::Result<Done> {
        self.order(&Order::Run { workload, count })
    }

    /// More containers: cgroups, as many as these, with nobody in them until the client visits.
    pub(crate) fn crowd(&self, size: usize) -> anyhow::Result<Vec<PathBuf>> {
        (0..size).map(|number| self.cgroups.container(2 + number)).collect()
    }

    /// Removes what [`Scene::crowd`] has made.
    pub(crate) fn disperse(&self, crowd: &[PathBuf]) {
        for cgroup in crowd {
            remove(cgroup);
        }
    }
}

/// A container with the program in it.
struct Party {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Party {
    fn start(
        node: &Node,
        load: &Path,
        cgroup: &Path,
        cpu: Option<usize>,
        role: &[&str],
    ) -> anyhow::Result<Self> {
        let mut command = node.command(load);
        command.arg("--cgroup").arg(cgroup);
        if let Some(cpu) = cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        let mut child = command.args(role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        let mut party = Self { child, input, output };
        let line = party.line().with_context(|| format!("{role:?} does not start"))?;
        anyhow::ensure!(line == "ready", "{role:?} said {line:?}");
        Ok(party)
    }

    /// Joins its namespace to the bridge.
    fn join(&self, node: &Node, address: &str) -> anyhow::Result<()> {
        let (pid, last) = (self.child.id(), address.rsplit('.').next().unwrap_or_default());
        ip(node, &format!("link add veth{last} type veth peer name eth0 netns {pid}"))?;
        ip(node, &format!("link set veth{last} master bridge0 up"))?;
        for command in ["link set lo up", &format!("addr add {address}/24 dev eth0"), "link set eth0 up"] {
            let mut inside = node.command("nsenter");
            inside.args(["--target", &pid.to_string(), "--net", "--", "ip"]).args(command.split(' '));
            run(&mut inside)?;
        }
        Ok(())
    }

    fn order(&mut self, order: &Order) -> anyhow::Result<Done> {
        let input = self.input.as_mut().context("it takes no orders any more")?;
        writeln!(input, "{}", serde_json::to_string(order)?)?;
        let said: Result<Done, String> = serde_json::from_str(&self.line()?)?;
        said.map_err(|error| anyhow!("{error}"))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        anyhow::ensure!(self.output.read_line(&mut line)? > 0, "the container has ended");
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        // It ends with its input; a client that is stuck is killed with the node.
        self.input = None;
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The cgroup below which all containers of the bench are.
pub(crate) struct Cgroups(PathBuf);

impl Cgroups {
    pub(crate) fn make() -> anyhow::Result<Self> {
        let root = features::detect().cgroup_root.context("no cgroup v2 tree")?;
        remove_dead(&root);
        let own = root.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&own).with_context(|| format!("cannot make {}", own.display()))?;
        Ok(Self(own))
    }

    pub(crate) fn container(&self, number: usize) -> anyhow::Result<PathBuf> {
        let path = self.0.join(format!("docker-{number:064x}.scope"));
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        remove_tree(&self.0);
    }
}

/// What killed benches left.
fn remove_dead(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
            remove_tree(&entry.path());
        }
    }
}

fn remove_tree(cgroup: &Path) {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    remove(cgroup);
}

/// A process that has just ended may still be in it.
fn remove(cgroup: &Path) {
    for _ in 0..20 {
        if fs::remove_dir(cgroup).is_ok() || !cgroup.exists() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn ip(node: &Node, arguments: &str) -> anyhow::Result<()> {
    run(node.command("ip").args(arguments.split(' '))).map(drop)
}
