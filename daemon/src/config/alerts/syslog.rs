//! Where a syslog is.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{config::FullPath, event::is_hostile};

/// Where a syslog is: a socket of this host, or a port of another. `off` is written as nothing.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub enum Syslog {
    /// Nowhere.
    #[default]
    Off,
    /// A datagram socket of this host, as `/dev/log`.
    Socket(PathBuf),
    /// A port of UDP: `HOST:PORT`.
    Udp(String),
    /// A port of TCP: `HOST:PORT`.
    Tcp(String),
}

impl TryFrom<String> for Syslog {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let refused = || "must be a socket as /dev/log, or udp://HOST:PORT, or tcp://HOST:PORT".to_owned();
        match text.split_once("://") {
            Some(("udp", end)) => Ok(Self::Udp(port(end).ok_or_else(refused)?)),
            Some(("tcp", end)) => Ok(Self::Tcp(port(end).ok_or_else(refused)?)),
            Some(_) => Err(refused()),
            None if text.is_empty() => Ok(Self::Off),
            None => {
                let path: FullPath = text.parse().map_err(|_| refused())?;
                if text.contains(is_hostile) {
                    Err(refused())
                } else {
                    Ok(Self::Socket(path.path().to_owned()))
                }
            }
        }
    }
}

/// `HOST:PORT`, if it is one.
fn port(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    // An address of IPv6 stands in brackets.
    let named = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            (1..=253).contains(&host.len()) && host.bytes().all(letter)
        }
    };
    let numbered =
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
    (named && numbered).then(|| text.to_owned())
}

impl From<Syslog> for String {
    fn from(syslog: Syslog) -> Self {
        syslog.to_string()
    }
}

impl fmt::Display for Syslog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => Ok(()),
            Self::Socket(path) => write!(f, "{}", path.display()),
            Self::Udp(end) => write!(f, "udp://{end}"),
            Self::Tcp(end) => write!(f, "tcp://{end}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_syslog_is_a_socket_or_a_port_and_is_written_as_it_was() {
        for text in ["", "/dev/log", "udp://127.0.0.1:514", "tcp://log.example.org:6514", "udp://[::1]:514"] {
            assert_eq!(Syslog::try_from(text.to_owned()).map(String::from), Ok(text.to_owned()));
        }
        let bad = [
            "dev/log",
            "udp://",
            "udp://a",
            "udp://a:0",
            "udp://:1",
            "tcp://a:b",
            "tcp://a b:1",
            "http://a:1",
            "tcp://a:+1",
            "tcp://[x]:1",
            "tcp://u@a:1",
            "/dev/lo\ng",
        ];
        for bad in bad {
            assert!(Syslog::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
