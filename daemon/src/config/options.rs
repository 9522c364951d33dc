//! Options of `cofferdam run` and their variables: each goes before a key of the file.

use std::net::SocketAddr;

use clap::{ArgMatches, Args, Command, Error, FromArgMatches, parser::ValueSource};

use super::{Config, Flows, FullPath, LedgerRows, Records, RingBytes};

/// What was set on the command line and in the environment, and by which of them.
#[derive(Clone, Debug, Default)]
pub struct Given {
    options: Options,
    /// Option or variable, by key.
    origins: Vec<(&'static str, String)>,
}

/// What can be set there.
#[derive(Args, Clone, Debug, Default)]
struct Options {
    /// Where /metrics, /healthz and /readyz are served. [default: 127.0.0.1:9797]
    #[arg(long, env = "COFFERDAM_LISTEN", value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Docker's socket. It need not exist. [default: /var/run/docker.sock]
    #[arg(long, env = "COFFERDAM_DOCKER_SOCKET", value_name = "PATH")]
    docker_socket: Option<FullPath>,
    /// The socket of the system's Podman. It need not exist. [default: /run/podman/podman.sock]
    #[arg(long, env = "COFFERDAM_PODMAN_SOCKET", value_name = "PATH")]
    podman_socket: Option<FullPath>,
    /// containerd's socket. It need not exist. [default: /run/containerd/containerd.sock]
    #[arg(long, env = "COFFERDAM_CONTAINERD_SOCKET", value_name = "PATH")]
    containerd_socket: Option<FullPath>,
    /// Docker's data root: names are read there before Docker tells them. [default: /var/lib/docker]
    #[arg(long, env = "COFFERDAM_DOCKER_ROOT", value_name = "DIR")]
    docker_root: Option<FullPath>,
    /// The storage of Podman and CRI-O: as for Docker. [default: /var/lib/containers/storage]
    #[arg(long, env = "COFFERDAM_STORAGE_ROOT", value_name = "DIR")]
    storage_root: Option<FullPath>,
    /// Rows of the ledger: kept-apart interactions between cgroups. [default: 16384]
    #[arg(long, env = "COFFERDAM_LEDGER_ROWS", value_name = "ROWS")]
    ledger_rows: Option<LedgerRows>,
    /// Flows that can be open at once. [default: 131072]
    #[arg(long, env = "COFFERDAM_FLOWS", value_name = "FLOWS")]
    flows: Option<Flows>,
    /// Size of the ring that carries flow records; a power of two. [default: 4194304]
    #[arg(long, env = "COFFERDAM_FLOW_RING_BYTES", value_name = "BYTES")]
    flow_ring_bytes: Option<RingBytes>,
    /// Size of the ring that carries records of processes; a power of two. [default: 1048576]
    #[arg(long, env = "COFFERDAM_RECORD_RING_BYTES", value_name = "BYTES")]
    record_ring_bytes: Option<RingBytes>,
    /// Records of flows, and of processes, that each container or other cgroup may send per second for good; 0 is no
    /// limit. [default: 20000]
    #[arg(long, env = "COFFERDAM_RECORDS_PER_SECOND", value_name = "RECORDS")]
    records_per_second: Option<Records>,
    /// Records of flows that it may send at once after a pause; of processes an eighth of that. [default: 8000]
    #[arg(long, env = "COFFERDAM_RECORD_BURST", value_name = "RECORDS")]
    record_burst: Option<Records>,
    /// Whether answers of the DNS are looked at, for the names of peers outside. [default: true]
    #[arg(long, env = "COFFERDAM_DNS_NAMES", value_name = "BOOL")]
    dns_names: Option<bool>,
    /// The folder of the history. It is made where it does not exist. [default: /var/lib/cofferdam]
    #[arg(long, env = "COFFERDAM_HISTORY_FOLDER", value_name = "DIR")]
    history_folder: Option<FullPath>,
}

/// Each option's key in the file.
const KEYS: [(&str, &str); 14] = [
    ("listen", "listen"),
    ("docker_socket", "runtimes.docker"),
    ("podman_socket", "runtimes.podman"),
    ("containerd_socket", "runtimes.containerd"),
    ("docker_root", "runtimes.docker_root"),
    ("storage_root", "runtimes.storage_root"),
    ("ledger_rows", "limits.ledger_rows"),
    ("flows", "limits.flows"),
    ("flow_ring_bytes", "limits.flow_ring_bytes"),
    ("record_ring_bytes", "limits.record_ring_bytes"),
    ("records_per_second", "limits.records_per_second"),
    ("record_burst", "limits.record_burst"),
    ("dns_names", "dns_names"),
    ("history_folder", "history.folder"),
];

impl Given {
    /// Puts what was given before what is in `config`.
    pub(super) fn apply(&self, config: &mut Config) {
        let Options {
            listen,
            docker_socket,
            podman_socket,
            containerd_socket,
            docker_root,
            storage_root,
            ledger_rows,
            flows,
            flow_ring_bytes,
            record_ring_bytes,
            records_per_second,
            record_burst,
            dns_names,
            history_folder,
        } = self.options.clone();
        put(listen, &mut config.listen);
        put(docker_socket, &mut config.runtimes.docker);
        put(podman_socket, &mut config.runtimes.podman);
        put(containerd_socket, &mut config.runtimes.containerd);
        put(docker_root, &mut config.runtimes.docker_root);
        put(storage_root, &mut config.runtimes.storage_root);
        put(ledger_rows, &mut config.limits.ledger_rows);
        put(flows, &mut config.limits.flows);
        put(flow_ring_bytes, &mut config.limits.flow_ring_bytes);
        put(record_ring_bytes, &mut config.limits.record_ring_bytes);
        put(records_per_second, &mut config.limits.records_per_second);
        put(record_burst, &mut config.limits.record_burst);
        put(dns_names, &mut config.dns_names);
        put(history_folder, &mut config.history.folder);
    }

