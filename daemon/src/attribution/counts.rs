//! What attribution has counted: what it could not name, what found no room, what came of the DNS.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::Attribution;

/// What comes of an answer of the DNS.
#[derive(Clone, Copy)]
pub(super) enum DnsOutcome {
    /// Its addresses were learned.
    Learned,
    /// It had none.
    NoAddress,
    /// It was longer than what is looked at, and what there was of it was learned.
    Truncated,
    /// It could not be read.
    Malformed,
}

/// The names of what comes of an answer of the DNS, in the order of `DnsOutcome`.
pub const DNS_OUTCOMES: [&str; 4] = ["learned", "no_address", "truncated", "malformed"];

/// What found no room, since the daemon started.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Overflows {
    /// Cgroups and containers: what happens in them is unattributed.
    pub workloads: u64,
    /// Processes: they are shown without executable.
    pub processes: u64,
    /// Labels of containers that were left out or shortened.
    pub labels: u64,
    /// DNS names that had to go before their time.
    pub names: u64,
}

impl Attribution {
    /// Events with a workload that nothing could be learned about, since the daemon started.
    #[must_use]
    pub fn unattributed(&self) -> u64 {
        self.unattributed.load(Ordering::Relaxed)
    }

    /// Cgroups that exist and that neither a runtime nor systemd claims.
    #[must_use]
    pub fn unclaimed(&self) -> u64 {
        self.tables().unclaimed()
    }

    /// What found no room.
    #[must_use]
    pub fn overflows(&self) -> Overflows {
        let processes = self.processes().overflow();
        let tables = self.tables();
        Overflows {
            workloads: tables.overflow,
            processes,
            labels: tables.labels_cut,
            names: tables.names.evicted,
        }
    }

    /// How many DNS names are known.
    #[must_use]
    pub fn dns_names(&self) -> usize {
        self.tables().names.len()
    }

    pub(super) fn count_dns_answer(&self, outcome: DnsOutcome) {
        if let Some(count) = self.dns_answers.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers of the DNS, by what came of them ([`DNS_OUTCOMES`]), since the daemon started.
    #[must_use]
    pub fn dns_answers(&self) -> [u64; DNS_OUTCOMES.len()] {
        std::array::from_fn(|at| self.dns_answers.get(at).map_or(0, |count| count.load(Ordering::Relaxed)))
    }
}
