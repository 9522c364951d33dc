//! `cofferdam run`: the daemon.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::Failure;
use crate::{
    attribution::runtime::{Sockets, oci::Roots},
    pipeline::{self, Config},
    sensor::Options,
};

/// What can be set.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Where /metrics, /healthz and /readyz are served.
    #[arg(long, env = "COFFERDAM_LISTEN", default_value = "127.0.0.1:9797", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Docker's socket. It need not exist.
    #[arg(
        long,
        env = "COFFERDAM_DOCKER_SOCKET",
        default_value = "/var/run/docker.sock",
        value_name = "PATH"
    )]
    docker_socket: PathBuf,
    /// The socket of the system's Podman. It need not exist.
    #[arg(
        long,
        env = "COFFERDAM_PODMAN_SOCKET",
        default_value = "/run/podman/podman.sock",
        value_name = "PATH"
    )]
    podman_socket: PathBuf,
    /// containerd's socket. It need not exist.
    #[arg(
        long,
        env = "COFFERDAM_CONTAINERD_SOCKET",
        default_value = "/run/containerd/containerd.sock",
        value_name = "PATH"
    )]
    containerd_socket: PathBuf,
    /// Docker's data root: names are read there before Docker tells them.
    #[arg(long, env = "COFFERDAM_DOCKER_ROOT", default_value = "/var/lib/docker", value_name = "DIR")]
    docker_root: PathBuf,
    /// Podman's and CRI-O's storage: as for Docker.
    #[arg(
        long,
        env = "COFFERDAM_STORAGE_ROOT",
        default_value = "/var/lib/containers/storage",
        value_name = "DIR"
    )]
    storage_root: PathBuf,
    /// Size of the ring that carries flow records; a power of two, a multiple of the page size.
    #[arg(long, env = "COFFERDAM_FLOW_RING_BYTES", default_value_t = 4 << 20, value_name = "BYTES")]
    flow_ring_bytes: u32,
    /// Rows of the ledger: kept-apart interactions between cgroups.
    #[arg(long, env = "COFFERDAM_LEDGER_ROWS", default_value_t = 16_384, value_name = "ROWS")]
    ledger_rows: u32,
}

pub(super) fn run(arguments: Arguments, run_dir: PathBuf) -> Result<(), Failure> {
    let Arguments {
        listen,
        docker_socket,
        podman_socket,
        containerd_socket,
        docker_root,
        storage_root,
        flow_ring_bytes,
        ledger_rows,
    } = arguments;
    let runtimes = Sockets {
        docker: docker_socket,
        podman: podman_socket,
        containerd: containerd_socket,
        ..Sockets::default()
    };
    let roots = Roots { docker: docker_root, storage: storage_root, ..Roots::default() };
    let sensor = Options { flow_ring_bytes, ledger_rows, ..Options::default() };
    Ok(pipeline::run(Config { listen, run_dir, runtimes, roots, sensor })?)
}
