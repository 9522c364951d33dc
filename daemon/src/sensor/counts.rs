//! What the kernel counts, as the rest of the daemon sees it.

use cofferdam_common::network::{LedgerKey, LedgerRow};
use serde::{Deserialize, Serialize};

/// Reads the kernel's counts. Behind a trait, so that api and metrics can be tested without a kernel.
pub trait Counts: Send + Sync {
    /// All rows of the ledger, with the flows that are not yet decided and the rows of workloads that are gone.
    ///
    /// # Errors
    /// When a map cannot be read.
    fn ledger(&self) -> anyhow::Result<Vec<(LedgerKey, LedgerRow)>>;

    /// Records by family: cheap, unlike [`Counts::counters`].
    ///
    /// # Errors
    /// When the map cannot be read.
    fn families(&self) -> anyhow::Result<Vec<Family>>;

    /// Records shed, and records lost, of all families.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn missing(&self) -> anyhow::Result<(u64, u64)> {
        let add = |(shed, lost), family: &Family| (shed + family.shed, lost + family.lost);
        Ok(self.families()?.iter().fold((0, 0), add))
    }

    /// Counters of the programs and use of their maps. Walks through the maps to tell how full they are.
    ///
    /// # Errors
    /// When a map cannot be read.
    fn counters(&self) -> anyhow::Result<Counters>;
}

/// Counters of the programs and use of their maps.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Records by family: `issued = delivered + shed + lost`.
    pub families: Vec<Family>,
    /// What hooks could not do, by name ([`cofferdam_common::stats::failure`]).
    pub failures: Vec<Named>,
    /// Rings: bytes waiting and size.
    pub rings: Vec<Use>,
    /// Maps: entries and size. Only those that can fill up.
    pub maps: Vec<Use>,
}

/// Records of one family.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Family {
    /// `process`, `network`, `container`.
    pub family: String,
    /// Records that hooks wanted to send.
    pub issued: u64,
    /// Records over the budget of the workload that they are about.
    #[serde(default)]
    pub shed: u64,
    /// Records that found no room in the ring.
    pub lost: u64,
}

/// A counter with a name.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Named {
    /// What is counted.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// How full something is.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub used: u64,
    /// What fits into it.
    pub capacity: u64,
}

/// A hook and whether it is attached.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct HookStatus {
    /// The function's name, as the kernel calls the place (`sched_process_exec`, `cgroup_skb_egress`).
    pub name: String,
    /// How it is attached: `tp_btf`, `cgroup_skb`, ...
    pub kind: String,
    /// The family it serves.
    pub family: String,
    /// Why it is not attached; absent when it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What nobody sees while it is not attached.
    pub without: String,
    /// The first kernel that has all it needs: `5.8`.
    #[serde(default)]
    pub min_kernel: String,
}
