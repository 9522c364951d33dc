//! Has the kernel judge by the policies: writes a plan into the slot that is not in use and changes over to it, and sees
//! to it that whoever comes to live on this host is known there.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_common::{
    ids::{Address, CgroupId},
    policy::{Identity, Resident, Tables as _},
};

use crate::{
    attribution::Placed,
    config::Policies,
    event::{RuleName, Workload},
    policy::{
        Additions, Limit, NeverTold, Plan, Room, RuleNumbers, Settings, TooLarge, Unresolved, model::Policy,
    },
    sensor::policy::{PolicyMaps, PolicySize, Slot},
};

mod check;

mod denied;

mod names;

mod unknown;

/// How long a cgroup that is gone keeps its identity: its last packets may still be under way.
const GRACE: Duration = Duration::from_secs(10);

/// The policies in force.
pub struct Sync {
    maps: PolicyMaps,
    numbers: RuleNumbers,
    plan: Option<Plan>,
    /// How many of its identities are in the kernel, and what those after them need there, in order. Nobody has such a one
    /// before that is written: the kernel would find nothing that speaks against him.
    written: usize,
    unwritten: VecDeque<Additions>,
    /// Who lives in each cgroup whose identity is in the kernel.
    residents: HashMap<CgroupId, Known>,
    /// Since when we know those of whom nobody has told who they are, by [`Placed::home`].
    unresolved: HashMap<CgroupId, Instant>,
    /// Those of whom nobody has told in time, by the same.
    never_told: HashSet<CgroupId>,
    /// Since when we know that cgroups are gone.
    gone: HashMap<CgroupId, Instant>,
    timed_out: u64,
    /// Cgroups that could not be given their identity when that was tried last.
    left_out: usize,
    /// What holds where no rule says anything.
    settings: Settings,
    /// What workloads were told by resolvers that are believed.
    heard: names::Heard,
    /// Containers, by their own cgroups, of which each frame is judged at a link of their own.
    covered: HashSet<CgroupId>,
}

struct Known {
    workload: Arc<Workload>,
    /// As in [`Placed::home`].
    home: CgroupId,
    resident: Resident,
}

/// By what somebody is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// By rules, as who he is, or was when that was known last.
    Known,
    /// As the configuration has it until it is known who he is.
    Unresolved,
    /// As it has it where that has not become known in time.
    NeverTold,
}

impl Standing {
    /// The identity by which a workload is judged so. Only who is known needs one of his own.
    fn identity(self, plan: &mut Plan, workload: &Workload) -> Result<Identity, TooLarge> {
        match self {
            Self::Known => plan.admit(plan.signature(workload)),
            Self::Unresolved => Ok(Identity::UNRESOLVED),
            Self::NeverTold => Ok(Identity::NEVER_TOLD),
        }
    }
}

impl Sync {
    /// No policy is in force.
    #[must_use]
    pub fn new(maps: PolicyMaps) -> Self {
        Self {
            maps,
            numbers: RuleNumbers::default(),
            plan: None,
            written: 0,
            unwritten: VecDeque::new(),
            residents: HashMap::new(),
            unresolved: HashMap::new(),
            never_told: HashSet::new(),
            gone: HashMap::new(),
            timed_out: 0,
            left_out: 0,
            settings: Settings::from(&Policies::default()),
            heard: names::Heard::default(),
            covered: HashSet::new(),
        }
    }

