//! A machine beyond the node: a network namespace, behind a cable. The node is 198.19.7.1, the machine 198.19.7.2.
//!
//! It shares our kernel, so that its sockets have a cgroup of this host. Peers that have none, as real ones, are made
//! by the program `outside`: a TCP/IP stack of their own on the same cable.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use crate::{
    command::{run, wait_for},
    namespace::Namespace,
    node::{Node, built},
};

/// The machine; gone when dropped, with its peers.
#[derive(Debug)]
pub struct Outside {
    node: Arc<Node>,
    namespace: Namespace,
    peers: Vec<Child>,
}

impl Outside {
    /// Makes the machine and joins it to the node.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn plug_in(node: &Arc<Node>) -> anyhow::Result<Self> {
        let machine = Self { node: Arc::clone(node), namespace: Namespace::make(node)?, peers: Vec::new() };
        let pid = machine.namespace.pid();
        let ip = |arguments: &str| run(node.command("ip").args(arguments.split_whitespace()));
        ip(&format!("link add beyond type veth peer name eth0 netns {pid}"))?;
        ip("addr add 198.19.7.1/24 dev beyond")?;
        ip("link set beyond up")?;
        for line in ["ip addr add 198.19.7.2/24 dev eth0", "ip link set eth0 up"] {
            machine.run(&line.split_whitespace().collect::<Vec<_>>())?;
        }
        Ok(machine)
    }

    /// Runs a program on the machine to its end; what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        run(&mut self.command(words))
    }

    /// Starts a peer that answers at this address of 198.19.7.0/24: to pings, at TCP and at UDP ports.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn serve(&mut self, address: &str, tcp: u16, udp: u16) -> anyhow::Result<()> {
        let (tcp, udp) = (tcp.to_string(), udp.to_string());
        let program = built("outside")?.display().to_string();
        let words = [&program, "serve", address, "--tcp", &tcp, "--udp", &udp];
        let peer = self.command(&words).stdout(Stdio::null()).spawn()?;
        self.peers.push(peer);
        wait_for("the peer outside", Duration::from_secs(10), || {
            run(self.node.command("busybox").args(["arping", "-c", "1", "-w", "1", "-I", "beyond", address]))
                .ok()
        })?;
        Ok(())
    }

    /// A process that is on the machine.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.namespace.pid()
    }

    /// A program that will run on the machine.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> Command {
        self.namespace.command(words)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        for child in &mut self.peers {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
