//! What became of connections that were open when policies began to deny them.

use serde::{Deserialize, Serialize};

/// How many connections were cut since the daemon started, and how many could not be.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub struct Cuts {
    /// Connections of which the socket of at least one end was destroyed.
    pub cut: u64,
    /// See [`Uncut::NotFound`].
    pub not_found: u64,
    /// See [`Uncut::Ambiguous`].
    pub ambiguous: u64,
    /// See [`Uncut::Refused`].
    pub refused: u64,
    /// See [`Uncut::Late`].
    pub late: u64,
}

/// Why a connection that is denied was not cut. Its packets are denied all the same.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Uncut {
    /// No process of the workload has a socket with these two ends: nobody has accepted it yet, it was closed and waits for
    /// the kernel to give it up, or it was handed on.
    NotFound,
    /// There was no time left to look for it.
    Late,
    /// Several sockets of the workload have these two ends, in different network namespaces.
    Ambiguous,
    /// The kernel refuses: to hand out the socket, or to end its connection.
    Refused,
}

impl Cuts {
    /// Counts one connection.
    pub(super) fn count(&mut self, outcome: Result<(), Uncut>) {
        let counter = match outcome {
            Ok(()) => &mut self.cut,
            Err(Uncut::NotFound) => &mut self.not_found,
            Err(Uncut::Late) => &mut self.late,
            Err(Uncut::Ambiguous) => &mut self.ambiguous,
            Err(Uncut::Refused) => &mut self.refused,
        };
        *counter += 1;
    }

    /// Those that were not cut, by why.
    #[must_use]
    pub fn uncut(&self) -> [(&'static str, u64); 4] {
        [
            ("not_found", self.not_found),
            ("late", self.late),
            ("ambiguous", self.ambiguous),
            ("refused", self.refused),
        ]
    }
}
