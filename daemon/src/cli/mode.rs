//! The mode of policies that a command writes.

use clap::ValueEnum;

use crate::policy::model::Mode;

/// A mode, as it is written on a command line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ChosenMode {
    /// What they forbid passes and is reported.
    Audit,
    /// It is denied.
    Enforce,
}

impl From<ChosenMode> for Mode {
    fn from(chosen: ChosenMode) -> Self {
        match chosen {
            ChosenMode::Audit => Self::Audit,
            ChosenMode::Enforce => Self::Enforce,
        }
    }
}
