//! The node's own Podman, and its service of Docker's API.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use crate::{
    command::{run, wait_for},
    docker::pipe,
    image,
    node::Node,
};

/// A Podman. What was made with it is removed when it is dropped.
#[derive(Debug)]
pub struct Podman {
    node: Arc<Node>,
    socket: PathBuf,
    service: Option<Child>,
}

impl Podman {
    /// A Podman with storage of its own on the node, without a service.
    ///
    /// # Errors
    /// When it does not take the image.
    pub fn new(node: &Arc<Node>) -> anyhow::Result<Self> {
        let socket = node.directory().join("podman.sock");
        let podman = Self { node: node.clone(), socket, service: None };
        // Its locks would else stay behind in /dev/shm, and be those of the machine's own Podman.
        fs::write(podman.settings(), "[engine]\nlock_type = \"file\"\n")?;
        let root = image::root(node)?;
        let mut tar = Command::new("tar");
        pipe(
            tar.arg("-C").arg(&root).args(["-c", "."]),
            podman.podman().args(["import", "--change", "CMD [\"/bin/sleep\", \"1000\"]", "-", Self::IMAGE]),
        )?;
        Ok(podman)
    }

    /// The image of all its containers.
    pub const IMAGE: &str = "localhost/cofferdam-test:latest";

    /// Writes the image into an archive of Docker's format.
    ///
    /// # Errors
    /// When Podman refuses.
    pub fn archive(&self) -> anyhow::Result<PathBuf> {
        let archive = self.node.directory().join("image.tar");
        run(self
            .podman()
            .args(["save", "--format", "docker-archive", "--output"])
            .arg(&archive)
            .arg(Self::IMAGE))?;
        Ok(archive)
    }

    /// Starts the service, as systemd does for whoever connects.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn serve(&mut self) -> anyhow::Result<()> {
        let log = File::create(self.node.directory().join("podman.log"))?;
        let mut service = self.podman();
        service.args(["system", "service", "--time=0"]).arg(format!("unix://{}", self.socket.display()));
        self.service = Some(service.stdout(log.try_clone()?).stderr(log).spawn()?);
        wait_for("Podman's socket", Duration::from_secs(20), || self.socket.exists().then_some(()))
    }

    /// Where its API is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Starts a container on the node's network and waits until it serves; its id. `arguments` are of `podman run`.
    ///
    /// # Errors
    /// When Podman refuses.
    pub fn container(&self, name: &str, arguments: &[&str], program: &[&str]) -> anyhow::Result<String> {
        let mut command = self.run(&["--detach", "--name", name]);
        let said = run(command.args(arguments).arg(Self::IMAGE).args(program))?;
        let up = || run(self.podman().args(["exec", name, "traffic", "counts"])).ok();
        wait_for(&format!("the servers of {name}"), Duration::from_secs(20), up)?;
        Ok(said.trim().to_owned())
    }

    /// Runs a container to its end and removes it.
    ///
    /// # Errors
    /// When it fails.
    pub fn once(&self, name: &str, program: &[&str]) -> anyhow::Result<String> {
        self.once_with(name, &[], program)
    }

    /// [`Podman::once`] with more arguments of `podman run`.
    ///
    /// # Errors
    /// As [`Podman::once`].
    pub fn once_with(&self, name: &str, arguments: &[&str], program: &[&str]) -> anyhow::Result<String> {
        run(self.run(&["--rm", "--name", name]).args(arguments).arg(Self::IMAGE).args(program))
    }

    fn settings(&self) -> PathBuf {
        self.node.directory().join("containers.conf")
    }

    /// Podman's client.
    #[must_use]
    pub fn podman(&self) -> Command {
        let directory = self.node.directory();
        let mut command = self.node.command("podman");
        command.env("CONTAINERS_CONF", self.settings());
        command
            .arg("--root")
            .arg(directory.join("storage"))
            .arg("--runroot")
            .arg(directory.join("storage-run"));
        command.arg("--tmpdir").arg(directory.join("podman-tmp"));
        // crun refuses hybrid hosts.
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", "runc"]);
        command
    }

    /// With limits that whoever runs the tests may set, in a cgroup that goes with the node.
    fn run(&self, arguments: &[&str]) -> Command {
        let mut command = self.podman();
        command.args([
            "run",
            "--network",
            "host",
            "--ulimit",
            "nofile=1024:1024",
            "--ulimit",
            "nproc=1024:1024",
        ]);
        command.arg("--cgroup-parent").arg(self.node.cgroup()).args(arguments);
        command
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        let _ = run(self.podman().args(["rm", "--all", "--force", "--time", "0"]));
        if let Some(service) = &mut self.service {
            let _ = service.kill();
            let _ = service.wait();
        }
    }
}
