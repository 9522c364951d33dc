//! A Docker: the node's own, or the one that runs on this machine.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    command::{run, wait_for},
    container::{Container, Options},
    image,
    node::Node,
};

/// On every container and network of a test; its value is the test's process.
const LABEL: &str = "cofferdam.test";

/// A running Docker. What was made through it is removed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Docker(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: Arc<Node>,
    socket: PathBuf,
    image: String,
    /// On every object that is made through this Docker.
    label: String,
    /// The daemon, when it is our own.
    daemon: Option<Child>,
}

impl Docker {
    /// Starts a dockerd of its own on the node; it starts its own containerd. Containers have addresses out of
    /// 198.18.0.0/15, which is for tests (RFC 2544) and routed nowhere.
    ///
    /// # Errors
    /// When it does not come up; the error holds the end of its log.
    pub fn start(node: &Arc<Node>) -> anyhow::Result<Self> {
        Self::start_with(node, "{}")
    }

    /// [`Docker::start`] with settings as in a `daemon.json`.
    ///
    /// # Errors
    /// As [`Docker::start`].
    pub fn start_with(node: &Arc<Node>, json: &str) -> anyhow::Result<Self> {
        let directory = node.directory();
        let (socket, log) = (directory.join("docker.sock"), directory.join("dockerd.log"));
        // A file of its own, so that the machine's /etc/docker/daemon.json is not read.
        let settings = directory.join("daemon.json");
        fs::write(&settings, json)?;
        let mut command = node.command("dockerd");
        command.arg("--config-file").arg(settings);
        command.arg("--data-root").arg(directory.join("docker"));
        command.arg("--exec-root").arg(directory.join("exec"));
        command.arg("--pidfile").arg(directory.join("dockerd.pid"));
        command.arg("--host").arg(format!("unix://{}", socket.display()));
        command.args(["--bip", "198.18.0.1/24", "--default-address-pool", "base=198.18.0.0/15,size=24"]);
        command.args(["--dns", "127.0.0.1", "--log-level", "warn"]);
        let daemon = command.stdout(File::create(&log)?).stderr(File::create(&log)?).spawn()?;
        let docker = Self::new(node, socket, Some(daemon));
        let answers = || run(docker.docker().arg("version")).ok();
        let up = wait_for("dockerd", Duration::from_secs(60), answers);
        if let Err(error) = up {
            bail!("{error}\n{}", fs::read_to_string(log)?);
        }
        image::import(&docker)?;
        Ok(docker)
    }

    /// The Docker that runs on this machine, if there is one.
    ///
    /// # Errors
    /// When it runs and refuses the image.
    pub fn running(node: &Arc<Node>) -> anyhow::Result<Option<Self>> {
        let socket = Path::new("/var/run/docker.sock");
        let docker = Self::new(node, socket.to_owned(), None);
        let answers = socket.exists() && run(docker.docker().arg("version")).is_ok();
        if answers {
            // A demo that was interrupted could not.
            docker.0.remove_all(LABEL)?;
            image::import(&docker)?;
        }
        Ok(answers.then_some(docker))
    }

    fn new(node: &Arc<Node>, socket: PathBuf, daemon: Option<Child>) -> Self {
        let label = format!("{LABEL}={}", std::process::id());
        let image = "cofferdam-test:latest".to_owned();
        Self(Arc::new(Inner { node: node.clone(), socket, image, label, daemon }))
    }

