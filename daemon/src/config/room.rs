//! For how much of the policies the kernel's maps have room.

use serde::{Deserialize, Serialize};

use super::Whole;

/// For how much of the policies the kernel's maps have room. The daemon makes them when it starts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Room {
    /// Groups of workloads and networks that rules tell apart.
    pub identities: Whole<1_024, { Room::MOST_IDENTITIES }>,
    /// Pairs of them for which something particular holds.
    pub pairs: Many,
    /// Ranges of ports for which something particular holds.
    pub intervals: Many,
    /// Networks of peers outside.
    pub networks: Many,
    /// DNS names and patterns of them.
    pub names: Many,
    /// Cgroups whose identity is known.
    pub cgroups: Many,
    /// Addresses of containers and of this host.
    pub addresses: Many,
}

/// How many of something there may be.
pub type Many = Whole<1_024, { Room::MOST }>;

impl Room {
    /// Most identities.
    pub const MOST_IDENTITIES: u32 = 65_536;
    /// Most of anything else.
    pub const MOST: u32 = 1_048_576;
}

impl Default for Room {
    /// For 100,000 rules, each of one workload for one other, and 10,000 containers: docs/policy.md says what memory that
    /// takes. What a rule adds is a pair and three intervals.
    fn default() -> Self {
        Self {
            identities: Whole(16_384),
            pairs: Whole(131_072),
            intervals: Whole(3 * 131_072),
            networks: Whole(16_384),
            names: Whole(4_096),
            cgroups: Whole(65_536),
            addresses: Whole(65_536),
        }
    }
}
