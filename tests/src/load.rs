//! What the bench measures, and how its parts speak of it: one JSON object per line each way.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Something that programs do all the time.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// A system call that nothing asked about.
    Getppid,
    /// A file is opened, read and closed.
    OpenReadClose,
    /// A program is run to its end.
    ForkExec,
    /// A TCP connection is made, and ended in order by both sides.
    Connect,
    /// A TCP connection is made, one byte passes, and it is reset.
    ConnectReset,
    /// Request and reply of 64 bytes on a TCP connection that stays.
    TcpExchange,
    /// Request and reply of 64 bytes over UDP.
    UdpExchange,
    /// 64 KiB over a TCP connection that stays.
    Bulk,
}

impl Workload {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 8] = [
        Self::Getppid,
        Self::OpenReadClose,
        Self::ForkExec,
        Self::Connect,
        Self::ConnectReset,
        Self::TcpExchange,
        Self::UdpExchange,
        Self::Bulk,
    ];

    /// How many make a measurement whose length can be told, on a slow machine too.
    #[must_use]
    pub const fn few(self) -> u64 {
        match self {
            Self::Getppid => 50_000,
            Self::OpenReadClose => 10_000,
            Self::ForkExec => 100,
            Self::Connect | Self::ConnectReset => 1000,
            Self::TcpExchange | Self::UdpExchange => 3000,
            Self::Bulk => 1000,
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Getppid => "getppid",
            Self::OpenReadClose => "open + read + close",
            Self::ForkExec => "fork + exec",
            Self::Connect => "TCP connect + close",
            Self::ConnectReset => "TCP connect + byte + reset",
            Self::TcpExchange => "TCP request + reply",
            Self::UdpExchange => "UDP request + reply",
            Self::Bulk => "bulk TCP, 64 KiB",
        })
    }
}

/// What the bench tells its client container to do.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// So many times, as fast as it goes.
    Run {
        /// What.
        workload: Workload,
        /// How often.
        count: u64,
    },
    /// Connections at a steady rate.
    Pace {
        /// Connections per second.
        per_second: u64,
        /// For how long.
        seconds: u64,
    },
    /// One connection from each of these cgroups.
    Visit {
        /// Where they are.
        cgroups: Vec<PathBuf>,
    },
}

/// What came of an order.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Done {
    /// How often it was done.
    pub count: u64,
    /// How long that took, preparations apart.
    pub nanoseconds: u64,
}

/// Where the server container answers each workload.
pub mod port {
    /// Accepts, and closes at once.
    pub const CLOSE: u16 = 7001;
    /// Accepts, sends one byte, and waits for the end.
    pub const BYTE: u16 = 7002;
    /// Sends back what it got, 64 bytes at a time; TCP and UDP.
    pub const ECHO: u16 = 7003;
    /// Takes all, and confirms the end with one byte.
    pub const SINK: u16 = 7004;
}

/// Bytes of a request and of a reply.
pub const MESSAGE: usize = 64;

/// Bytes of one write of [`Workload::Bulk`].
pub const CHUNK: usize = 64 * 1024;

/// Begins the line in which `bench count` prints what it found.
pub const RESULT: &str = "bench result: ";
