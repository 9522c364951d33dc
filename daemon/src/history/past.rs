//! What the history tells of an interaction.

use serde::{Deserialize, Serialize};

use crate::interaction::Edge;

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
