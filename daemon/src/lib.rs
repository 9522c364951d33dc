//! Cofferdam: who on this host talks to whom.
//!
//! Modules stand in the order in which an event passes through them.
#![forbid(unsafe_code)]

pub mod config;

pub mod pipeline;

pub mod sensor;

pub mod links;

pub mod event;

pub mod attribution;

pub mod interaction;

pub mod history;

pub mod baseline;

pub mod policy;

pub mod enforcement;

pub mod cut;

pub mod canary;

pub mod syscall;

pub mod sink;

pub mod notify;

pub mod view;

pub mod metrics;

pub mod api;

pub mod cli;
