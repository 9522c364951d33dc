//! A container of a test.

use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::{
    command::run,
    docker::Docker,
    node::{Node, built},
};

/// A running container. It is removed with its Docker.
#[derive(Clone, Debug)]
pub struct Container {
    docker: Docker,
    name: String,
    id: String,
}

/// How a container is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    arguments: Vec<String>,
    servers: Vec<String>,
}

/// What one end of the traffic saw.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Counts {
    /// TCP connections made or accepted, and UDP exchanges.
    pub connections: u64,
    /// Those that did not work.
    pub failed: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            failed: self.failed + other.failed,
            bytes_sent: self.bytes_sent + other.bytes_sent,
            bytes_received: self.bytes_received + other.bytes_received,
        }
    }
}

impl Options {
    /// Nothing but the default: no server, Docker's default network.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Arguments of `docker run`.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Who connects as often as he can does not run out of ports.
    #[must_use]
    pub fn many_ports(self) -> Self {
        self.with(&[
            "--sysctl",
            "net.ipv4.ip_local_port_range=1024 65535",
            "--sysctl",
            "net.ipv4.tcp_tw_reuse=1",
        ])
    }

    /// Joins a network.
    #[must_use]
    pub fn on(self, network: &str) -> Self {
        self.with(&["--network", network])
    }

    /// Answers on these TCP ports or addresses, separated by commas.
    #[must_use]
    pub fn tcp(mut self, ports: &str) -> Self {
        self.servers.extend(["--tcp".to_owned(), ports.to_owned()]);
        self
    }

    /// Answers on these UDP ports or addresses, separated by commas.
    #[must_use]
    pub fn udp(mut self, ports: &str) -> Self {
        self.servers.extend(["--udp".to_owned(), ports.to_owned()]);
        self
    }

    /// Ends each connection after one answer; by default the client does.
    #[must_use]
    pub fn closing(mut self) -> Self {
        self.servers.push("--close".to_owned());
        self
    }

    pub(crate) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub(crate) fn serves(&self) -> bool {
        !self.servers.is_empty()
    }

    pub(crate) fn program(&self) -> Vec<String> {
        let mut program = vec!["traffic".to_owned(), "serve".to_owned()];
        program.extend(self.servers.iter().cloned());
        program
    }
}

impl Container {
    pub(crate) fn new(docker: Docker, name: &str, id: String) -> Self {
        Self { docker, name: name.to_owned(), id }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its id, whole.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Runs a program in it.
    ///
    /// # Errors
    /// When the program fails.
    pub fn exec(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(self.docker.docker().args(["exec", &self.name]).args(arguments))
    }

    /// Makes traffic from it: `traffic connect` with these arguments, separated by blanks.
    ///
    /// # Errors
    /// When `traffic` cannot be run; failed connections are counted, not errors.
    pub fn connect(&self, arguments: &str) -> anyhow::Result<Counts> {
        let arguments: Vec<_> =
            ["traffic", "connect"].into_iter().chain(arguments.split_whitespace()).collect();
        counts(&self.exec(&arguments)?)
    }

    /// What its servers have counted.
    ///
    /// # Errors
    /// When it has no servers, or they are not up.
    pub fn counts(&self) -> anyhow::Result<Counts> {
        counts(&self.exec(&["traffic", "counts"])?)
    }

    /// Its IPv4 address on a network.
    ///
    /// # Errors
    /// When it has none.
    pub fn address(&self, network: &str) -> anyhow::Result<IpAddr> {
        self.inspect(&format!("{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}"))
    }

    /// Its IPv6 address on a network.
    ///
    /// # Errors
    /// When it has none.
    pub fn address6(&self, network: &str) -> anyhow::Result<IpAddr> {
        self.inspect(&format!("{{{{(index .NetworkSettings.Networks \"{network}\").GlobalIPv6Address}}}}"))
    }

    /// Its first process, as the host numbers it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> anyhow::Result<u32> {
        self.inspect("{{.State.Pid}}")
    }

    /// The address on the host at which its port is published.
    ///
    /// # Errors
    /// When it is not.
    pub fn published(&self, port: u16) -> anyhow::Result<SocketAddr> {
        let said = run(self.docker.docker().args(["port", &self.name, &port.to_string()]))?;
        said.lines().find_map(|line| line.parse().ok()).with_context(|| format!("{port} is not published"))
    }

    fn inspect<T: FromStr>(&self, format: &str) -> anyhow::Result<T> {
        let said = run(self.docker.docker().args(["inspect", "--format", format, &self.name]))?;
        said.trim().parse().ok().with_context(|| format!("{} has no {format}: {said:?}", self.name))
    }

    /// Stops and removes it at once.
    ///
    /// # Errors
    /// When Docker refuses.
    pub fn remove(self) -> anyhow::Result<()> {
        run(self.docker.docker().args(["rm", "--force", &self.name])).map(drop)
    }
}

/// Makes traffic from the node itself: `traffic connect` with these arguments, separated by blanks.
///
/// # Errors
/// When `traffic` cannot be run.
pub fn connect_from(node: &Node, arguments: &str) -> anyhow::Result<Counts> {
    counts(&run(node.command(built("traffic")?).arg("connect").args(arguments.split_whitespace()))?)
}

/// Reads what `traffic` printed.
///
/// # Errors
/// When it is no such JSON.
pub fn counts(said: &str) -> anyhow::Result<Counts> {
    serde_json::from_str(said).with_context(|| format!("traffic said {said:?}"))
}
