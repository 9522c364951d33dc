//! Attaches hooks while something needs them, and has what judges stay.

use std::sync::atomic::Ordering;

use super::{
    Sensor,
    attach::attach,
    counts::HookStatus,
    hooks::{HOOKS, Hook},
    kept, lock, reason, status,
};

impl Sensor {
    /// Attaches the hooks of a family that is off unless something needs it, or lets them go. What the kernel refused
    /// stays refused. May take as long as the kernel needs to be sure that a program runs nowhere any more.
    pub fn need(&self, family: &str, needed: bool) {
        let _switching = lock(&self.switching);
        for hook in HOOKS.iter().filter(|hook| hook.family == family && hook.off.is_some()) {
            let known = self.hooks.list().into_iter().find(|status| status.name == hook.name);
            if known.is_none_or(|known| known.refused.is_some() || known.attached() == needed) {
                continue;
            }
            if !needed {
                drop(lock(&self.links).remove(hook.name));
                self.hooks.set(status(hook, None));
                continue;
            }
            let refused = self.switch_on(hook).err().map(|error| reason(&error));
            self.hooks.set(HookStatus { off: None, ..status(hook, refused) });
        }
    }

    pub(super) fn switch_on(&self, hook: &Hook) -> anyhow::Result<()> {
        if hook.attach.is_at_links() {
            // Each by itself, as they come: `cover`.
            return Ok(());
        }
        let link = attach(&mut self.write(), hook, &self.root)?;
        lock(&self.links).insert(hook.name, link);
        Ok(())
    }

    /// Has what judges go on should the daemon end, however it ends; or lets it go, and what an earlier daemon has left.
    ///
    /// # Errors
    /// When a link cannot be pinned. What judges now goes on all the same while the daemon does.
    pub fn stay(&self, stay: bool) -> anyhow::Result<()> {
        let _switching = lock(&self.switching);
        self.stays.store(stay, Ordering::Relaxed);
        if !stay {
            return self.uncover_all().and(self.kept.clear().map(drop));
        }
        self.kept.hand_on(&self.named)?;
        HOOKS
            .iter()
            .filter(|hook| kept::stays(hook) && !self.kept.has(hook.name))
            .try_for_each(|hook| self.pin(hook))
    }

    /// Pins the link of a hook, if it is attached.
    pub(super) fn pin(&self, hook: &Hook) -> anyhow::Result<()> {
        let Some(link) = lock(&self.links).remove(hook.name) else { return Ok(()) };
        match self.kept.pin(hook.name, link) {
            Ok(link) => drop(lock(&self.links).insert(hook.name, link)),
            Err(error) => {
                // What could not be pinned is gone.
                self.switch_on(hook)?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whether what judges stays should the daemon end.
    #[must_use]
    pub fn stays(&self) -> bool {
        self.stays.load(Ordering::Relaxed)
    }

    /// Whether what an earlier daemon has left still judges.
    #[must_use]
    pub fn follows(&self) -> bool {
        self.kept.has_others()
    }

    /// Lets go what an earlier daemon has left. Until then that judges as well, so that there is no gap.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn take_over(&self) -> anyhow::Result<()> {
        self.kept.clear_others()
    }
}
