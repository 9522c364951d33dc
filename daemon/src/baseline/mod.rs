//! What is usual between workloads: policies that say so, and what is not.

mod words;

pub mod learn;

pub mod diff;

pub mod coverage;

pub mod alerts;

pub mod anomaly;

pub mod rule;

pub use self::{alerts::Alerts, learn::side::lasting_name};