    /// The node that it runs on.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.0.node
    }

    /// Where its API is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.0.socket
    }

    /// The image of all containers: busybox and `traffic`.
    #[must_use]
    pub fn image(&self) -> &str {
        &self.0.image
    }

    /// Docker's client, talking to this Docker.
    #[must_use]
    pub fn docker(&self) -> Command {
        self.0.docker()
    }

    /// Makes a network.
    ///
    /// # Errors
    /// When Docker refuses.
    pub fn network(&self, name: &str, arguments: &[&str]) -> anyhow::Result<()> {
        let mut command = self.docker();
        command.args(["network", "create", "--label", &self.0.label]).args(arguments).arg(name);
        run(&mut command).map(drop)
    }

    /// Joins a container to one more network.
    ///
    /// # Errors
    /// When Docker refuses.
    pub fn join(&self, network: &str, container: &Container) -> anyhow::Result<()> {
        run(self.docker().args(["network", "connect", network, container.name()])).map(drop)
    }

    /// Runs a container to its end and removes it (`docker run --rm`); what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn once(&self, name: &str, options: &Options, program: &[&str]) -> anyhow::Result<String> {
        let mut command = self.docker();
        command.args(["run", "--rm", "--name", name, "--label", &self.0.label]);
        run(command.args(options.arguments()).arg(self.image()).args(program))
    }

    /// Starts a container.
    ///
    /// # Errors
    /// When Docker refuses, or its servers do not come up.
    pub fn container(&self, name: &str, options: &Options) -> anyhow::Result<Container> {
        self.container_of(self.image(), name, options)
    }

    /// Starts a container of an image that has another name.
    ///
    /// # Errors
    /// As [`Docker::container`].
    pub fn container_of(&self, image: &str, name: &str, options: &Options) -> anyhow::Result<Container> {
        let mut command = self.docker();
        command.args(["run", "--detach", "--name", name, "--label", &self.0.label]);
        command.args(options.arguments()).arg(image).args(options.program());
        let id = run(&mut command)?.trim().to_owned();
        let container = Container::new(self.clone(), name, id);
        if options.serves() {
            wait_for(&format!("the servers of {name}"), Duration::from_secs(20), || container.counts().ok())?;
        }
        Ok(container)
    }

    /// How the map calls what dockerd and its proxies do: `host`, or the systemd unit that it runs in.
    ///
    /// # Errors
    /// When its process cannot be looked at.
    pub fn workload(&self) -> anyhow::Result<String> {
        let pid = match &self.0.daemon {
            Some(daemon) => daemon.id().to_string(),
            None => fs::read_to_string("/var/run/docker.pid")?,
        };
        let cgroups = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim()))?;
        let path = cgroups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or_default();
        let unit = path.rsplit('/').find(|part| part.ends_with(".service") || part.ends_with(".scope"));
        Ok(unit.unwrap_or("host").to_owned())
    }

    /// The address of the host on a network: its gateway.
    ///
    /// # Errors
    /// When there is no such network, or it has none.
    pub fn gateway(&self, network: &str) -> anyhow::Result<std::net::IpAddr> {
        let format = "{{(index .IPAM.Config 0).Gateway}}";
        let said = run(self.docker().args(["network", "inspect", "--format", format, network]))?;
        said.trim().parse().with_context(|| format!("network {network} has no gateway"))
    }
}

impl Inner {
    fn docker(&self) -> Command {
        let mut command = self.node.command("docker");
        command.arg("--host").arg(format!("unix://{}", self.socket.display()));
        // The machine's own settings of the client (contexts, proxies) stay out of it.
        command.arg("--config").arg(self.node.directory().join("docker-client"));
        command
    }

    fn remove_all(&self, label: &str) -> anyhow::Result<()> {
        let filter = format!("label={label}");
        for (list, remove) in [
            (["ps", "--all", "--quiet", "--filter"].as_slice(), ["rm", "--force", "--volumes"].as_slice()),
            (&["network", "ls", "--quiet", "--filter"], &["network", "rm"]),
        ] {
            let found = run(self.docker().args(list).arg(&filter))?;
            if !found.trim().is_empty() {
                run(self.docker().args(remove).args(found.lines()))?;
            }
        }
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // What cannot be removed in order is ended with the node.
        let _ = self.remove_all(&self.label);
        if self.daemon.is_none() {
            let _ = run(self.docker().args(["rmi", "--force", &self.image]));
        }
        let Some(daemon) = &mut self.daemon else { return };
        let _ = kill(Pid::from_raw(daemon.id().cast_signed()), Signal::SIGTERM);
        if wait_for("dockerd to stop", Duration::from_secs(15), || daemon.try_wait().ok().flatten()).is_err()
        {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Feeds standard input of `into` from standard output of `from`.
pub(crate) fn pipe(from: &mut Command, into: &mut Command) -> anyhow::Result<()> {
    let mut source = from.stdout(Stdio::piped()).spawn()?;
    let output = source.stdout.take().context("no output to feed")?;
    run(into.stdin(output))?;
    source.wait()?;
    Ok(())
}
