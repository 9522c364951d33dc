//! Cells of a matrix: who tries what on whom.

use std::{fmt, str::FromStr};

use anyhow::{Context as _, Result};

use super::{
    cast::{CAST, Member, PUBLISHED, Place},
    protocol::{ICMP, TCP, UDP, UDPLITE},
};

/// A protocol, and the server's port where it has ports: `tcp/80`, `icmp`, `ip/253`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Service {
    /// As in the IP header; `icmp` is 1, also over IPv6.
    pub protocol: u8,
    /// Zero where there are none.
    pub port: u16,
}

impl FromStr for Service {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, number) = text.split_once('/').unwrap_or((text, "0"));
        let number: u16 = number.parse().with_context(|| format!("`{text}` is no service"))?;
        Ok(match name {
            "tcp" => Self { protocol: TCP, port: number },
            "udp" => Self { protocol: UDP, port: number },
            "udplite" => Self { protocol: UDPLITE, port: number },
            "icmp" => Self { protocol: ICMP, port: 0 },
            "ip" => Self { protocol: u8::try_from(number)?, port: 0 },
            _ => anyhow::bail!("`{text}` is no service"),
        })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            TCP => write!(f, "tcp/{}", self.port),
            UDP => write!(f, "udp/{}", self.port),
            UDPLITE => write!(f, "udplite/{}", self.port),
            ICMP => f.write_str("icmp"),
            other => write!(f, "ip/{other}"),
        }
    }
}

/// One question of a matrix.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Who sends.
    pub source: &'static Member,
    /// To whom.
    pub target: &'static Member,
    /// What.
    pub service: Service,
}

impl Cell {
    /// All that can be tried by any of these services: there is a way from the one to the other.
    #[must_use]
    pub fn all(services: &[Service]) -> Vec<Self> {
        let pairs = CAST.iter().flat_map(|source| CAST.iter().map(move |target| (source, target)));
        let cells = pairs.flat_map(|(source, target)| {
            services.iter().map(move |service| Self { source, target, service: *service })
        });
        cells.filter(Self::can_be_tried).collect()
    }

    fn can_be_tried(&self) -> bool {
        let Self { source, target, service } = self;
        // The stack of peers outside knows nothing else.
        let simple = matches!(service.protocol, TCP | UDP);
        match (source.place, target.place) {
            _ if source.name == target.name => false,
            (Place::Outside(_), Place::Outside(_)) => false,
            (_, Place::Outside(_)) => simple,
            (Place::Outside(_), Place::Networks(_)) => self.published().is_some(),
            (Place::Outside(_), _) => simple,
            // The kernel answers for all who share a network, so that nobody can be told apart.
            _ if target.is_on_host() && service.protocol == ICMP => false,
            (Place::Networks(one), Place::Networks(other)) => {
                one.iter().any(|network| other.contains(network))
            }
            _ => true,
        }
    }

    /// As which port of the host the target's is published.
    #[must_use]
    pub fn published(&self) -> Option<u16> {
        let Self { target, service, .. } = self;
        let found =
            PUBLISHED.iter().find(|(name, what, _)| *name == target.name && *what == service.to_string());
        found.map(|(_, _, port)| *port)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.source.name, self.target.name, self.service)
    }
}
