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
    /// An answer of the DNS came while another was being read: the daemon takes in its addresses.
    pub const NAMES_BUSY: u32 = 10;
    /// Not all records of an answer could be read: likewise.
    pub const NAMES_UNREAD: u32 = 11;
    /// A workload knows as many addresses by name as it may: the others are denied.
    pub const NAMES_OF_ONE_FULL: u32 = 12;
    /// There is no room for one more address that has a name: it is denied.
    pub const NAMES_FULL: u32 = 13;
    /// How many there are.
    pub const COUNT: u32 = 14;
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
        "names_busy",
        "names_unread",
        "names_of_one_full",
        "names_full",
    ];
}
