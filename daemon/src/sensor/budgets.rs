//! The budgets from which cgroups pay for their records: how much they are, whose they are, and what was over them.
//!
//! A budget is taken in the kernel when a cgroup first sends. What is left to the daemon has time: it says which
//! cgroups are containers' own, so that these pay for all below them, and takes back the budgets of those that are gone.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{self, Array, MapData, MapError, Queue},
};
use cofferdam_common::{
    budget::{Budget, Limit, Payer, SHARED},
    ids::CgroupId,
    record::family,
};

use super::{ONLY_NEW, Options, take, walk::walk};

/// Programs that found a budget are done with it after this long, so that it can be cleared and given to another.
const RETIRE_AFTER: Duration = Duration::from_secs(2);

/// How many records one cgroup may send of one family, until it has to wait.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowance {
    /// How many for good; 0 is no limit.
    pub per_second: u32,
    /// How many at once, after it was silent.
    pub burst: u32,
}

/// How much a budget is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowances {
    /// Flow records. Of process records, which take up more room, an eighth at once.
    pub ordinary: Allowance,
    /// Records that matter for security.
    pub security: Allowance,
}

impl Default for Allowances {
    fn default() -> Self {
        Self {
            // At once some quarter of what fits into the flow ring, so that no cgroup fills it alone.
            ordinary: Allowance { per_second: 20_000, burst: 8_000 },
            // At once little more than half of its ring. A container that starts and ends is four of them, paid by the
            // runtime, and without them what it did has no name: so a thousand of them fit.
            security: Allowance { per_second: 10_000, burst: 4_000 },
        }
    }
}

impl Allowances {
    fn of(&self, family: u32) -> Allowance {
        let Self { ordinary, security } = *self;
        match family {
            family::PROCESS => Allowance { burst: (ordinary.burst / 8).max(1), ..ordinary },
            family::CONTAINER => security,
            // Repeats are folded, so that whoever has more to report tries many things, and one that is left out is told as
            // a number. They wait in the same queue for readers as those of others.
            family::POLICY => {
                Allowance { per_second: security.per_second / 10, burst: (security.burst / 2).max(1) }
            }
            _ => ordinary,
        }
    }
}

impl Allowance {
    fn limit(self, ring_bytes: u32) -> Limit {
        let interval = 1_000_000_000_u64.checked_div(self.per_second.into()).unwrap_or(0);
        Limit {
            interval,
            window: interval * u64::from(self.burst.max(1)),
            crowded: u64::from(ring_bytes) / 2,
        }
    }
}

/// Sets how much a budget is, at any time.
pub struct Limits {
    limits: Array<MapData, Limit>,
    /// Size of the ring that each family is sent through.
    rings: [u32; family::COUNT as usize],
}

impl Limits {
    pub(super) fn new(ebpf: &mut Ebpf, options: &Options) -> anyhow::Result<Self> {
        let Options { record_ring_bytes, flow_ring_bytes, security_ring_bytes, .. } = *options;
        let rings = [record_ring_bytes, flow_ring_bytes, security_ring_bytes, security_ring_bytes];
        Ok(Self { limits: take(ebpf, "LIMITS")?.try_into()?, rings })
    }

    /// Takes effect with the next record.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set(&mut self, allowances: &Allowances) -> anyhow::Result<()> {
        for (family, ring) in (0..).zip(self.rings) {
            self.limits
                .set(family, allowances.of(family).limit(ring), 0)
                .context("cannot set the budgets")?;
        }
        Ok(())
    }
}

/// What the daemon knows of a cgroup.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It is gone, and late packets of it are too.
    Gone,
    /// It pays for itself.
    Alone,
    /// It lies below this cgroup, which is a container's own.
    Below(CgroupId),
}

/// Records that did not come through, since the last time this was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Missing {
    /// Whose budget they were to be paid from; [`CgroupId::NONE`] where it is the shared one.
    pub payer: CgroupId,
    /// Of which family ([`family`]).
    pub family: u32,
    /// How many were over the budget.
    pub shed: u64,
    /// How many found no room in the ring.
    pub lost: u64,
}

/// The budgets as user space sees them.
pub struct Budgets {
    payers: maps::HashMap<MapData, CgroupId, Payer>,
    budgets: Array<MapData, Budget>,
    free: Queue<MapData, u32>,
    capacity: u32,
    /// Budgets that nobody pays from any more, and since when.
    retired: HashMap<u32, Instant>,
    /// What was told already.
    told: HashMap<u32, Budget>,
}

