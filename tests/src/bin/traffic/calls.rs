//! System calls that no runtime makes on its way into a container, so that they can be counted to the last one.

use clap::Args;
use nix::unistd::{getsid, truncate};

/// How many of each.
#[derive(Args)]
pub(crate) struct Calls {
    /// Calls of `getsid`, which do what they should unless a seccomp filter forbids them.
    #[arg(long, default_value_t = 0)]
    getsid: u64,
    /// Calls of `truncate` for a file that is not there.
    #[arg(long, default_value_t = 0)]
    truncate: u64,
}

impl Calls {
    pub(crate) fn run(&self) {
        for _ in 0..self.getsid {
            let _ = getsid(None);
        }
        for _ in 0..self.truncate {
            let _ = truncate("/nonexistent", 0);
        }
    }
}
