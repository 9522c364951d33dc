//! What IP carries, by the names that people use.

use std::{fmt, str::FromStr};

use cofferdam_common::network::{
    PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_SCTP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_UDPLITE,
};
use serde::{Deserialize, Serialize};

/// What IP carries. In JSON and everywhere else it is written as its [`fmt::Display`] writes it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(into = "String", try_from = "String")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// UDP-Lite.
    UdpLite,
    /// SCTP.
    Sctp,
    /// ICMP echo.
    Icmp,
    /// ICMPv6 echo.
    IcmpV6,
    /// Any other, by its number in the IP header (`ip-47`).
    Ip(u8),
    /// Many protocols folded into one, because the ledger was full.
    Other,
}

/// A name that is no protocol's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is no protocol: tcp, udp, udplite, sctp, icmp, icmpv6, ip-NUMBER or other")]
pub struct UnknownProtocol(String);

/// Names of those that have one.
const NAMES: [(Protocol, &str); 7] = [
    (Protocol::Tcp, "tcp"),
    (Protocol::Udp, "udp"),
    (Protocol::UdpLite, "udplite"),
    (Protocol::Sctp, "sctp"),
    (Protocol::Icmp, "icmp"),
    (Protocol::IcmpV6, "icmpv6"),
    (Protocol::Other, "other"),
];

impl Protocol {
    /// By the number in the IP header (IANA protocol numbers); zero stands for many.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Other,
            PROTOCOL_TCP => Self::Tcp,
            PROTOCOL_UDP => Self::Udp,
            PROTOCOL_UDPLITE => Self::UdpLite,
            PROTOCOL_SCTP => Self::Sctp,
            PROTOCOL_ICMP => Self::Icmp,
            PROTOCOL_ICMPV6 => Self::IcmpV6,
            other => Self::Ip(other),
        }
    }

    /// The number in the IP header; none where it stands for many.
    #[must_use]
    pub fn number(self) -> Option<u8> {
        match self {
            Self::Tcp => Some(PROTOCOL_TCP),
            Self::Udp => Some(PROTOCOL_UDP),
            Self::UdpLite => Some(PROTOCOL_UDPLITE),
            Self::Sctp => Some(PROTOCOL_SCTP),
            Self::Icmp => Some(PROTOCOL_ICMP),
            Self::IcmpV6 => Some(PROTOCOL_ICMPV6),
            Self::Ip(number) => Some(number),
            Self::Other => None,
        }
    }

    /// Whether what it carries is told apart by ports.
    #[must_use]
    pub fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::UdpLite | Self::Sctp)
    }

    /// A service as people write it: `tcp/80`, or `icmp` where there are no ports.
    #[must_use]
    pub fn service(self, port: u16) -> String {
        if port == 0 { self.to_string() } else { format!("{self}/{port}") }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Ip(number) = self {
            return write!(f, "ip-{number}");
        }
        f.write_str(NAMES.iter().find(|(protocol, _)| protocol == self).map_or("other", |(_, name)| name))
    }
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let number = || name.strip_prefix("ip-")?.parse().ok().map(Self::from_number);
        NAMES
            .iter()
            .find_map(|(protocol, known)| (*known == name).then_some(*protocol))
            .or_else(number)
            .ok_or_else(|| UnknownProtocol(name.to_owned()))
    }
}

impl From<Protocol> for String {
    fn from(protocol: Protocol) -> Self {
        protocol.to_string()
    }
}

impl TryFrom<String> for Protocol {
    type Error = UnknownProtocol;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_survives_the_way_through_its_name() {
        for number in 0..=u8::MAX {
            let protocol = Protocol::from_number(number);
            assert_eq!(protocol.to_string().parse(), Ok(protocol));
            assert_eq!(protocol.number().unwrap_or(0), number);
        }
        assert!("ip-256".parse::<Protocol>().is_err());
    }

    #[test]
    fn json_has_the_names_that_people_use() {
        let names =
            [6, 17, 132, 47].map(|number| serde_json::to_string(&Protocol::from_number(number)).unwrap());
        assert_eq!(names, ["\"tcp\"", "\"udp\"", "\"sctp\"", "\"ip-47\""]);
    }
}
