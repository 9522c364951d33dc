//! Family container: the life of cgroups.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Workload;

/// What happened to a cgroup.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupChange {
    /// It was made.
    Made,
    /// It was removed.
    Removed,
    /// A process was moved into it.
    Attached,
}

/// A cgroup was made, removed or joined.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct CgroupEvent {
    /// The workload that the cgroup belongs to.
    pub workload: Arc<Workload>,
    /// What happened.
    pub change: CgroupChange,
    /// The cgroup's id (inode of its directory).
    pub cgroup_id: u64,
    /// Its path below the root of the v2 hierarchy, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The process that was moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
}
