//! Where policies are, and what holds where they say nothing.

use serde::{Deserialize, Serialize};

use super::{FullPath, Resolvers, Room, Whole};

/// Where policies are unless somebody says otherwise.
pub const DEFAULT_POLICIES: &str = "/etc/cofferdam/policies";

/// What containers may that no rule is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ByDefault {
    /// Everything.
    Allow,
    /// Nothing.
    Deny,
}

/// What a cgroup may of which nothing is known yet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unresolved {
    /// Everything.
    Allow,
    /// Everything, and it is reported.
    Audit,
    /// Nothing.
    Deny,
    /// Packets wait: they are dropped, and the sender tries again.
    Hold,
}

/// What a cgroup may of which it does not become known who lives there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NeverTold {
    /// Everything.
    Allow,
    /// Everything, and it is reported.
    Audit,
    /// Nothing.
    Deny,
    /// What rules say of the little that is known.
    Judge,
}

/// Where policies are, and what holds where they say nothing.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// The folder of the policies. It need not exist.
    pub folder: FullPath,
    /// What containers may send that no rule of this direction is about.
    pub default_egress: ByDefault,
    /// What they may receive.
    pub default_ingress: ByDefault,
    /// What a new cgroup may until it is known who lives there, while a policy is in force.
    pub unresolved: Unresolved,
    /// How long that holds at most.
    pub unresolved_seconds: Whole<1, 300>,
    /// What it may afterwards, until it is known after all.
    pub never_told: NeverTold,
    /// What becomes of what is enforced when the daemon is stopped.
    pub at_stop: AtStop,
    /// Whether connections that are open when policies begin to deny them are cut: their sockets destroyed.
    pub cut_open_connections: bool,
    /// Whose answers of the DNS are believed, where rules allow by name.
    pub resolvers: Resolvers,
    /// Whether two workloads of the daemon's own try what is enforced.
    pub canaries: bool,
    /// How often they do.
    pub canaries_every_seconds: Whole<1, 3_600>,
    /// How often it is looked whether all stands that enforces them. What is taken away is back after so long.
    pub verify_every_seconds: Whole<1, 30>,
    /// For how much of them the kernel has room.
    pub room: Room,
}

/// What becomes of what is enforced when the daemon is stopped. When it is killed, it stays.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AtStop {
    /// It stays, until the next daemon takes over.
    Keep,
    /// It ends.
    Clear,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            folder: FullPath::of(DEFAULT_POLICIES),
            default_egress: ByDefault::Allow,
            default_ingress: ByDefault::Allow,
            unresolved: Unresolved::Hold,
            unresolved_seconds: Whole(5),
            never_told: NeverTold::Deny,
            at_stop: AtStop::Keep,
            cut_open_connections: true,
            resolvers: Resolvers::default(),
            canaries: true,
            canaries_every_seconds: Whole(60),
            verify_every_seconds: Whole(10),
            room: Room::default(),
        }
    }
}
