//! Looks whether the kernel's maps still have what is in force, and keeps what was found of all that enforces.

use std::{sync::PoisonError, time::Duration};

use jiff::Timestamp;

use super::{InForce, Look, Mended, Sync, Tried, Verified};
use crate::sensor::{
    policy::{Checked, Table},
    standing::{Finding, What},
};

/// How many entries are looked at in one go, while nobody can change the policies: less than a millisecond.
const AT_ONCE: usize = 1024;

/// What was found.
#[derive(Default)]
pub(super) struct Kept {
    /// When it was last looked, while something is judged.
    verified: Option<Verified>,
    /// What the daemon's own workloads tried last.
    pub(super) tried: Option<Tried>,
    /// Since the daemon started.
    mended: Mended,
}

impl InForce {
    /// How often it is looked while policies are in force.
    #[must_use]
    pub fn verifies_every(&self) -> Duration {
        Duration::from_secs(self.lock().config.verify_every_seconds.get().into())
    }

    /// Looks at `most` entries of each of the kernel's maps at least, and mends what is not as it was written; of a map in
    /// which something is wrong, at all of them. What was judged meanwhile is judged anew then. Nothing is looked at while
    /// nothing is judged.
    #[must_use]
    pub fn verify_maps(&self, most: usize) -> Vec<Finding> {
        let mut findings = Vec::new();
        match self.with_sync(Sync::check_generation) {
            None | Some(Ok(true)) => {}
            Some(mended) => {
                let text = "another generation of policies was in force than the last";
                findings.push(Finding::mended(What::Generation, 1, text, mended.map(drop)));
            }
        }
        let maps: Vec<_> = Table::ALL.into_iter().filter_map(|table| self.verify_map(table, most)).collect();
        if !maps.is_empty()
            && let Some(Err(error)) = self.with_sync(Sync::judge_anew)
        {
            let text = "flows were judged by what was not right".to_owned();
            findings.push(Finding::mended(What::Generation, 1, text, Err(error)));
        }
        findings.extend(maps);
        findings.extend(self.with_sync(|sync| sync.overdue()).filter(|overdue| *overdue > 0).map(
            |overdue| {
                Finding::open(
                    What::Identity,
                    format!("{overdue} cgroups have no identity for longer than they may"),
                )
            },
        ));
        findings
    }

    fn verify_map(&self, table: Table, most: usize) -> Option<Finding> {
        let mut sum = Checked::default();
        let mut anew = false;
        while !(sum.ended || sum.looked >= most && sum.wrong == 0) {
            let checked = self.with_sync(|sync| sync.check(table, AT_ONCE, std::mem::take(&mut anew)))?;
            // What was looked at before this pass came here may be wrong by now as well.
            anew = sum.wrong == 0 && checked.wrong > 0;
            sum.add(checked);
            if anew {
                // From the start, so that each is counted once.
                (sum.looked, sum.ended) = (0, false);
            }
        }
        if sum.wrong == 0 {
            return None;
        }
        let text =
            format!("{} of {} {} were not as they were written", sum.wrong, sum.looked, table.what().name());
        let mending = sum.failed.map_or(Ok(()), |failed| Err(anyhow::anyhow!(failed)));
        Some(Finding::mended(table.what(), sum.wrong, text, mending))
    }

    /// Keeps what a look has found; `None` while nothing is judged. Returns what is known now.
    pub fn set_verified(&self, look: Option<Look>) -> Option<Verified> {
        let mut kept = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Timestamp::now();
        look.iter().for_each(|look| kept.mended.add(look, now));
        kept.verified = look.map(|look| Verified::after(kept.verified.as_ref(), look, now));
        kept.verified.clone()
    }

    /// What was found when it was last looked whether what is in force is enforced; `None` while nothing is judged. Waits for
    /// nothing but a short lock.
    #[must_use]
    pub fn verified(&self) -> Option<Verified> {
        self.kept().0
    }

    /// The same, and what was mended.
    pub(super) fn kept(&self) -> (Option<Verified>, Mended) {
        let kept = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        let verified = kept.verified.clone();
        let verified = verified.map(|verified| Verified { tried: kept.tried.clone(), ..verified });
        (verified, kept.mended.clone())
    }

    /// Does something with what is in force, if anything is.
    fn with_sync<T>(&self, act: impl FnOnce(&mut Sync) -> T) -> Option<T> {
        let mut state = self.lock();
        let sync = state.sync.as_mut().filter(|sync| sync.plan().is_some());
        sync.map(act)
    }
}
