//! A machine of its own, as far as a test can tell: network and mounts are private, the kernel is shared.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use anyhow::{Context, ensure};

use crate::leftovers;

/// In the environment of everything that runs on a node, so that nothing of it can be overlooked at the end.
pub(crate) const MARK: &str = "COFFERDAM_TEST_NODE";

/// Directories of nodes begin with this, then the id of the process that made them.
pub(crate) const PREFIX: &str = "cofferdam-test-";

/// Makes the namespace livable, says so, and keeps it until the test is gone, however it went.
const HOLD: &str = "mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
    mkdir -p /run/containerd; mount -t tmpfs tmpfs /run/containerd
    ip link set lo up; echo ready; exec cat";

/// A network and a mount namespace, and a directory. Gone with all that runs in it when dropped.
#[derive(Debug)]
pub struct Node {
    directory: PathBuf,
    own_network: bool,
    holder: Child,
}

impl Node {
    /// A node with a network of its own: no test reaches the machine's interfaces, rules or Docker.
    ///
    /// # Errors
    /// When this is not root, or the kernel refuses.
    pub fn start() -> anyhow::Result<Self> {
        Self::with(true)
    }

    /// A node on the machine's network, to watch a Docker that runs there.
    ///
    /// # Errors
    /// As [`Node::start`].
    pub fn on_this_network() -> anyhow::Result<Self> {
        Self::with(false)
    }

    fn with(own_network: bool) -> anyhow::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        ensure!(nix::unistd::geteuid().is_root(), "real containers and hooks need root: run this as root");
        leftovers::sweep_dead_nodes();
        let number = NUMBER.fetch_add(1, Relaxed);
        let directory = env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let mut hold = Command::new("unshare");
        hold.args(["--mount", "--propagation", "private"]);
        if own_network {
            hold.arg("--net");
        }
        hold.args(["sh", "-ec", HOLD]).env(MARK, &directory);
        let mut holder =
            hold.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("cannot start unshare")?;
        let mut said = String::new();
        if let Some(output) = &mut holder.stdout {
            BufReader::new(output).read_line(&mut said)?;
        }
        let node = Self { directory, own_network, holder };
        ensure!(said == "ready\n", "cannot make a namespace for the test");
        Ok(node)
    }

    /// Where everything of this node is kept.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The cgroup below which runtimes put the node's containers, from the root of the hierarchy.
    #[must_use]
    pub fn cgroup(&self) -> String {
        leftovers::cgroup_of(&self.directory)
    }

    /// The slice below which units of the node are, from the root of the hierarchy.
    #[must_use]
    pub fn slice(&self) -> String {
        leftovers::slice_of(&self.cgroup())
    }

    /// Whether the network is the node's own.
    #[must_use]
    pub fn own_network(&self) -> bool {
        self.own_network
    }

    /// A command that will run on this node.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.holder.id().to_string()).arg("--mount");
        if self.own_network {
            command.arg("--net");
        }
        command.arg("--").arg(program).env(MARK, &self.directory).stdin(Stdio::null());
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        leftovers::sweep(&self.directory);
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A program that was built beside this one.
///
/// # Errors
/// When it is not there; the error says how to build it.
pub fn built(name: &str) -> anyhow::Result<PathBuf> {
    if let Some(path) = env::var_os(format!("{}_BIN", name.to_uppercase())) {
        return Ok(path.into());
    }
    let this = env::current_exe()?;
    let package = if name == "cofferdam" { "cofferdam" } else { "cofferdam-tests" };
    // A test binary lies in `deps`, a program beside it.
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: run `cargo build -p {package}`"))
}
