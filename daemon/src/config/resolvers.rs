//! Whose answers of the DNS policies believe. The only user of resolv-conf.

use std::{fs, io::ErrorKind, net::IpAddr, path::Path};

use resolv_conf::{Config, ScopedIp};
use serde::{Deserialize, Serialize};

use super::{Pattern, Selector};

/// The word for the resolvers that a host has anyhow: those that it asks itself, and [`UNITS`].
const SYSTEM: &str = "system";
/// Docker, which answers for its containers, and the usual resolvers of a host.
const UNITS: [&str; 5] =
    ["docker.service", "systemd-resolved.service", "dnsmasq.service", "unbound.service", "named.service"];
/// Where these are written (resolv.conf(5)).
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Longest file that is read, in bytes.
const FILE_LIMIT: u64 = 1 << 20;
/// Most that can be named.
const LIMIT: usize = 256;

/// Whose answers are believed: a list of addresses, names of workloads, and `system`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Resolvers {
    written: Vec<String>,
    /// Resolvers outside, as they are asked.
    addresses: Vec<IpAddr>,
    /// Those of this host.
    workloads: Vec<Selector>,
    /// Whether those are believed that this host asks itself.
    system: bool,
}

impl Resolvers {
    /// Addresses that are believed. Blocks.
    #[must_use]
    pub fn addresses(&self) -> Vec<IpAddr> {
        let system = if self.system { of_system(Path::new(RESOLV_CONF)) } else { Vec::new() };
        self.addresses.iter().copied().chain(system).collect()
    }

    /// Workloads of this host that are believed.
    #[must_use]
    pub fn workloads(&self) -> &[Selector] {
        &self.workloads
    }
}

impl Default for Resolvers {
    /// Those that a host has anyhow.
    fn default() -> Self {
        let written = vec![SYSTEM.to_owned()];
        Self { written, addresses: Vec::new(), workloads: units().collect(), system: true }
    }
}

impl TryFrom<Vec<String>> for Resolvers {
    type Error = String;

    fn try_from(written: Vec<String>) -> Result<Self, String> {
        if written.len() > LIMIT {
            return Err(format!("must not have more than {LIMIT} resolvers"));
        }
        let (mut addresses, mut workloads, mut system) = (Vec::new(), Vec::new(), false);
        for text in &written {
            match text.parse::<IpAddr>() {
                Ok(address) if address.is_loopback() => {
                    return Err(format!(
                        "`{text}` is everybody's own: name the workload that listens there, such as \
                         `systemd-resolved.service`"
                    ));
                }
                Ok(address) => addresses.push(address.to_canonical()),
                Err(_) if text == SYSTEM => {
                    system = true;
                    workloads.extend(units());
                }
                Err(_) => workloads.push(Pattern::try_from(text.clone())?.into()),
            }
        }
        Ok(Self { written, addresses, workloads, system })
    }
}

fn units() -> impl Iterator<Item = Selector> {
    // Each is a pattern.
    UNITS.into_iter().filter_map(|unit| Some(Pattern::try_from(unit.to_owned()).ok()?.into()))
}

impl From<Resolvers> for Vec<String> {
    fn from(resolvers: Resolvers) -> Self {
        resolvers.written
    }
}

/// The name servers of a file, but for those on the loopback: which workload that is, the file does not say.
fn of_system(path: &Path) -> Vec<IpAddr> {
    let text = match fs::metadata(path).and_then(|meta| {
        if meta.len() > FILE_LIMIT { Err(ErrorKind::FileTooLarge.into()) } else { fs::read(path) }
    }) {
        Ok(text) => text,
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "the host's own resolvers are not known");
            return Vec::new();
        }
    };
    let servers = match Config::parse(text) {
        Ok(config) => config.nameservers,
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "the host's own resolvers are not known");
            return Vec::new();
        }
    };
    let addresses = servers.into_iter().map(|server| match server {
        ScopedIp::V4(address) => IpAddr::V4(address),
        ScopedIp::V6(address, _) => IpAddr::V6(address),
    });
    addresses.filter(|address| !address.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolvers(written: &[&str]) -> Result<Resolvers, String> {
        written.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>().try_into()
    }

    #[test]
    fn addresses_names_and_the_hosts_own_are_told_apart() {
        let read = resolvers(&["192.0.2.53", "::ffff:192.0.2.54", "docker.service", "system"]).unwrap();
        assert_eq!(read.addresses, ["192.0.2.53", "192.0.2.54"].map(|it| it.parse::<IpAddr>().unwrap()));
        assert_eq!(read.workloads.len(), 1 + UNITS.len());
        assert!(read.system);
        assert_eq!(Vec::from(read)[3], "system");
    }

    #[test]
    fn an_address_that_everybody_has_is_nobodys() {
        assert!(resolvers(&["127.0.0.53"]).unwrap_err().contains("systemd-resolved.service"));
    }

    #[test]
    fn the_default_believes_the_host_and_docker() {
        let read = Resolvers::default();
        assert!(read.system && read.workloads.len() == UNITS.len());
        assert_eq!(read, resolvers(&["system"]).unwrap());
    }

    #[test]
    fn of_a_file_the_servers_count_that_are_elsewhere() {
        let path = std::env::temp_dir().join(format!("cofferdam-resolv-{}", std::process::id()));
        fs::write(
            &path,
            "search example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver 2001:db8::1\n",
        )
        .unwrap();
        let found: Vec<_> = of_system(&path).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "2001:db8::1"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(of_system(&path), Vec::<IpAddr>::new());
    }
}
