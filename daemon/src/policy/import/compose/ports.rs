//! Published ports: which port of the container, and whether only the host itself can come in.

use std::net::IpAddr;

use super::form::{LongPort, Port};
use crate::policy::{
    import::page::Loose,
    model::{Protocol, Services},
};

/// A port of a container to which a port of the host leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Published {
    /// The container's.
    pub(super) service: Services,
    /// Whether the host's port is on its loopback only.
    pub(super) loopback: bool,
}

/// Reads one, or says why not.
pub(super) fn read(port: &Port) -> Result<Published, String> {
    let (address, ports, protocol) = match port {
        // A variable can hold an address as well.
        Port::Short(text) if text.contains('$') => {
            return Err(format!("`{text}` is not known{}", hint(text)));
        }
        Port::Short(text) => {
            let (ends, protocol) = match text.split_once('/') {
                Some((ends, protocol)) => (ends, Some(protocol)),
                None => (text.as_str(), None),
            };
            // The last is the container's, and before it the host's, before which its address can stand.
            let (host, own) = ends.rsplit_once(':').unwrap_or(("", ends));
            let address = host.rsplit_once(':').map(|(address, _)| address.trim_matches(['[', ']']));
            (address.map(str::to_owned), own.to_owned(), protocol.map(str::to_owned))
        }
        Port::Long(LongPort { target, protocol, host_ip }) => {
            let target = match target {
                Loose::Number(number) => number.to_string(),
                Loose::Text(text) => text.clone(),
            };
            (host_ip.clone(), target, protocol.clone())
        }
    };
    let number = match protocol.as_deref() {
        None | Some("tcp") => 6,
        Some("udp") => 17,
        Some("sctp") => 132,
        Some(other) => return Err(format!("`{other}` is no protocol that a port has{}", hint(other))),
    };
    let ports =
        range(&ports).ok_or_else(|| format!("`{ports}` is no port of a container{}", hint(&ports)))?;
    let loopback = match address.as_deref() {
        None | Some("") => false,
        Some(text) => {
            let address: IpAddr =
                text.parse().map_err(|_| format!("`{text}` is no address of the host{}", hint(text)))?;
            address.to_canonical().is_loopback()
        }
    };
    Ok(Published { service: Services { protocol: Protocol::Number(number), ports }, loopback })
}

fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let [first, last] = [first, last]
        .map(|port| port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok())?);
    let (first, last) = (first?, last?);
    (first > 0 && first <= last).then_some((first, last))
}

/// What to do about a variable, of which only Compose knows the value.
pub(super) fn hint(text: &str) -> &'static str {
    if text.contains('$') { ": `docker compose config` fills in variables" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<(String, bool), String> {
        read(&Port::Short(text.to_owned())).map(|port| (port.service.to_string(), port.loopback))
    }

    #[test]
    fn the_containers_port_counts_and_whether_only_the_host_comes_in() {
        for (text, service, loopback) in [
            ("80", "tcp/80", false),
            ("8080:80", "tcp/80", false),
            ("3000-3005", "tcp/3000-3005", false),
            ("9090-9091:8080-8081", "tcp/8080-8081", false),
            ("8000-9000:80", "tcp/80", false),
            ("127.0.0.1:8001:8001", "tcp/8001", true),
            ("127.0.0.1::5000", "tcp/5000", true),
            ("127.0.0.1:5000-5010:5000-5010", "tcp/5000-5010", true),
            ("192.0.2.1:53:53/udp", "udp/53", false),
            ("[::1]:6001:6001", "tcp/6001", true),
            ("::1:6001:6001", "tcp/6001", true),
            ("0.0.0.0:6060:6060/sctp", "sctp/6060", false),
        ] {
            assert_eq!(shown(text), Ok((service.to_owned(), loopback)), "{text}");
        }
    }

    #[test]
    fn what_is_no_port_is_refused_and_a_variable_with_what_to_do() {
        for (text, why) in [
            ("", "is no port"),
            ("0", "is no port"),
            ("80:", "is no port"),
            ("90-80", "is no port"),
            ("+80", "is no port"),
            ("65536", "is no port"),
            ("80/icmp", "is no protocol"),
            ("localhost:80:80", "is no address"),
            ("${PORT}:80", "`docker compose config` fills in variables"),
            ("${PORT:-8080}:80", "`docker compose config` fills in variables"),
            ("${HOST}:80:80", "`docker compose config` fills in variables"),
        ] {
            let error = shown(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
