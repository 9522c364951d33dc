//! The wire format between the programs in the kernel and the daemon: plain bytes only.
//!
//! Everything here is `#[repr(C)]`, has explicit padding and numbers instead of enums, so that both sides
//! read the same bytes and no bit pattern is invalid. What a number means is said beside it.
#![no_std]

pub mod ids;
pub mod record;

pub mod process;

pub mod network;

pub mod dns;

pub mod name;

pub mod container;

pub mod syscall;

pub mod policy;

pub mod case;

pub mod stats;

pub mod budget;

pub mod offsets;

#[cfg(feature = "user")]
mod pod;
