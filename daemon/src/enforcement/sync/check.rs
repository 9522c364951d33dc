//! Whether the kernel's maps still have what was written into them.

use super::{RESOLVE_WITHIN, Sync};
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

    /// Cgroups that have no identity for longer than they may, or for which there is no room.
    #[must_use]
    pub fn overdue(&self) -> usize {
        // Each turn gives one to whoever had none for so long, and turns come several times a second.
        let overdue = self.unresolved.values().filter(|since| since.elapsed() >= 2 * RESOLVE_WITHIN);
        self.left_out + overdue.count()
    }
}
