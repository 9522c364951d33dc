//! Policy: who may interact with whom. From a text to what the kernel looks up.
//!
//! ```text
//! document (YAML) -> model -> compile (identities, spans); crate::enforcement writes them into the kernel's maps
//! ```

pub mod model;

pub mod document;

pub mod folder;

pub mod check;

pub mod numbers;

pub mod canary;

mod rules;

mod signature;

mod networks;

pub mod names;

mod judge;

mod decide;

mod spans;

pub mod limits;

pub mod settings;

pub mod compile;

pub mod explain;

pub mod expect;

pub mod diff;

pub(crate) mod write;

pub mod import;

#[cfg(test)]
mod reference;

#[cfg(test)]
pub(crate) mod samples;

pub use self::{
    compile::{Additions, Plan, RuleInfo},
    limits::{Limit, NoRoom, Room, Size, TooLarge},
    numbers::RuleNumbers,
    settings::{ByDefault, NeverTold, Settings, Unresolved},
    signature::Signature,
};
