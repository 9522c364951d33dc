//! Pods, made as kubelet makes them: by containerd's CRI plugin.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use k8s_cri::v1::{
    ContainerConfig, ContainerMetadata, CreateContainerRequest, ExecSyncRequest, ImageSpec,
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata, PodSandboxStatusRequest, RemovePodSandboxRequest, RunPodSandboxRequest,
    StartContainerRequest, runtime_service_client::RuntimeServiceClient,
};
use tokio::runtime::Runtime;

use crate::{command::wait_for, containerd::Containerd, podman::Podman};

type Client = RuntimeServiceClient<containerd_client::tonic::transport::Channel>;

/// Seconds that a program in a container of a pod may take.
const EXEC_TIMEOUT: i64 = 20;

/// A running pod. Removed when dropped, with its containers.
#[derive(Debug)]
pub struct Pod {
    /// Outlives it: it is removed through its API.
    _containerd: Arc<Containerd>,
    runtime: Runtime,
    client: Client,
    config: PodSandboxConfig,
    id: String,
}

/// Which network a pod has.
#[derive(Clone, Copy, Debug)]
pub enum Network {
    /// Its own, with addresses of its own.
    Pod,
    /// The node's.
    Node,
}

impl Pod {
    /// Starts a pod of a containerd that was started for kubelet.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn run(containerd: &Arc<Containerd>, network: Network, namespace: &str, name: &str) -> Result<Self> {
        Self::run_with(containerd, network, namespace, name, &[])
    }

    /// [`Pod::run`] with labels of the pod.
    ///
    /// # Errors
    /// As [`Pod::run`].
    pub fn run_with(
        containerd: &Arc<Containerd>,
        network: Network,
        namespace: &str,
        name: &str,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let channel = runtime.block_on(containerd_client::connect(containerd.socket()))?;
        let mut client = Client::new(channel);
        let network = match network {
            Network::Pod => NamespaceMode::Pod,
            Network::Node => NamespaceMode::Node,
        };
        let options = NamespaceOption { network: network.into(), ..NamespaceOption::default() };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                uid: format!("uid-{name}"),
                attempt: 0,
            }),
            labels: {
                let more = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
                labels(namespace, name, None).into_iter().chain(more).collect()
            },
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: containerd.node().cgroup(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(options),
                    ..LinuxSandboxSecurityContext::default()
                }),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        };
        let request =
            RunPodSandboxRequest { config: Some(config.clone()), ..RunPodSandboxRequest::default() };
        let id = runtime.block_on(client.run_pod_sandbox(request))?.into_inner().pod_sandbox_id;
        Ok(Self { _containerd: Arc::clone(containerd), runtime, client, config, id })
    }

    /// Its addresses: of IPv4, then of IPv6. None on the node's network.
    ///
    /// # Errors
    /// When containerd refuses, or tells no address.
    pub fn addresses(&self) -> Result<Vec<IpAddr>> {
        let request = PodSandboxStatusRequest { pod_sandbox_id: self.id.clone(), verbose: false };
        let answer = self.runtime.block_on(self.client.clone().pod_sandbox_status(request))?.into_inner();
        let network = answer.status.and_then(|status| status.network).context("no network")?;
        let more = network.additional_ips.into_iter().map(|more| more.ip);
        let all = std::iter::once(network.ip).chain(more).filter(|address| !address.is_empty());
        let mut all = all.map(|address| Ok(address.parse()?)).collect::<Result<Vec<IpAddr>>>()?;
        all.sort_by_key(IpAddr::is_ipv6);
        Ok(all)
    }

    /// Starts a container in it and, where it serves, waits until it does; its id.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn container(&self, name: &str, program: &[&str]) -> Result<String> {
        let pod = self.config.metadata.clone().context("it has a name")?;
        let config = ContainerConfig {
            metadata: Some(ContainerMetadata { name: name.to_owned(), attempt: 0 }),
            image: Some(ImageSpec { image: Podman::IMAGE.to_owned(), ..ImageSpec::default() }),
            command: program.iter().map(|word| (*word).to_owned()).collect(),
            labels: labels(&pod.namespace, &pod.name, Some(name)),
            ..ContainerConfig::default()
        };
        let request = CreateContainerRequest {
            pod_sandbox_id: self.id.clone(),
            config: Some(config),
            sandbox_config: Some(self.config.clone()),
        };
        let mut client = self.client.clone();
        let id = self.runtime.block_on(client.create_container(request))?.into_inner().container_id;
        let request = StartContainerRequest { container_id: id.clone() };
        self.runtime.block_on(client.start_container(request))?;
        if program.contains(&"serve") {
            wait_for(&format!("the servers of {name}"), Duration::from_secs(20), || {
                self.exec(&id, &["/bin/traffic", "counts"]).ok()
            })?;
        }
        Ok(id)
    }

    /// Runs a program in a container of this id; what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn exec(&self, id: &str, program: &[&str]) -> Result<String> {
        let cmd = program.iter().map(|word| (*word).to_owned()).collect();
        let request = ExecSyncRequest { container_id: id.to_owned(), cmd, timeout: EXEC_TIMEOUT };
        let answer = self.runtime.block_on(self.client.clone().exec_sync(request))?.into_inner();
        ensure!(answer.exit_code == 0, "{program:?}: {}", String::from_utf8_lossy(&answer.stderr));
        Ok(String::from_utf8(answer.stdout)?)
    }

    /// Its id: that of the container which holds its network.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let request = RemovePodSandboxRequest { pod_sandbox_id: self.id.clone() };
        let _ = self.runtime.block_on(self.client.remove_pod_sandbox(request));
    }
}

/// What kubelet puts on all that it makes.
fn labels(namespace: &str, pod: &str, container: Option<&str>) -> HashMap<String, String> {
    let told = [("pod.namespace", Some(namespace)), ("pod.name", Some(pod)), ("container.name", container)];
    told.iter()
        .filter_map(|(key, value)| Some((format!("io.kubernetes.{key}"), (*value)?.to_owned())))
        .collect()
}
