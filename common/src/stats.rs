//! Counters of the programs themselves.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Per family of records and CPU. `issued = delivered + shed + lost`, exactly.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct RecordStats {
    /// Records that a hook wanted to send.
    pub issued: u64,
    /// Records over their cgroup's budget ([`crate::budget`]), which were not sent.
    pub shed: u64,
    /// Records that found no room in the ring.
    pub lost: u64,
}

/// What a hook could not do: the index into the counters of failures.
pub mod failure {
    /// The ledger had no free row: counted under the source's `other` row.
    pub const LEDGER_FULL: u32 = 0;
    /// No row was left for `other` rows either: counted in the one last row.
    pub const LEDGER_OVERFULL: u32 = 1;
    /// The flow table was full: the flow is not in the ledger.
    pub const FLOWS_FULL: u32 = 2;
    /// The address or the ports of a packet could not be read.
    pub const UNPARSED: u32 = 3;
    /// A packet of a protocol that is not followed.
    pub const OTHER_PROTOCOL: u32 = 4;
    /// The table of senders was full: should the flow be translated, its client is known by address only.
    pub const SENDERS_FULL: u32 = 5;
    /// No budget was free: the cgroup pays from the shared one. Counted each time one is asked for.
    pub const BUDGETS_FULL: u32 = 6;
    /// The table of calls was full: counted under the account's `other` rows.
    pub const SYSCALLS_FULL: u32 = 7;
    /// No room was left for `other` rows either, or none to enter a new cgroup: the call is not counted.
    pub const SYSCALLS_OVERFULL: u32 = 8;
    /// A packet was dropped because it is not known yet who one of the two is, so that it is sent again.
    pub const HELD: u32 = 9;
    /// How many there are.
    pub const COUNT: u32 = 10;
    /// Their names, by index.
    pub const NAMES: [&str; COUNT as usize] = [
        "ledger_full",
        "ledger_overfull",
        "flows_full",
        "unparsed",
        "other_protocol",
        "senders_full",
        "budgets_full",
        "syscalls_full",
        "syscalls_overfull",
        "held",
    ];
}
