//! `cofferdam run`: the daemon.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use super::Failure;
use crate::{
    pipeline::{self, Config},
    sensor::{
        Options,
        budgets::{Allowance, Allowances},
    },
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
    /// Size of the ring that carries flow records; a power of two, a multiple of the page size.
    #[arg(long, env = "COFFERDAM_FLOW_RING_BYTES", default_value_t = 4 << 20, value_name = "BYTES")]
    flow_ring_bytes: u32,
    /// Rows of the ledger: kept-apart interactions between cgroups.
    #[arg(long, env = "COFFERDAM_LEDGER_ROWS", default_value_t = 16_384, value_name = "ROWS")]
    ledger_rows: u32,
    /// Records of flows, and of processes, that each container or other cgroup may send per second for good; 0 is no
    /// limit.
    #[arg(long, env = "COFFERDAM_RECORDS_PER_SECOND", default_value_t = 20_000, value_name = "RECORDS")]
    records_per_second: u32,
    /// Records of flows that it may send at once after a pause; of processes an eighth of that.
    #[arg(long, env = "COFFERDAM_RECORD_BURST", default_value_t = 8_000, value_name = "RECORDS")]
    record_burst: u32,
}

pub(super) fn run(arguments: Arguments, run_dir: PathBuf) -> Result<(), Failure> {
    let Arguments { listen, docker_socket, flow_ring_bytes, ledger_rows, records_per_second, record_burst } =
        arguments;
    let ordinary = Allowance { per_second: records_per_second, burst: record_burst };
    let allowances = Allowances { ordinary, ..Allowances::default() };
    let sensor = Options { flow_ring_bytes, ledger_rows, allowances, ..Options::default() };
    Ok(pipeline::run(Config { listen, run_dir, docker_socket, sensor })?)
}
