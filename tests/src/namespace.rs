//! A network namespace on a node, as a container or another machine has one.

use std::{
    fs,
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use crate::{command::wait_for, node::Node};

/// The namespace; gone when dropped, unless somebody is in it.
#[derive(Debug)]
pub struct Namespace {
    node: Arc<Node>,
    holder: Child,
}

impl Namespace {
    /// Makes it, with nothing in it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn make(node: &Arc<Node>) -> anyhow::Result<Self> {
        let holder = node.command("unshare").args(["--net", "sleep", "900"]).spawn()?;
        let namespace = Self { node: Arc::clone(node), holder };
        let here = fs::read_link("/proc/self/ns/net")?;
        wait_for("a namespace", Duration::from_secs(5), || {
            let command = fs::read_to_string(format!("/proc/{}/comm", namespace.pid())).ok()?;
            let there = fs::read_link(format!("/proc/{}/ns/net", namespace.pid())).ok()?;
            (command.trim() == "sleep" && there != here).then_some(())
        })?;
        Ok(namespace)
    }

    /// A process that is in it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.holder.id()
    }

    /// A program that will run in it.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.node.command("nsenter");
        command.args(["--target", &self.pid().to_string(), "--net", "--"]).args(words);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
