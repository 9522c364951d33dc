//! A machine beyond the host: a network namespace of the test's own, behind a cable to the node.

use std::{
    fs,
    process::{Child, Command},
    time::Duration,
};

use anyhow::Context as _;
use cofferdam_tests::{
    Daemon, Node, Options, built, check,
    command::{run, wait_for},
    counts, edge,
};

use crate::{alone, docker};

/// Holds the namespace; gone with it.
pub(crate) struct Machine(Child);

impl Machine {
    /// Joins it to the node: the node is 198.19.7.1, the machine 198.19.7.2 and 198.19.7.3.
    pub(crate) fn plug_in(node: &Node) -> anyhow::Result<Self> {
        let machine = Self(node.command("unshare").args(["--net", "sleep", "60"]).spawn()?);
        let pid = machine.0.id().to_string();
        let here = fs::read_link("/proc/self/ns/net")?;
        wait_for("a namespace", Duration::from_secs(5), || {
            let command = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            let there = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
            (command.trim() == "sleep" && there != here).then_some(())
        })?;
        let ip = |arguments: &str| run(node.command("ip").args(arguments.split_whitespace()));
        ip(&format!("link add beyond type veth peer name eth0 netns {pid}"))?;
        ip("addr add 198.19.7.1/24 dev beyond")?;
        ip("link set beyond up")?;
        for address in ["198.19.7.2/24", "198.19.7.3/24"] {
            machine.run(node, &format!("ip addr add {address} dev eth0"))?;
        }
        machine.run(node, "ip link set eth0 up")?;
        Ok(machine)
    }

    fn run(&self, node: &Node, line: &str) -> anyhow::Result<String> {
        run(&mut self.command(node, line))
    }

    /// A command line that will run on it.
    pub(crate) fn command(&self, node: &Node, line: &str) -> Command {
        let mut command = node.command("nsenter");
        command.arg("--target").arg(self.0.id().to_string()).args(["--net", "--"]);
        command.args(line.split_whitespace());
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The machine shares our kernel, so that its sockets have a cgroup of this host, and the name of who made them.
#[test]
fn a_client_beyond_the_host_is_shown_with_the_port_that_it_dialled() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("front", &[])?;
    let options = Options::new().on("front").with(&["--publish", "8080:80"]).tcp("80");
    let _web = docker.container("web", &options)?;
    let daemon = Daemon::start(&docker)?;
    let machine = Machine::plug_in(&node)?;
    let traffic = built("traffic")?;
    let traffic = traffic.to_str().context("a path of letters")?;
    let said =
        machine.run(&node, &format!("{traffic} connect 198.19.7.1:8080 --count 3 --send 10 --receive 20"))?;
    let expected = edge("host", "web", "tcp/80 via nat:8080").counted(counts(&said)?);
    check(&daemon, &["web"], &[expected])?;
    Ok(())
}
