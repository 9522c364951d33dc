//! The head that every record begins with, and the families that records belong to.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ids::CgroupId;

/// The first bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Header {
    /// Which record follows: one of [`kind`].
    pub kind: u32,
    /// Zero.
    pub padding: u32,
    /// When, in nanoseconds since boot (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// Where it happened: the current task's cgroup, or the cgroup of the socket that a packet belongs to.
    pub cgroup: CgroupId,
}

/// Numbers of the records. Stable; each family has a range of twenty.
pub mod kind {
    /// A process made another: [`crate::process::ForkRecord`].
    pub const PROCESS_FORK: u32 = 1;
    /// A process began another program: [`crate::process::ExecRecord`].
    pub const PROCESS_EXEC: u32 = 2;
    /// A process ended: [`crate::process::ExitRecord`].
    pub const PROCESS_EXIT: u32 = 3;
    /// A flow opened: [`crate::network::FlowRecord`].
    pub const FLOW_OPEN: u32 = 20;
    /// A flow closed: [`crate::network::FlowRecord`].
    pub const FLOW_CLOSE: u32 = 21;
    /// An answer of the DNS arrived: [`crate::dns::DnsRecord`].
    pub const DNS_ANSWER: u32 = 22;
    /// A cgroup was made: [`crate::container::CgroupRecord`].
    pub const CGROUP_MADE: u32 = 60;
    /// A cgroup was removed: [`crate::container::CgroupRecord`].
    pub const CGROUP_REMOVED: u32 = 61;
    /// A task was moved into a cgroup: [`crate::container::AttachRecord`].
    pub const CGROUP_ATTACHED: u32 = 62;
    /// An interaction was denied, or would have been: [`crate::policy::VerdictRecord`].
    pub const VERDICT: u32 = 100;
}

/// Families of records: the index into the loss counters ([`crate::stats`]).
pub mod family {
    /// fork, exec, exit.
    pub const PROCESS: u32 = 0;
    /// Flows.
    pub const NETWORK: u32 = 1;
    /// Life of cgroups.
    pub const CONTAINER: u32 = 2;
    /// Verdicts of policies.
    pub const POLICY: u32 = 3;
    /// How many there are.
    pub const COUNT: u32 = 4;
    /// Their names, by index.
    pub const NAMES: [&str; COUNT as usize] = ["process", "network", "container", "policy"];
}
