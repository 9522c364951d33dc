//! Family container: cgroups of the v2 hierarchy are made, removed and joined.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    ids::{CgroupId, Tgid},
    record::Header,
};

/// Longest path of a cgroup that a record carries, in bytes; a longer one is cut.
pub const CGROUP_PATH_LIMIT: usize = 256;

/// A cgroup was made or removed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct CgroupRecord {
    /// Kind [`crate::record::kind::CGROUP_MADE`] or [`crate::record::kind::CGROUP_REMOVED`];
    /// the cgroup is the one of the task that did it.
    pub header: Header,
    /// The cgroup that was made or removed.
    pub subject: CgroupId,
    /// Bytes used in `path`; [`CGROUP_PATH_LIMIT`] when it was cut.
    pub path_length: u32,
    /// Zero.
    pub padding: u32,
    /// Path below the root of the hierarchy (`/docker/3f2a...`), not terminated.
    pub path: [u8; CGROUP_PATH_LIMIT],
}

/// A task, or its whole process, was moved into a cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct AttachRecord {
    /// Kind [`crate::record::kind::CGROUP_ATTACHED`]; the cgroup is the one of the task that did it.
    pub header: Header,
    /// The cgroup it was moved into.
    pub subject: CgroupId,
    /// The process that was moved.
    pub tgid: Tgid,
    /// Zero.
    pub padding: u32,
}
