//! Family process: fork, exec, exit.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{ids::Tgid, record::Header};

/// Longest path of an executable that an exec record carries, in bytes; a longer one is cut.
pub const PATH_LIMIT: usize = 128;
/// Room for what a process calls itself (`TASK_COMM_LEN`), with the NUL that ends it.
pub const COMMAND_LIMIT: usize = 16;
/// Most bytes of the argument vector that an exec record carries; the rest is cut.
pub const ARGS_LIMIT: usize = 256;

/// A process made another (not a thread).
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct ForkRecord {
    /// Kind [`crate::record::kind::PROCESS_FORK`]; the cgroup is the parent's.
    pub header: Header,
    /// The new process.
    pub tgid: Tgid,
    /// The process that made it.
    pub parent: Tgid,
    /// When the new process started, in nanoseconds since boot: with `tgid` its identity.
    pub start_time: u64,
}

/// A process began another program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct ExecRecord {
    /// Kind [`crate::record::kind::PROCESS_EXEC`].
    pub header: Header,
    /// The process.
    pub tgid: Tgid,
    /// Its parent (`task_struct.real_parent`).
    pub parent: Tgid,
    /// When the process started, in nanoseconds since boot: with `tgid` its identity.
    pub start_time: u64,
    /// Real user id, in the initial user namespace.
    pub uid: u32,
    /// Real group id, in the initial user namespace.
    pub gid: u32,
    /// Bytes used in `path`.
    pub path_length: u16,
    /// Bytes used in `args`.
    pub args_length: u16,
    /// Bytes the whole argument vector has.
    pub args_total: u32,
    /// Path of the executable as it was passed to `execve(2)`, not terminated.
    pub path: [u8; PATH_LIMIT],
    /// The argument vector, each argument terminated by NUL.
    pub args: [u8; ARGS_LIMIT],
}

/// The last thread of a process ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct ExitRecord {
    /// Kind [`crate::record::kind::PROCESS_EXIT`].
    pub header: Header,
    /// The process.
    pub tgid: Tgid,
    /// Status as `wait(2)` gives it: exit code in bits 8 to 15, signal in bits 0 to 6.
    pub status: u32,
    /// When the process started, in nanoseconds since boot: with `tgid` its identity.
    pub start_time: u64,
}

/// The process in whose call something was seen. All zero where it was seen outside its calls.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Caller {
    /// The process; 0 where it is not known.
    pub tgid: Tgid,
    /// Its parent at that time (`task_struct.real_parent`).
    pub parent: Tgid,
    /// Real user id, in the initial user namespace.
    pub uid: u32,
    /// Zero.
    pub padding: u32,
    /// When the process started, in nanoseconds since boot: with `tgid` its identity.
    pub start_time: u64,
    /// What it calls itself (`task_struct.comm` of its first thread), ended by NUL.
    pub command: [u8; COMMAND_LIMIT],
}