impl Budgets {
    pub(super) fn new(ebpf: &mut Ebpf, capacity: u32) -> anyhow::Result<Self> {
        let mut free = Queue::try_from(take(ebpf, "FREE_BUDGETS")?)?;
        for index in SHARED + 1..capacity {
            free.push(index, 0).context("cannot fill the queue of free budgets")?;
        }
        Ok(Self {
            payers: take(ebpf, "PAYERS")?.try_into()?,
            budgets: take(ebpf, "BUDGETS")?.try_into()?,
            free,
            capacity,
            retired: HashMap::new(),
            told: HashMap::new(),
        })
    }

    /// Lets a container's own cgroup pay for all below it. False when no budget is free for it.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn pay_for_all_below(&mut self, cgroup: CgroupId) -> anyhow::Result<bool> {
        loop {
            match self.payers.get(&cgroup, 0) {
                Ok(payer) => {
                    self.payers.insert(cgroup, Payer::for_all_below(payer.index()), 0)?;
                    return Ok(true);
                }
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error.into()),
            }
            let Ok(index) = self.free.pop(0) else { return Ok(false) };
            self.budgets.set(index, Budget { cgroup, ..Budget::default() }, 0)?;
            match self.payers.insert(cgroup, Payer::for_all_below(index), ONLY_NEW) {
                Ok(()) => return Ok(true),
                // It has sent its first record just now.
                Err(_) => self.free.push(index, 0)?,
            }
        }
    }

    /// Goes through all that pay: those that are gone give their budgets back, and those that began to pay before
    /// their container was known pay from its budget from now on.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn settle(&mut self, mut standing: impl FnMut(CgroupId) -> Standing) -> anyhow::Result<()> {
        let payers = self.payers()?;
        for (cgroup, payer) in &payers {
            let container = match standing(*cgroup) {
                Standing::Gone => {
                    self.payers.remove(cgroup)?;
                    self.retire(*cgroup, *payer)?;
                    continue;
                }
                Standing::Below(container) => payers.get(&container).filter(|_| container != *cgroup),
                Standing::Alone => None,
            };
            if let Some(container) = container
                && container.index() != payer.index()
            {
                self.payers.insert(cgroup, Payer::alone(container.index()), 0)?;
                self.retire(*cgroup, *payer)?;
            }
        }
        Ok(())
    }

    /// Clears budgets that were given back a while ago, once what they say has been [told](Self::missing).
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn clear(&mut self) -> anyhow::Result<()> {
        let used: HashSet<u32> = self.payers()?.values().map(|payer| payer.index()).collect();
        let ripe =
            |index: &u32, since: &mut Instant| since.elapsed() >= RETIRE_AFTER && !used.contains(index);
        for (index, _) in self.retired.extract_if(ripe) {
            self.budgets.set(index, Budget::default(), 0)?;
            self.told.remove(&index);
            self.free.push(index, 0)?;
        }
        Ok(())
    }

    /// What did not come through since the last time.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn missing(&mut self) -> anyhow::Result<Vec<Missing>> {
        let mut missing = Vec::new();
        for (index, budget) in self.budgets()? {
            let told = self.told.insert(index, budget).unwrap_or_default();
            for (family, (now, before)) in (0..).zip(budget.families.iter().zip(told.families)) {
                let (shed, lost) =
                    (now.shed.saturating_sub(before.shed), now.lost.saturating_sub(before.lost));
                if shed + lost > 0 {
                    missing.push(Missing { payer: budget.cgroup, family, shed, lost });
                }
            }
        }
        Ok(missing)
    }

    /// All budgets that are or were paid from, each once, by index.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn budgets(&self) -> anyhow::Result<HashMap<u32, Budget>> {
        let paid = self.payers()?.into_values().map(Payer::index);
        let indices = paid.chain(self.retired.keys().copied()).chain([SHARED]);
        indices.map(|index| Ok((index, self.budgets.get(&index, 0)?))).collect()
    }

    fn payers(&self) -> anyhow::Result<HashMap<CgroupId, Payer>> {
        walk(self.capacity * 2, || self.payers.iter()).context("cannot read who pays")
    }

    /// Nobody pays from it any more, unless it is another's.
    fn retire(&mut self, cgroup: CgroupId, payer: Payer) -> anyhow::Result<()> {
        if self.budgets.get(&payer.index(), 0)?.cgroup == cgroup {
            self.retired.insert(payer.index(), Instant::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_costs_its_share_of_a_second_and_a_burst_can_be_saved_up() {
        let limit = Allowance { per_second: 1_000, burst: 50 }.limit(4096);
        assert_eq!(limit, Limit { interval: 1_000_000, window: 50_000_000, crowded: 2048 });
    }

    #[test]
    fn nothing_per_second_is_no_limit() {
        assert_eq!(Allowance { per_second: 0, burst: 50 }.limit(4096).interval, 0);
    }

    #[test]
    fn a_burst_of_none_would_let_nothing_through_for_ever() {
        let limit = Allowance { per_second: 10, burst: 0 }.limit(4096);
        assert_eq!(limit.window, limit.interval);
    }
}
