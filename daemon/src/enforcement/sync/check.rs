//! Whether the kernel's maps still have what was written into them.

use std::collections::BTreeSet;

use cofferdam_common::policy::{EGRESS, Tables as _};

use super::{Known, Sync};
use crate::sensor::policy::{Checked, Table};

impl Sync {
    /// Looks at the next `most` entries of a map, and writes again what is not as it was written; from the start if `anew`.
    pub fn check(&mut self, table: Table, most: usize, anew: bool) -> Checked {
        self.maps.check(table, most, anew)
    }

    /// Whether the kernel judges by the generation that is in force. If not, it does from here on.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn check_generation(&mut self) -> anyhow::Result<bool> {
        self.maps.check_generation()
    }

    /// Has all flows judged anew.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn judge_anew(&mut self) -> anyhow::Result<()> {
        self.maps.judge_anew().map(drop)
    }

    /// Who is no container, by name, and may not send everything.
    #[must_use]
    pub fn limited_senders(&self) -> BTreeSet<String> {
        let Some(plan) = &self.plan else { return BTreeSet::new() };
        let slot = usize::from(self.maps.slot());
        let is_limited = |known: &&Known| {
            let subject = plan.subject(0, known.resident.identities[slot]).unwrap_or_default();
            let sends = usize::from(EGRESS);
            subject.any[sends].length > 0 || subject.pairs[sends] > 0
        };
        let others = self.residents.values().filter(|known| known.workload.kind.is_hosts_own());
        others.filter(is_limited).map(|known| known.workload.name.clone()).collect()
    }

    /// Cgroups that have no identity for longer than they may, or for which there is no room.
    #[must_use]
    pub fn overdue(&self) -> usize {
        // Each turn gives one to whoever had none for so long, and turns come several times a second.
        let overdue =
            self.unresolved.values().filter(|since| since.elapsed() >= 2 * self.settings.unresolved_for);
        self.left_out + overdue.count()
    }
}
