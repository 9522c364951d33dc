//! Cgroups as systemd makes them, and any others: what runs there is no container.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Child, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use cofferdam_common::ids::CgroupId;

use crate::{
    command::{run, wait_for},
    node::{Node, built},
};

/// A cgroup in which programs run on the node's network. It goes with the node.
#[derive(Debug)]
pub struct Unit {
    node: Arc<Node>,
    cgroup: PathBuf,
    server: Option<Child>,
}

impl Unit {
    /// Makes the cgroup at a path below [`Node::slice`] or [`Node::cgroup`]. The empty path is the host's own.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn make(node: &Arc<Node>, path: &str) -> anyhow::Result<Self> {
        let cgroup = cgroup_root()?.join(path.trim_start_matches('/'));
        fs::create_dir_all(&cgroup)?;
        Ok(Self { node: Arc::clone(node), cgroup, server: None })
    }

    /// The kernel's number for the cgroup.
    ///
    /// # Errors
    /// When it is gone.
    pub fn id(&self) -> anyhow::Result<CgroupId> {
        Ok(CgroupId(fs::metadata(&self.cgroup)?.ino()))
    }

    /// Starts `traffic serve` with these arguments, separated by blanks, and waits until it is up.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn serve(&mut self, arguments: &str) -> anyhow::Result<()> {
        let traffic = built("traffic")?.display().to_string();
        let name = self.cgroup.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let control = self.node.directory().join(format!("{name}.sock")).display().to_string();
        let words: Vec<_> = [&traffic, "serve", "--control", &control]
            .into_iter()
            .chain(arguments.split_whitespace())
            .collect();
        self.server = Some(self.command(&words).stdout(Stdio::null()).spawn()?);
        wait_for(&format!("the servers of {name}"), Duration::from_secs(20), || {
            run(self.node.command(&traffic).args(["counts", "--control", &control])).ok()
        })?;
        Ok(())
    }

    /// Runs a program in it to its end; what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        run(&mut self.command(words))
    }

    /// A program that will run in it.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> std::process::Command {
        let mut command = self.node.command("sh");
        let enter = "echo $$ > \"$0\" && exec \"$@\"";
        command.args(["-ec", enter]).arg(self.cgroup.join("cgroup.procs")).args(words);
        command
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = fs::remove_dir(&self.cgroup);
    }
}

/// Where the v2 tree is mounted.
///
/// # Errors
/// When it is not.
pub fn cgroup_root() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    Ok(fields.find(|fields| fields[2] == "cgroup2").context("no cgroup2")?[1].into())
}
