//! Alerts: what is unusual in who talks to whom.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Protocol, Workload};

/// Something that somebody should look at. Repeats are folded into one: `count`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Alert {
    /// Made of what it is about, so that the same anomaly has the same id whenever it comes: 16 hexadecimal digits.
    pub id: String,
    /// Which anomaly it is; in JSON `anomaly`, for each event has a `kind`.
    #[serde(rename = "anomaly")]
    pub kind: AlertKind,
    /// How bad it is.
    pub severity: Severity,
    /// Who did it.
    pub source: Arc<Workload>,
    /// To whom, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Arc<Workload>>,
    /// Over which transport protocol, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// At which port of the target, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Why it is one, in one sentence with the numbers.
    pub sentence: String,
    /// When it was first seen.
    pub began: Timestamp,
    /// When it was last seen.
    pub last_seen: Timestamp,
    /// In how many turns it was seen since.
    pub count: u64,
    /// What became of it.
    pub state: AlertState,
    /// Who acknowledged it, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
}

/// Which anomaly.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// Two workloads that never talked to each other do.
    NewEdge,
    /// Two that did talk do so at another port or over another protocol.
    NewService,
    /// A workload talks to an outside peer, domain or network that is new to it.
    NewDestination,
    /// One workload tries many peers or ports: a scan, or a worm.
    FanOut,
    /// Many that never did so try one workload.
    FanIn,
    /// Far more bytes or connections than this edge has at this hour.
    Volume,
    /// Far more data leaves to the outside than usual.
    Exfiltration,
    /// Connections to an outside peer as regular as a clock.
    Beacon,
    /// A connection to an outside peer that stays open for long.
    LongLived,
    /// Questions of the DNS that look like a tunnel or like generated names.
    OddDns,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth to know: a deploy brought it along.
    Info,
    /// Somebody should look at it today.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It goes on, or nobody has looked at it.
    Open,
    /// Somebody has looked at it: it is normal from now on.
    Acknowledged,
    /// It has not been seen for a while.
    Resolved,
}

/// Who acknowledged an alert, and why.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Acknowledgement {
    /// User id at the socket of the API.
    pub by: u32,
    /// When.
    pub at: Timestamp,
    /// What he said.
    pub reason: String,
}

impl AlertKind {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::NewEdge,
        Self::NewService,
        Self::NewDestination,
        Self::FanOut,
        Self::FanIn,
        Self::Volume,
        Self::Exfiltration,
        Self::Beacon,
        Self::LongLived,
        Self::OddDns,
    ];

    /// How it is called everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NewEdge => "new_edge",
            Self::NewService => "new_service",
            Self::NewDestination => "new_destination",
            Self::FanOut => "fan_out",
            Self::FanIn => "fan_in",
            Self::Volume => "volume",
            Self::Exfiltration => "exfiltration",
            Self::Beacon => "beacon",
            Self::LongLived => "long_lived",
            Self::OddDns => "odd_dns",
        }
    }
}

impl Severity {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::Info, Self::Warning, Self::Critical];

    /// How it is called everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl AlertState {
    /// How it is called everywhere.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

impl Alert {
    /// Whether it goes on, and nobody has said that it is normal.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == AlertState::Open
    }

    /// Who has to do with it.
    #[must_use]
    pub fn workloads(&self) -> Vec<&Workload> {
        [Some(&*self.source), self.target.as_deref()].into_iter().flatten().collect()
    }
}

/// What became of it, and why it is one.
impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.state, &self.acknowledged) {
            (AlertState::Open, _) => f.write_str(&self.sentence),
            (AlertState::Acknowledged, Some(by)) => {
                write!(f, "acknowledged ({}): {}", by.reason, self.sentence)
            }
            (state, _) => write!(f, "{state}: {}", self.sentence),
        }
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for AlertState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
