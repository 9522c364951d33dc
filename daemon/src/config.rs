//! The configuration: one YAML file, with the environment and the command line before it.
//!
//! A file is taken as a whole or not at all. The types of the values refuse what is wrong with them, so that a
//! [`Config`] that exists is one that can be used.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

mod snippet;

mod problem;

mod values;

mod alerts;

mod outside;

mod select;

mod options;

mod policies;

mod room;

mod resolvers;

mod show;

mod anomalies;

mod history;

mod in_force;

pub(crate) use self::outside::looks_like_address;
pub use self::{
    alerts::{Address, Alerts, Few, Field, Header, LogFile, Syslog, Template, TokenFile, Webhook},
    anomalies::Anomalies,
    history::History,
    in_force::{InForce, Report},
    options::Given,
    outside::{Cidr, Name, Outside},
    policies::{AtStop, ByDefault, DEFAULT_POLICIES, NeverTold, Policies, Unresolved},
    problem::{Problem, Told},
    resolvers::Resolvers,
    room::{Many, Room},
    select::{Mismatch, Pattern, Selection, Selector},
    show::{Origins, SHIPPED},
    values::{FullPath, Whole},
};
pub(crate) use self::{
    problem::{Cost, mark, nearest, parse, parse_seed},
    select::Wanted,
    snippet::{Gravity, Mark, Text},
};

/// Where the file is unless somebody says otherwise. It need not exist.
pub const DEFAULT_FILE: &str = "/etc/cofferdam/config.yaml";

/// Longest file that is read, in bytes.
const SIZE_LIMIT: usize = 1 << 20;
/// How much its YAML may cost.
const COST: Cost = Cost { nodes: 50_000 };

/// All that the file can say. What it leaves out has its default. docs/config.md and dist/config.yaml explain the keys.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where Prometheus scrapes.
    pub listen: SocketAddr,
    /// Where container runtimes listen.
    pub runtimes: Runtimes,
    /// How much the kernel keeps.
    pub limits: Limits,
    /// Names for networks of peers outside.
    pub outside: Outside,
    /// Whether answers of the DNS are looked at, for the names of peers outside.
    pub dns_names: bool,
    /// Workloads whose system calls are counted.
    pub syscalls: Selection,
    /// Who may interact with whom.
    pub policies: Policies,
    /// Whom alerts are sent to.
    pub alerts: Alerts,
    /// What is called unusual.
    pub anomalies: Anomalies,
    /// What is kept of what has happened.
    pub history: History,
}

/// Where container runtimes are. None need exist.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Runtimes {
    /// Docker's socket.
    pub docker: FullPath,
    /// The socket of the system's Podman.
    pub podman: FullPath,
    /// containerd's socket.
    pub containerd: FullPath,
    /// Docker's data root: names are read there before Docker tells them.
    pub docker_root: FullPath,
    /// The storage of Podman and CRI-O: as for Docker.
    pub storage_root: FullPath,
}

/// How much the kernel keeps.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Rows of the ledger.
    pub ledger_rows: LedgerRows,
    /// Flows that can be open at once.
    pub flows: Flows,
    /// Size of the ring for flow records.
    pub flow_ring_bytes: RingBytes,
    /// Size of the ring for process records.
    pub record_ring_bytes: RingBytes,
    /// Records of flows, and of processes, that each container or other cgroup may send per second; 0 is no limit.
    pub records_per_second: Records,
    /// Records of flows that it may send at once after a pause; of processes an eighth of that.
    pub record_burst: Records,
}

/// How many records.
pub type Records = Whole<0, 1_000_000_000>;

/// How many rows a ledger may have.
pub type LedgerRows = Whole<64, 1_048_576>;

/// How many flows may be open at once.
pub type Flows = Whole<1_024, 4_194_304>;

/// How many bytes a ring may have: at least a page.
pub type RingBytes = Whole<4_096, 1_073_741_824, true>;

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The file that was named; [`DEFAULT_FILE`] if there is one and none was.
    pub file: Option<PathBuf>,
    /// What goes before it.
    pub given: Given,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9_797),
            runtimes: Runtimes::default(),
            limits: Limits::default(),
            outside: Outside::default(),
            dns_names: true,
            syscalls: Selection::default(),
            policies: Policies::default(),
            alerts: Alerts::default(),
            anomalies: Anomalies::default(),
            history: History::default(),
        }
    }
}

impl Default for Runtimes {
    fn default() -> Self {
        let path = |path: &str| FullPath(path.into());
        Self {
            docker: path("/var/run/docker.sock"),
            podman: path("/run/podman/podman.sock"),
            containerd: path("/run/containerd/containerd.sock"),
            docker_root: path("/var/lib/docker"),
            storage_root: path("/var/lib/containers/storage"),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ledger_rows: Whole(16_384),
            flows: Whole(131_072),
            flow_ring_bytes: Whole(4 << 20),
            record_ring_bytes: Whole(1 << 20),
            records_per_second: Whole(20_000),
            record_burst: Whole(8_000),
        }
    }
}

impl Config {
    /// The text of a file, over the defaults; `path` is for the messages.
    ///
    /// # Errors
    /// What is wrong with it; of several problems the first.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Problem> {
        parse(&Text::new(path, text), text, 0, COST)
    }
}

impl Source {
    /// The file's path, whether it exists or not.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or_else(|| Path::new(DEFAULT_FILE))
    }

    /// Reads the file, if there is one, and puts before it what was given. Blocks.
    ///
    /// # Errors
    /// What is wrong with the file. That the default file does not exist is not wrong.
    pub fn load(&self) -> Result<Config, Problem> {
        Ok(self.load_with_origins()?.0)
    }

    /// As [`Self::load`], and where each value comes from.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn load_with_origins(&self) -> Result<(Config, Origins), Problem> {
        let path = self.path();
        let text = match read(path, SIZE_LIMIT) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && self.file.is_none() => String::new(),
            Err(error) => return Err(Problem::unreadable(path, "the configuration", &error)),
        };
        let mut config = Config::parse(path, &text)?;
        self.given.apply(&mut config);
        Ok((config, Origins::new(path, &text, &self.given)))
    }
}

/// The text of a regular file that is not too long: a pipe or a device would keep us waiting.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<String> {
    let refuse = |what: String| io::Error::new(ErrorKind::InvalidData, what);
    if !std::fs::metadata(path)?.is_file() {
        return Err(refuse("it is no file".to_owned()));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(refuse(format!("it is longer than {limit} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes().iter().take(valid).filter(|byte| **byte == b'\n').count() + 1;
        refuse(format!("it is not UTF-8 text (line {line}, byte {valid})"))
    })
}

#[cfg(test)]
mod tests;
