//! What the history tells of an interaction.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{event::Protocol, interaction::Edge};

/// All that is known of a pair and a service, replicas and images together: since it was seen first, as long as anything of it
/// was seen within the days that the history is kept.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Totals {
    /// Transport protocol.
    pub protocol: Protocol,
    /// The server's port.
    pub port: u16,
    /// Flows that opened.
    pub flows: u64,
    /// Payload bytes from source to target.
    pub bytes_sent: u64,
    /// Payload bytes from target to source.
    pub bytes_received: u64,
    /// Attempts that passed.
    pub allowed: u64,
    /// Attempts that passed, and that a policy would have denied.
    pub audited: u64,
    /// Packets and calls that were denied.
    pub denied: u64,
    /// First and last time.
    pub first_seen: Timestamp,
    /// See `first_seen`.
    pub last_seen: Timestamp,
}

/// An interaction over a span of time.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Past {
    /// The interaction, with the sums of that span, and when in it it was seen first and last. `via` is what the kernel saw
    /// (`nat:PORT` or nothing): the two halves of a connection through a userland proxy are two, as policies judge them.
    #[serde(flatten)]
    pub edge: Edge,
    /// In how many minutes it was seen.
    pub minutes: u64,
    /// On how many days (UTC).
    pub days: u64,
}
