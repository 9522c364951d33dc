//! What a policy says, once its text was read. No I/O. docs/policy.md tells what it means.

use std::{path::Path, sync::Arc};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::names::NamePattern;
use crate::config::Selector;
/// The list that an entry stands in, and the direction of a rule as its subjects see it.
pub use crate::event::{Direction, Verdict};

/// One policy: a YAML document.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its name, unique among all.
    pub name: Arc<str>,
    /// Whether what it forbids is denied, or only reported.
    pub mode: Mode,
    /// In the order in which they are written. Which of them decides does not depend on it.
    pub rules: Vec<Rule>,
}

/// What becomes of what a policy forbids.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It passes, and is reported.
    Audit,
    /// It is denied.
    Enforce,
}

/// Selects workloads for a direction, and says with whom they may interact in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The name that it was given; others go by their number: `shop#2` is the second of policy `shop`.
    pub name: Option<Arc<str>>,
    /// `to`: who may send to the subjects (ingress). `from`: to whom they may send (egress).
    pub direction: Direction,
    /// Whom it is about; never empty. [`Peer::Any`] is every workload of this host here; networks and names are
    /// refused.
    pub subjects: Vec<Peer>,
    /// In the order in which they are written.
    pub entries: Vec<Entry>,
    /// Where it begins.
    pub place: Place,
}

/// One item of a rule's lists `allow`, `deny` and `audit`.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The list that it stands in.
    pub verdict: Verdict,
    /// The other side; never empty.
    pub peers: Vec<Peer>,
    /// Protocols and ports; never empty.
    pub services: Vec<Services>,
    /// Where it begins.
    pub place: Place,
}

/// Who is at one end. Groups are written out.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Peer {
    /// Everybody.
    Any,
    /// Workloads of this host.
    Workload(Selector),
    /// Peers outside, by address.
    Network(Network),
    /// Peers outside, by the name under which the sender looked their address up. Only where something is allowed to be
    /// sent to them.
    Name(NamePattern),
}

/// Addresses of peers outside.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    /// These.
    pub cidr: IpNet,
    /// But not these, which lie within.
    pub except: Vec<IpNet>,
}

/// A protocol, and ports of the server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Services {
    /// Which protocol.
    pub protocol: Protocol,
    /// First and last port; both count. All, where the protocol has none.
    pub ports: (u16, u16),
}

/// What goes over IP.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// All of them.
    Any,
    /// ICMP and ICMPv6 echo.
    Icmp,
    /// One, by its number in the IP header: 6 is TCP, 17 UDP, 132 SCTP, 136 UDP-Lite.
    Number(u8),
}

/// A place in a file, to point at.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Place {
    /// Which file.
    pub file: Arc<Path>,
    /// From 1.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
}

impl Services {
    /// Everything.
    pub const ALL: Self = Self { protocol: Protocol::Any, ports: (0, u16::MAX) };
}
