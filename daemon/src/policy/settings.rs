//! What holds where no rule says anything, as the configuration has it.

use std::{sync::Arc, time::Duration};

use cofferdam_common::network::{VERDICT_AUDIT, VERDICT_DENY, VERDICT_HOLD};

use super::model::{Mode, Policy};
use crate::config::Policies;
pub use crate::config::{ByDefault, NeverTold, Unresolved};

/// What holds where no rule says anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// To whom containers may send that no rule of this direction is about.
    pub default_egress: ByDefault,
    /// Who may send to them.
    pub default_ingress: ByDefault,
    /// What a new cgroup may until it is known who lives there.
    pub unresolved: Unresolved,
    /// How long that holds at most.
    pub unresolved_for: Duration,
    /// What it may afterwards, until it is known after all.
    pub never_told: NeverTold,
}

impl From<&Policies> for Settings {
    fn from(policies: &Policies) -> Self {
        Self {
            default_egress: policies.default_egress,
            default_ingress: policies.default_ingress,
            unresolved: policies.unresolved,
            unresolved_for: Duration::from_secs(policies.unresolved_seconds.get().into()),
            never_told: policies.never_told,
        }
    }
}

impl Settings {
    /// Whether nothing at all is denied or reported where there is no policy.
    #[must_use]
    pub fn allow_all(&self) -> bool {
        self.default_egress == ByDefault::Allow && self.default_ingress == ByDefault::Allow
    }

    /// The verdict on who sends with an address that is not his: where anything is denied, nobody shall get around it.
    pub(super) fn verdict_on_forged(&self, policies: &[Arc<Policy>]) -> u8 {
        let enforced = policies.iter().any(|policy| policy.mode == Mode::Enforce);
        if enforced || !self.allow_all() { VERDICT_DENY } else { VERDICT_AUDIT }
    }

    /// The verdict on who is unresolved, unless it is that everything is allowed.
    pub(super) fn verdict_on_unresolved(&self) -> Option<u8> {
        match self.unresolved {
            Unresolved::Allow => None,
            Unresolved::Audit => Some(VERDICT_AUDIT),
            Unresolved::Deny => Some(VERDICT_DENY),
            Unresolved::Hold => Some(VERDICT_HOLD),
        }
    }

    /// The verdict on who has not become known, where it does not go by rules; not where everything is allowed.
    pub(super) fn verdict_on_never_told(&self) -> Option<u8> {
        match self.never_told {
            NeverTold::Allow | NeverTold::Judge => None,
            NeverTold::Audit => Some(VERDICT_AUDIT),
            NeverTold::Deny => Some(VERDICT_DENY),
        }
    }
}
