//! The node's own containerd.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    command::{run, wait_for},
    image,
    node::Node,
};

/// A running containerd. What was made with it is removed when it is dropped.
#[derive(Debug)]
pub struct Containerd {
    node: Arc<Node>,
    socket: PathBuf,
    root: PathBuf,
    daemon: Child,
    made: Vec<(String, String)>,
}

impl Containerd {
    /// Starts a containerd with folders of its own on the node.
    ///
    /// # Errors
    /// When it does not come up; the error holds its log.
    pub fn start(node: &Arc<Node>) -> anyhow::Result<Self> {
        Self::start_with(node, "disabled_plugins = ['io.containerd.grpc.v1.cri']\n", "")
    }

    /// Starts a containerd that kubelet could use, with the image `image` in an archive of Docker's format.
    ///
    /// # Errors
    /// As [`Containerd::start`], and when it does not take the image.
    pub fn for_kubelet(node: &Arc<Node>, image: &str, archive: &Path) -> anyhow::Result<Self> {
        let networks = node.directory().join("cni");
        fs::create_dir_all(&networks)?;
        fs::write(networks.join("pods.conflist"), pod_network(&networks))?;
        // Where the plugins remember what they did; the namespaces are in the private state.
        run(node.command("sh").args(["-ec", "mkdir -p /var/lib/cni; mount -t tmpfs tmpfs /var/lib/cni"]))?;
        let plugins = ["/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"];
        let plugins = plugins.into_iter().find(|folder| Path::new(folder).join("bridge").exists());
        // Whoever runs the tests may not lower the score by which the kernel picks victims.
        let settings = format!(
            "[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = '{image}'\nrestrict_oom_score_adj = true\n\
             stream_server_address = '127.0.0.1'\nstream_server_port = '0'\nnetns_mounts_under_state_dir = true\n\
             [plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '{plugins}'\nconf_dir = '{networks}'\n",
            plugins = plugins.context("no CNI plugins: apt-get install containernetworking-plugins")?,
            networks = networks.display(),
        );
        let containerd = Self::start_with(node, "", &settings)?;
        run(containerd.ctr("k8s.io").args(["images", "import"]).arg(archive))?;
        Ok(containerd)
    }

    fn start_with(node: &Arc<Node>, first: &str, last: &str) -> anyhow::Result<Self> {
        let directory = node.directory().join("containerd");
        fs::create_dir_all(&directory)?;
        let (socket, config, log) =
            (node.directory().join("containerd.sock"), directory.join("config.toml"), directory.join("log"));
        // The state is where the daemon looks for it: a private one in the node's mount namespace.
        let text = format!(
            "version = 2\nroot = '{root}'\nstate = '/run/containerd'\n\
             {first}[grpc]\naddress = '{socket}'\n[ttrpc]\naddress = '{socket}.ttrpc'\n\
             [plugins.'io.containerd.internal.v1.opt']\npath = '{root}/opt'\n{last}",
            root = directory.display(),
            socket = socket.display(),
        );
        fs::write(&config, text)?;
        let mut command = node.command("containerd");
        let output = File::create(&log)?;
        command.arg("--config").arg(config).stdout(output.try_clone()?).stderr(output);
        let root = image::root(node)?;
        let containerd =
            Self { node: node.clone(), socket, root, daemon: command.spawn()?, made: Vec::new() };
        let answers = || run(containerd.ctr("default").arg("version")).ok();
        if let Err(error) = wait_for("containerd", Duration::from_secs(30), answers) {
            bail!("{error}\n{}", fs::read_to_string(log)?);
        }
        Ok(containerd)
    }

    /// Where its API is.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The node that it runs on.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Starts a container on the node's network, in the node's cgroup. `arguments` are of `ctr run`.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn container(
        &mut self,
        namespace: &str,
        id: &str,
        arguments: &[&str],
        program: &[&str],
    ) -> anyhow::Result<()> {
        self.made.push((namespace.to_owned(), id.to_owned()));
        run(&mut self.run(namespace, id, &[&["--detach"], arguments].concat(), program)).map(drop)
    }

    /// Waits until the servers of a container are up.
    ///
    /// # Errors
    /// When they are not after 20 seconds.
    pub fn wait_for(&self, namespace: &str, id: &str) -> anyhow::Result<()> {
        let up = || self.exec(namespace, id, &["traffic", "counts"]).ok();
        wait_for(&format!("the servers of {id}"), Duration::from_secs(20), up).map(drop)
    }

    /// Runs a container to its end and removes it.
    ///
    /// # Errors
    /// When it fails.
    pub fn once(&self, id: &str, program: &[&str]) -> anyhow::Result<String> {
        run(&mut self.run("default", id, &["--rm"], program))
    }

    /// Runs a program in a container.
    ///
    /// # Errors
    /// When it fails.
    pub fn exec(&self, namespace: &str, id: &str, program: &[&str]) -> anyhow::Result<String> {
        run(self.ctr(namespace).args(["tasks", "exec", "--exec-id", "exec", id]).args(program))
    }

    /// Gives a container another label, which only the API tells.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn label(&self, namespace: &str, id: &str, label: &str) -> anyhow::Result<()> {
        run(self.ctr(namespace).args(["containers", "label", id, label])).map(drop)
    }

    /// Ends a container and removes it.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn remove(&mut self, namespace: &str, id: &str) -> anyhow::Result<()> {
        self.made.retain(|made| *made != (namespace.to_owned(), id.to_owned()));
        run(self.ctr(namespace).args(["tasks", "delete", "--force", id]))?;
        run(self.ctr(namespace).args(["containers", "delete", id])).map(drop)
    }

    fn run(&self, namespace: &str, id: &str, arguments: &[&str], program: &[&str]) -> Command {
        let mut command = self.ctr(namespace);
        command.args([
            "run",
            "--env",
            "PATH=/bin",
            "--net-host",
            "--cgroup",
            &format!("{}/{id}", self.node.cgroup()),
        ]);
        command.args(arguments).arg("--rootfs").arg(&self.root).arg(id).args(program);
        command
    }

    fn ctr(&self, namespace: &str) -> Command {
        let mut command = self.node.command("ctr");
        command.arg("--address").arg(&self.socket).args(["--namespace", namespace]);
        command
    }
}

/// A bridge for all pods, with addresses of IPv4 and IPv6. Taken addresses are written down below `directory`.
fn pod_network(directory: &Path) -> String {
    let ranges = [
        [serde_json::json!({"subnet": "198.19.16.0/24"})],
        [serde_json::json!({"subnet": "fd00:c0ff:16::/64"})],
    ];
    serde_json::json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": "pods",
            "isGateway": true,
            "isDefaultGateway": true,
            "ipam": {"type": "host-local", "dataDir": directory.join("taken"), "ranges": ranges},
        }],
    })
    .to_string()
}

impl Drop for Containerd {
    fn drop(&mut self) {
        for (namespace, id) in std::mem::take(&mut self.made) {
            let _ = self.remove(&namespace, &id);
        }
        let _ = kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGTERM);
        let ended = || self.daemon.try_wait().ok().flatten();
        if wait_for("containerd to stop", Duration::from_secs(10), ended).is_err() {
            let _ = self.daemon.kill();
            let _ = self.daemon.wait();
        }
    }
}