    /// The option or variable that set a key.
    pub(super) fn origin(&self, key: &str) -> Option<&str> {
        self.origins.iter().find(|(set, _)| *set == key).map(|(_, origin)| origin.as_str())
    }
}

fn put<T>(given: Option<T>, value: &mut T) {
    if let Some(given) = given {
        *value = given;
    }
}

impl FromArgMatches for Given {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let command = Options::augment_args(Command::new("run"));
        let origin = |id: &str| {
            let argument = command.get_arguments().find(|argument| argument.get_id() == id)?;
            match matches.value_source(id)? {
                ValueSource::CommandLine => Some(format!("--{}", argument.get_long()?)),
                ValueSource::EnvVariable => Some(argument.get_env()?.to_string_lossy().into_owned()),
                _ => None,
            }
        };
        let origins = KEYS.into_iter().filter_map(|(id, key)| Some((key, origin(id)?))).collect();
        Ok(Self { options: Options::from_arg_matches(matches)?, origins })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Given {
    fn augment_args(command: Command) -> Command {
        Options::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Options::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_option_has_its_key_and_says_the_default_of_that_key() {
        let command = Options::augment_args(Command::new("run"));
        let defaults = serde_json::to_value(Config::default()).unwrap();
        for argument in command.get_arguments() {
            let (_, key) = KEYS.into_iter().find(|(id, _)| argument.get_id() == id).expect("a key");
            let default = defaults.pointer(&format!("/{}", key.replace('.', "/"))).expect("a default");
            let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
            let help = argument.get_help().expect("a help text").to_string();
            assert!(help.ends_with(&format!("[default: {default}]")), "{help}");
        }
    }

    #[test]
    fn what_is_given_goes_into_the_configuration_and_is_known_by_its_option() {
        let arguments = ["run", "--listen=[::1]:1", "--flows=2048", "--docker-socket=/run/d.sock"];
        let matches = Given::augment_args(Command::new("run")).try_get_matches_from(arguments).unwrap();
        let given = Given::from_arg_matches(&matches).unwrap();
        let mut config = Config::default();
        given.apply(&mut config);
        assert_eq!((config.listen.port(), config.limits.flows.get()), (1, 2_048));
        assert_eq!(config.runtimes.docker.path().to_str(), Some("/run/d.sock"));
        assert_eq!(config.limits.ledger_rows, Config::default().limits.ledger_rows);
        assert_eq!(given.origin("runtimes.docker"), Some("--docker-socket"));
        assert_eq!(given.origin("limits.ledger_rows"), None);
    }
}
