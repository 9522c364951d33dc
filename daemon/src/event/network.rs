//! Family network: flows, and answers of the DNS.

use std::{fmt, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Protocol, Workload};

/// What the kernel decided.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It passed.
    Allow,
    /// It passed; a rule in audit mode would have denied it.
    Audit,
    /// It was denied.
    Deny,
}

/// How a flow ended.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FlowEnd {
    /// Both sides closed in order.
    Closed,
    /// One side reset it after it had opened.
    Reset,
    /// It never opened: the target reset the attempt.
    Refused,
    /// It never opened: no answer came.
    Unanswered,
    /// It never opened: a router, a firewall or the host said that the target cannot be reached.
    Unreachable,
    /// It never opened: the source gave up after the target had answered, as a half-open port scan does.
    Aborted,
    /// It had opened, and the other side stopped answering.
    TimedOut,
    /// Nothing was sent for long.
    Idle,
    /// The container of one side was removed.
    Gone,
}

/// One end of a flow.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Endpoint {
    /// Whose socket it is.
    pub workload: Arc<Workload>,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
}

/// A flow that opened or closed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct FlowEvent {
    /// The client.
    pub source: Endpoint,
    /// The server.
    pub target: Endpoint,
    /// The address that the client dialled, where it was translated on the way (DNAT).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dialled: Option<std::net::SocketAddr>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// What the kernel decided.
    pub verdict: Verdict,
    /// How it ended; absent while it is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<FlowEnd>,
    /// How long it was open, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_seconds: Option<f64>,
    /// Payload bytes from source to target.
    pub bytes_sent: u64,
    /// Payload bytes from target to source.
    pub bytes_received: u64,
    /// Packets from source to target.
    pub packets_sent: u64,
    /// Packets from target to source.
    pub packets_received: u64,
}

/// An answer of the DNS that somebody had asked for.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DnsAnswer {
    /// Who asked.
    pub workload: Arc<Workload>,
    /// Who answered.
    pub resolver: Endpoint,
    /// The name that was asked for; absent where the answer could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What was asked for: `A`, `AAAA`, `TXT`, ...; absent as `name` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record_type: Option<String>,
    /// The addresses of that name; none where something else was asked for.
    pub addresses: Vec<IpAddr>,
    /// Whether the answer was longer than what is looked at, so that addresses may be missing.
    pub truncated: bool,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Audit => "audit",
            Self::Deny => "deny",
        })
    }
}
