//! What the kernel counts, as the rest of the daemon sees it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use cofferdam_common::{
    ids::CgroupId,
    network::{LedgerKey, LedgerRow},
    syscall::CallKey,
};
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

/// Reads what the kernel counts of system calls, and tells it whose calls to count. Nothing counts until the hook is
/// attached.
///
/// An account is a name under which calls are counted: the id of one of a workload's cgroups.
pub trait Calls: Send + Sync {
    /// Whether cgroups that are made from now on are counted at once, under themselves.
    ///
    /// # Errors
    /// When the map cannot be written.
    fn count_new_cgroups(&self, on: bool) -> anyhow::Result<()>;

    /// Cgroups that are counted, and under which account.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn selected(&self) -> anyhow::Result<HashMap<CgroupId, CgroupId>>;

    /// Counts a cgroup's calls under an account from now on.
    ///
    /// # Errors
    /// When there is no room for the cgroup. That there is none for the account's `other` rows is no error: what does
    /// not fit is then counted as not counted.
    fn select(&self, cgroup: CgroupId, account: CgroupId) -> anyhow::Result<()>;

    /// Counts a cgroup's calls no more.
    ///
    /// # Errors
    /// When the map cannot be written.
    fn leave(&self, cgroup: CgroupId) -> anyhow::Result<()>;

    /// All counts.
    ///
    /// # Errors
    /// When the map cannot be read.
    fn counts(&self) -> anyhow::Result<HashMap<CallKey, u64>>;

    /// Takes the counts of accounts out of the kernel. Only for accounts that no cgroup has been entered under for a
    /// while: a program that is just counting would count into nothing.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    fn take(&self, accounts: &HashSet<CgroupId>) -> anyhow::Result<HashMap<CallKey, u64>>;
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
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct HookStatus {
    /// The function's name, as the kernel calls the place (`sched_process_exec`, `cgroup_skb_egress`).
    pub name: String,
    /// How it is attached: `tp_btf`, `cgroup_skb`, ...
    pub kind: String,
    /// The family it serves.
    pub family: String,
    /// Why it could not be attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Why it need not be attached, and is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
    /// Whether a host may do without it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
    /// What nobody sees while it is not attached.
    pub without: String,
    /// The first kernel that has all it needs: `5.8`.
    #[serde(default)]
    pub min_kernel: String,
}

impl HookStatus {
    /// Whether it runs.
    #[must_use]
    pub fn attached(&self) -> bool {
        self.refused.is_none() && self.off.is_none()
    }

    /// Whether it is missing, and should not be.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.refused.is_some() && !self.optional
    }
}

/// All hooks as they are now. The sensor writes it, everybody may read it. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Hooks(Arc<RwLock<Vec<HookStatus>>>);

impl Hooks {
    /// In the order of the table of hooks.
    #[must_use]
    pub fn new(hooks: Vec<HookStatus>) -> Self {
        Self(Arc::new(RwLock::new(hooks)))
    }

    /// All of them.
    #[must_use]
    pub fn list(&self) -> Vec<HookStatus> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A hook was attached, refused or let go.
    pub(super) fn set(&self, hook: HookStatus) {
        let mut hooks = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = hooks.iter_mut().find(|known| known.name == hook.name) {
            *known = hook;
        }
    }
}
