//! What is usual between workloads: policies that say so, and what is not.

pub mod anomaly;