    /// What is in force; `None` while nothing is judged.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// The generation in force; zero while there is none.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.maps.in_force()
    }

    /// Cgroups that the kernel takes for unresolved, since it is not known yet who lives there or there is no room; and how
    /// often that took too long.
    #[must_use]
    pub fn unresolved(&self) -> (usize, u64) {
        let are_judged = self.settings.never_told == NeverTold::Judge || self.plan.is_none();
        let never_told = if are_judged { 0 } else { self.never_told.len() };
        (self.unresolved.len() + never_told + self.left_out, self.timed_out)
    }

    /// What the policies take of the kernel's room, and how much there is; what has two slots, of the one in use.
    #[must_use]
    pub fn fill(&self) -> [(&'static str, usize, u32); 7] {
        let PolicySize { identities, pairs, intervals, networks, names, cgroups, addresses } =
            self.maps.size();
        let size = self.plan().map(Plan::size).unwrap_or_default();
        let (placed, addressed) = self.maps.entries();
        [
            ("policy_identities", size.identities, identities),
            ("policy_pairs", size.pairs, pairs),
            ("policy_intervals", size.intervals, intervals),
            ("policy_networks", size.networks, networks),
            ("policy_names", size.names, names),
            ("policy_cgroups", placed, cgroups),
            ("policy_addresses", addressed, addresses),
        ]
    }

    /// Puts policies in force. What their rules are called, by the numbers that the kernel knows, is told to `name` before
    /// the kernel can say anything of them.
    ///
    /// # Errors
    /// They are too large, or a map cannot be written. What was in force stays.
    pub fn apply(
        &mut self,
        policies: Vec<Arc<Policy>>,
        settings: Settings,
        placed: &[Placed],
        name: impl FnOnce(HashMap<u32, Arc<RuleName>>),
    ) -> anyhow::Result<()> {
        if policies.is_empty() && settings.allow_all() {
            self.maps.deactivate()?;
            self.plan = None;
            self.unresolved.clear();
            name(HashMap::new());
            return Ok(());
        }
        let mut plan = Plan::new(policies, settings, &mut self.numbers)?;
        let gone = self.not_among(placed);
        let mut identities = HashMap::new();
        // Always in one order: what has not changed then has the same numbers as before, and need not be written.
        let mut all: Vec<_> = placed.iter().chain(&gone).collect();
        all.sort_unstable_by_key(|placed| placed.cgroup);
        for placed in all {
            let standing = self.standing(placed, &settings);
            identities.insert(placed.cgroup, standing.identity(&mut plan, &placed.workload)?);
        }
        // Before anything is written.
        plan.fit_into(room(self.maps.size()))?;
        self.fits(placed)?;
        let slot = self.maps.next_slot();
        let networks: HashSet<_> = plan.networks().map(|(network, _)| network).collect();
        self.maps.keep(slot, |pair| plan.pair(pair).is_some(), |network| networks.contains(network))?;
        write(&mut self.maps, slot, &plan.take_additions(), &plan)?;
        for (network, identity) in plan.networks() {
            self.maps.set_network(slot, network, identity)?;
        }
        self.write_names(&plan, slot)?;
        for placed in placed.iter().chain(&gone) {
            let identity = identities.get(&placed.cgroup).copied().unwrap_or(Identity::UNRESOLVED);
            self.place(placed, slot, identity)?;
        }
        name(plan.rule_names());
        self.maps.activate()?;
        self.written = plan.size().identities;
        self.unwritten.clear();
        self.plan = Some(plan);
        self.settings = settings;
        Ok(())
    }

    /// Takes in whose addresses are whose.
    ///
    /// # Errors
    /// There is no room for more, or the map cannot be written. The rest is done all the same.
    pub fn set_addresses(&mut self, addresses: &HashMap<Address, CgroupId>) -> anyhow::Result<()> {
        self.maps.set_addresses(addresses)
    }

    /// Takes in of which containers, by their own cgroups, each frame is judged at a link of their own; of nobody else.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn set_covered(&mut self, covered: HashSet<CgroupId>) -> anyhow::Result<()> {
        if self.covered == covered {
            return Ok(());
        }
        for (cgroup, known) in &mut self.residents {
            let resident = Resident { covered: covered.contains(&known.home).into(), ..known.resident };
            if resident != known.resident {
                self.maps.set_resident(*cgroup, resident)?;
                known.resident = resident;
            }
        }
        self.covered = covered;
        Ok(())
    }

    /// Takes in who lives on this host now, and whose addresses are whose.
    ///
    /// # Errors
    /// There is no room for more, or a map cannot be written. The rest is done all the same.
    pub fn turn(&mut self, placed: &[Placed], addresses: &HashMap<Address, CgroupId>) -> anyhow::Result<()> {
        if self.plan.is_none() {
            return Ok(());
        }
        let (slot, mut result, mut changed) = (self.maps.slot(), Ok(()), false);
        self.left_out = 0;
        for placed in placed {
            if self.standing(placed, &self.settings) == Standing::Unresolved {
                let since = *self.unresolved.entry(placed.home).or_insert_with(Instant::now);
                if since.elapsed() < self.settings.unresolved_for {
                    continue;
                }
                self.give_up(placed);
            }
            match self.settle(placed, slot) {
                Ok(anew) => changed |= anew,
                Err(error) => {
                    self.left_out += 1;
                    result = Err(error);
                }
            }
        }
        let forgotten = self.forget_gone(placed);
        let addressed = self.set_addresses(addresses);
        let judged = if changed { self.maps.judge_anew().map(drop) } else { Ok(()) };
        result.and(forgotten).and(addressed).and(judged)
    }

    /// Nobody has told in time who lives there.
    fn give_up(&mut self, placed: &Placed) {
        if self.never_told.insert(placed.home) {
            self.timed_out += 1;
            let (workload, from_now_on) = (placed.workload.to_string(), self.settings.never_told);
            tracing::warn!(workload, ?from_now_on, "no runtime has told who this is (policies.never_told)");
        }
    }

    /// Gives a workload its identity. Returns whether flows may have been judged by another.
    fn settle(&mut self, placed: &Placed, slot: Slot) -> anyhow::Result<bool> {
        self.unresolved.remove(&placed.home);
        if placed.told {
            self.never_told.remove(&placed.home);
        }
        let standing = self.standing(placed, &self.settings);
        let Some(plan) = &mut self.plan else { return Ok(false) };
        let known = self.residents.get(&placed.cgroup);
        let before = known.map(|known| known.resident.identities[usize::from(slot)]);
        if known.is_some_and(|known| {
            Arc::ptr_eq(&known.workload, &placed.workload) && (known.resident.owns_below != 0) == placed.own
        }) && (before == Some(Identity::NEVER_TOLD)) == (standing == Standing::NeverTold)
        {
            return Ok(false);
        }
        let identity = standing.identity(plan, &placed.workload)?;
        self.unwritten.extend(Some(plan.take_additions()).filter(|new| !new.subjects.is_empty()));
        if identity.0 as usize >= self.written {
            while let Some(new) = self.unwritten.front() {
                write(&mut self.maps, slot, new, plan)?;
                self.unwritten.pop_front();
            }
            self.written = plan.size().identities;
        }
        self.place(placed, slot, identity)?;
        let let_pass = matches!(self.settings.unresolved, Unresolved::Allow | Unresolved::Audit);
        // What he began while he was unresolved may go on, so it is judged anew.
        Ok(before.map_or(let_pass, |before| before != identity))
    }

    /// Those who are gone but not forgotten: in each generation they are who they were.
    fn not_among(&self, placed: &[Placed]) -> Vec<Placed> {
        let live: HashSet<CgroupId> = placed.iter().map(|placed| placed.cgroup).collect();
        let gone = self.residents.iter().filter(|(cgroup, _)| !live.contains(cgroup));
        let as_placed = |(cgroup, known): (&CgroupId, &Known)| Placed {
            cgroup: *cgroup,
            workload: Arc::clone(&known.workload),
            home: known.home,
            own: known.resident.owns_below != 0,
            told: !self.never_told.contains(&known.home),
        };
        gone.map(as_placed).collect()
    }

    /// By what somebody is judged.
    fn standing(&self, placed: &Placed, settings: &Settings) -> Standing {
        let never_told = self.never_told.contains(&placed.home);
        if !placed.told && never_told && settings.never_told != NeverTold::Judge {
            Standing::NeverTold
        } else if placed.told || never_told || self.residents.contains_key(&placed.home) {
            Standing::Known
        } else {
            Standing::Unresolved
        }
    }

    /// Whether there is room for all cgroups that are here, beside those that are gone and not forgotten yet.
    fn fits(&self, placed: &[Placed]) -> Result<(), TooLarge> {
        let known: HashSet<_> = self.maps.residents().collect();
        let new = placed.iter().filter(|placed| !known.contains(&placed.cgroup)).count();
        Limit::Cgroups.within(self.maps.size().cgroups as usize, known.len() + new)
    }

    fn place(&mut self, placed: &Placed, slot: Slot, identity: Identity) -> anyhow::Result<()> {
        let mut resident = self.residents.get(&placed.cgroup).map(|known| known.resident).unwrap_or_default();
        resident.identities[usize::from(slot)] = identity;
        resident.owns_below = placed.own.into();
        resident.covered = self.covered.contains(&placed.home).into();
        self.maps.set_resident(placed.cgroup, resident)?;
        if identity != Identity::UNRESOLVED {
            let workload = Arc::clone(&placed.workload);
            self.residents.insert(placed.cgroup, Known { workload, home: placed.home, resident });
        }
        Ok(())
    }

    fn forget_gone(&mut self, placed: &[Placed]) -> anyhow::Result<()> {
        let live: HashSet<CgroupId> = placed.iter().map(|placed| placed.cgroup).collect();
        self.unresolved.retain(|cgroup, _| live.contains(cgroup));
        self.gone.retain(|cgroup, _| !live.contains(cgroup));
        for cgroup in self.maps.residents().filter(|cgroup| !live.contains(cgroup)) {
            self.gone.entry(cgroup).or_insert_with(Instant::now);
        }
        let ripe: Vec<CgroupId> = self
            .gone
            .iter()
            .filter(|(_, since)| since.elapsed() >= GRACE)
            .map(|(cgroup, _)| *cgroup)
            .collect();
        for cgroup in ripe {
            self.maps.forget_resident(cgroup)?;
            self.residents.remove(&cgroup);
            self.gone.remove(&cgroup);
        }
        self.never_told.retain(|cgroup| live.contains(cgroup) || self.residents.contains_key(cgroup));
        Ok(())
    }
}

/// What fits into maps of such a size.
fn room(size: PolicySize) -> Room {
    Room {
        identities: size.identities as usize,
        pairs: size.pairs as usize,
        intervals: size.intervals as usize,
        networks: size.networks as usize,
        names: size.names as usize,
    }
}

/// Writes what is new in a plan, in the order in which nothing refers to what is not there.
fn write(maps: &mut PolicyMaps, slot: Slot, new: &Additions, plan: &Plan) -> anyhow::Result<()> {
    let start = u32::try_from(new.intervals.start)?;
    maps.set_intervals(slot, start, plan.intervals().get(new.intervals.clone()).unwrap_or_default())?;
    for (key, span) in &new.pairs {
        maps.set_pair(cofferdam_common::policy::PairKey { slot, ..*key }, *span)?;
    }
    for (identity, subject) in &new.subjects {
        maps.set_subject(slot, *identity, *subject)?;
    }
    Ok(())
}
