//! Of whom each frame is judged at a link of its own, and what becomes of all others.

use std::collections::{BTreeSet, HashSet};

use cofferdam_common::ids::CgroupId;

use super::{InForce, Partial, Sync};

/// How many workloads are shown for which not all is enforced.
const PARTIAL_SHOWN: usize = 32;

impl InForce {
    /// Of which containers, by their own cgroups, each frame is judged at a link of their own; all others are judged as they
    /// send past the IP stack.
    ///
    /// # Errors
    /// When the kernel's map cannot be written.
    pub fn set_covered(&self, covered: HashSet<CgroupId>) -> anyhow::Result<()> {
        self.lock().sync.as_mut().map_or(Ok(()), |sync| sync.set_covered(covered))
    }

    /// Who is no container, by name, and may not send everything.
    #[must_use]
    pub fn limited_senders(&self) -> BTreeSet<String> {
        self.lock().sync.as_ref().map(Sync::limited_senders).unwrap_or_default()
    }

    /// For whom not all is enforced.
    pub fn set_partial(&self, mut partial: Vec<Partial>) {
        partial.sort();
        let mut state = self.lock();
        state.report.partial_workloads = partial.len();
        partial.truncate(PARTIAL_SHOWN);
        state.report.partial = partial;
    }
}
