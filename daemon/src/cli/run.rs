//! `cofferdam run`: the daemon.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::Failure;
use crate::{
    attribution::runtime::Sockets,
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
    /// Size of the ring that carries flow records; a power of two, a multiple of the page size.
    #[arg(long, env = "COFFERDAM_FLOW_RING_BYTES", default_value_t = 4 << 20, value_name = "BYTES")]
    flow_ring_bytes: u32,
    /// Rows of the ledger: kept-apart interactions between cgroups.
    #[arg(long, env = "COFFERDAM_LEDGER_ROWS", default_value_t = 16_384, value_name = "ROWS")]
    ledger_rows: u32,
}

pub(super) fn run(arguments: Arguments, run_dir: PathBuf) -> Result<(), Failure> {
    let Arguments { listen, docker_socket, podman_socket, flow_ring_bytes, ledger_rows } = arguments;
    let runtimes = Sockets { docker: docker_socket, podman: podman_socket, ..Sockets::default() };
    let sensor = Options { flow_ring_bytes, ledger_rows, ..Options::default() };
    Ok(pipeline::run(Config { listen, run_dir, runtimes, sensor })?)
}
