//! What holds where no rule says anything, as the configuration has it.

use cofferdam_common::network::{VERDICT_AUDIT, VERDICT_DENY, VERDICT_HOLD};
use serde::{Deserialize, Serialize};

/// What holds where no rule says anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Settings {
    /// To whom containers may send that no rule of this direction is about.
    pub default_egress: ByDefault,
    /// Who may send to them.
    pub default_ingress: ByDefault,
    /// What a new cgroup may until it is known who lives there.
    pub unresolved: Unresolved,
}

/// What containers may that no rule is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ByDefault {
    /// Everything.
    Allow,
    /// Nothing.
    Deny,
}

/// What a cgroup may of which nothing is known yet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unresolved {
    /// Everything.
    Allow,
    /// Everything, and it is reported.
    Audit,
    /// Nothing.
    Deny,
    /// Packets wait: they are dropped, and the sender tries again.
    Hold,
}

impl Settings {
    /// Whether nothing at all is denied or reported where there is no policy.
    #[must_use]
    pub fn allow_all(&self) -> bool {
        self.default_egress == ByDefault::Allow && self.default_ingress == ByDefault::Allow
    }
}

impl Unresolved {
    /// The verdict, unless it is that everything is allowed.
    pub(super) fn verdict(self) -> Option<u8> {
        match self {
            Self::Allow => None,
            Self::Audit => Some(VERDICT_AUDIT),
            Self::Deny => Some(VERDICT_DENY),
            Self::Hold => Some(VERDICT_HOLD),
        }
    }
}
