//! Decides whose system calls the kernel counts, and keeps what it counted for those that are gone.
//!
//! The kernel enters new cgroups by itself, so that a container's first call is counted before anybody knows its name.
//! Here each is entered under its workload's account, or left again when it turns out to be nobody's.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, Instant},
};

use cofferdam_common::ids::CgroupId;

use super::{Archive, Sums, Syscall};
use crate::{
    config::Selection,
    event::{Workload, WorkloadKind},
    sensor::counts::Calls,
};

/// How long a new container's calls are counted while nothing selects it: its runtime may tell its name late.
const DECIDED_WITHIN: Duration = Duration::from_secs(10);

/// Who is on this host.
pub trait Residents {
    /// Cgroups that exist, and who lives in each.
    fn live(&self) -> Vec<(CgroupId, Arc<Workload>)>;

    /// Who lives, or lived, in a cgroup, as far as it is known.
    fn resident(&self, cgroup: CgroupId) -> Option<Arc<Workload>>;
}

/// Whose calls are counted.
pub struct Accounts {
    kernel: Arc<dyn Calls>,
    selection: RwLock<Selection>,
    /// Held while the kernel is read: counts that just move into the archive are seen once, not twice.
    state: Mutex<State>,
}

/// Who is on this host, and who of them is selected.
struct Host<'a, R> {
    residents: &'a R,
    selection: Selection,
}

#[derive(Default)]
struct State {
    on: bool,
    /// How many workloads are selected.
    workloads: usize,
    /// Whose an account is.
    owners: HashMap<CgroupId, Arc<Workload>>,
    /// Cgroups that are not yet decided, and since when we know them.
    undecided: HashMap<CgroupId, Instant>,
    /// Accounts that no cgroup was entered under at the last turn.
    idle: HashSet<CgroupId>,
    archive: Archive,
}

impl Accounts {
    /// Counts nothing as yet.
    #[must_use]
    pub fn new(kernel: Arc<dyn Calls>) -> Self {
        Self { kernel, selection: RwLock::default(), state: Mutex::default() }
    }

    /// From the next turn on these are counted, and no others.
    pub fn select(&self, selection: Selection) {
        *self.selection.write().unwrap_or_else(PoisonError::into_inner) = selection;
    }

    /// Whether calls are counted, and of how many workloads.
    #[must_use]
    pub fn counting(&self) -> Option<usize> {
        let state = self.state();
        state.on.then_some(state.workloads)
    }

    /// All calls that were counted, also of workloads that are gone or no longer selected.
    ///
    /// # Errors
    /// When the kernel's map cannot be read.
    pub fn list(&self) -> anyhow::Result<Vec<Syscall>> {
        let state = self.state();
        let mut sums = state.archive.sums();
        if !state.owners.is_empty() {
            sums.add(&self.kernel.counts()?, |account| state.owners.get(&account).cloned());
        }
        Ok(sums.into_list())
    }

    /// Calls of workloads that were folded because the archive was full.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.state().archive.folded()
    }

    /// Brings the kernel's table in line with what is selected. `attach` is told when the hook is needed, and when not any
    /// more. To be called every now and then: what is left over is taken at the next turn.
    ///
    /// # Errors
    /// When a map cannot be read or written, or there is no room for a cgroup.
    pub fn turn(
        &self,
        residents: &impl Residents,
        attach: impl FnOnce(bool),
        now: Instant,
    ) -> anyhow::Result<()> {
        let selection = self.selection.read().unwrap_or_else(PoisonError::into_inner).clone();
        let on = !selection.is_empty();
        let state = &mut *self.state();
        if !on && !state.on && state.owners.is_empty() && state.idle.is_empty() {
            return Ok(());
        }
        let host = Host { residents, selection };
        if on != state.on {
            // New cgroups are entered from before the first look at those that are there.
            self.kernel.count_new_cgroups(on)?;
            attach(on);
            state.on = on;
        }
        let entered = self.kernel.selected()?;
        let wanted = if on { state.wanted(&host, &entered) } else { HashMap::new() };
        let mut referenced: HashSet<CgroupId> = wanted.values().copied().collect();
        state.workloads = referenced.len();
        state.undecided.retain(|cgroup, _| entered.contains_key(cgroup) && !wanted.contains_key(cgroup));
        // Room is made first.
        for (cgroup, account) in entered.iter().filter(|(cgroup, _)| !wanted.contains_key(cgroup)) {
            if on && state.waits(&host, *cgroup, *account, now) {
                referenced.insert(*account);
            } else {
                self.kernel.leave(*cgroup)?;
            }
        }
        let candidates = state.owners.keys().chain(entered.values()).chain(&state.idle);
        let idle = candidates.filter(|account| !referenced.contains(account)).copied().collect();
        self.take(state, idle)?;
        for (cgroup, account) in
            wanted.iter().filter(|(cgroup, account)| entered.get(cgroup) != Some(account))
        {
            self.kernel.select(*cgroup, *account)?;
        }
        Ok(())
    }

    /// Takes the counts of accounts that were idle at the last turn as well: no program counts into them any more.
    fn take(&self, state: &mut State, mut idle: HashSet<CgroupId>) -> anyhow::Result<()> {
        let ripe: HashSet<_> = idle.extract_if(|account| state.idle.contains(account)).collect();
        state.idle = idle;
        if ripe.is_empty() {
            return Ok(());
        }
        let mut sums = Sums::default();
        sums.add(&self.kernel.take(&ripe)?, |account| state.owners.get(&account).cloned());
        state.archive.add(sums);
        state.owners.retain(|account, _| !ripe.contains(account));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A turn that panicked is made up for by the next.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Cgroups of workloads that are selected, and the account of each.
    fn wanted(
        &mut self,
        host: &Host<'_, impl Residents>,
        entered: &HashMap<CgroupId, CgroupId>,
    ) -> HashMap<CgroupId, CgroupId> {
        let mut cgroups = BTreeMap::<Arc<Workload>, Vec<CgroupId>>::new();
        for (cgroup, workload) in host.residents.live() {
            if host.selection.selects(&workload) {
                cgroups.entry(workload).or_default().push(cgroup);
            }
        }
        let mut wanted = HashMap::new();
        for (workload, cgroups) in cgroups {
            // The one that it has; a container that got its name meanwhile keeps it.
            let known = cgroups.iter().filter_map(|cgroup| entered.get(cgroup));
            let known = known.copied().find(|account| self.owners.contains_key(account));
            let Some(account) = known.or_else(|| cgroups.iter().min().copied()) else { continue };
            self.owners.insert(account, Arc::clone(&workload));
            for before in cgroups.iter().filter_map(|cgroup| entered.get(cgroup)) {
                self.owners.entry(*before).or_insert_with(|| Arc::clone(&workload));
            }
            wanted.extend(cgroups.into_iter().map(|cgroup| (cgroup, account)));
        }
        wanted
    }

    /// Whether a cgroup that the kernel entered, and that is not wanted, may yet turn out to be. One that is gone and was
    /// selected gives its account a name, so that its counts are kept.
    fn waits(
        &mut self,
        host: &Host<'_, impl Residents>,
        cgroup: CgroupId,
        account: CgroupId,
        now: Instant,
    ) -> bool {
        let resident = host.residents.resident(cgroup);
        if let Some(workload) = resident.as_ref().filter(|workload| host.selection.selects(workload)) {
            self.owners.entry(account).or_insert_with(|| Arc::clone(workload));
            return false;
        }
        // Nobody will tell more about the host and its units; a cgroup that is nobody's may yet be claimed by a runtime.
        let may_get_a_name = resident.is_none_or(|workload| {
            matches!(workload.kind, WorkloadKind::Container | WorkloadKind::Cgroup | WorkloadKind::Unknown)
        });
        let since = *self.undecided.entry(cgroup).or_insert(now);
        may_get_a_name && !self.owners.contains_key(&account) && now.duration_since(since) < DECIDED_WITHIN
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use cofferdam_common::syscall::CallKey;

    use super::*;

    /// The kernel's maps.
    #[derive(Default)]
    struct Fake {
        new: Mutex<bool>,
        selected: Mutex<HashMap<CgroupId, CgroupId>>,
        counts: Mutex<HashMap<CallKey, u64>>,
    }

    impl Fake {
        /// A cgroup is made.
        fn make(&self, cgroup: u64) {
            if *self.new.lock().unwrap() {
                self.selected.lock().unwrap().insert(CgroupId(cgroup), CgroupId(cgroup));
            }
        }

        /// A process calls getpid.
        fn call(&self, cgroup: u64) {
            if let Some(account) = self.selected.lock().unwrap().get(&CgroupId(cgroup)) {
                let key = CallKey { account: *account, number: 39, errno: 0, abi: 0 };
                *self.counts.lock().unwrap().entry(key).or_default() += 1;
            }
        }

        fn entered(&self) -> Vec<(u64, u64)> {
            let mut list: Vec<_> =
                self.selected.lock().unwrap().iter().map(|(cgroup, account)| (cgroup.0, account.0)).collect();
            list.sort_unstable();
            list
        }
    }

    impl Calls for Fake {
        fn count_new_cgroups(&self, on: bool) -> anyhow::Result<()> {
            *self.new.lock().unwrap() = on;
            Ok(())
        }

        fn selected(&self) -> anyhow::Result<HashMap<CgroupId, CgroupId>> {
            Ok(self.selected.lock().unwrap().clone())
        }

        fn select(&self, cgroup: CgroupId, account: CgroupId) -> anyhow::Result<()> {
            self.selected.lock().unwrap().insert(cgroup, account);
            Ok(())
        }

        fn leave(&self, cgroup: CgroupId) -> anyhow::Result<()> {
            self.selected.lock().unwrap().remove(&cgroup);
            Ok(())
        }

        fn counts(&self) -> anyhow::Result<HashMap<CallKey, u64>> {
            Ok(self.counts.lock().unwrap().clone())
        }

        fn take(&self, accounts: &HashSet<CgroupId>) -> anyhow::Result<HashMap<CallKey, u64>> {
            let mut counts = self.counts.lock().unwrap();
            Ok(counts.extract_if(|key, _| accounts.contains(&key.account)).collect())
        }
    }

    /// A host on which containers whose name begins with `web` are selected.
    struct World {
        kernel: Arc<Fake>,
        accounts: Accounts,
        live: Vec<(CgroupId, Arc<Workload>)>,
        gone: Vec<(CgroupId, Arc<Workload>)>,
        attached: Cell<bool>,
        now: Instant,
    }

    impl World {
        fn new() -> Self {
            let kernel = Arc::new(Fake::default());
            let accounts = Accounts::new(kernel.clone());
            let now = Instant::now();
            Self { kernel, accounts, live: Vec::new(), gone: Vec::new(), attached: Cell::new(false), now }
        }

        fn run(&mut self, cgroup: u64, name: &str) {
            self.live.retain(|(known, _)| known.0 != cgroup);
            let workload = Workload::named(WorkloadKind::Container, name);
            self.live.push((CgroupId(cgroup), Arc::new(workload)));
        }

        fn end(&mut self, cgroup: u64) {
            self.gone.extend(self.live.extract_if(.., |(known, _)| known.0 == cgroup));
        }

        fn turn(&self) {
            self.turn_if(true);
        }

        fn turn_if(&self, selecting: bool) {
            let web = serde_json::json!([{"name": "web*"}]);
            let selection = if selecting { web } else { serde_json::json!([]) };
            self.accounts.select(serde_json::from_value(selection).expect("a selection"));
            self.accounts.turn(self, |on| self.attached.set(on), self.now).expect("it turns");
        }

        fn calls(&self) -> Vec<(String, u64)> {
            let list = self.accounts.list().expect("a list");
            list.into_iter().map(|sum| (sum.workload.name.clone(), sum.calls)).collect()
        }
    }

    impl Residents for World {
        fn live(&self) -> Vec<(CgroupId, Arc<Workload>)> {
            self.live.clone()
        }

        fn resident(&self, cgroup: CgroupId) -> Option<Arc<Workload>> {
            let mut all = self.live.iter().chain(&self.gone);
            all.find(|(known, _)| *known == cgroup).map(|(_, workload)| Arc::clone(workload))
        }
    }

    #[test]
    fn the_hook_is_attached_while_something_is_selected_and_only_then() {
        let mut world = World::new();
        world.run(1, "web");
        world.turn_if(false);
        assert!(!world.attached.get() && world.kernel.entered().is_empty());
        world.turn();
        assert!(world.attached.get());
        assert_eq!((world.kernel.entered(), world.accounts.counting()), (vec![(1, 1)], Some(1)));
        world.turn_if(false);
        assert!(!world.attached.get() && world.kernel.entered().is_empty());
        assert_eq!(world.accounts.counting(), None);
    }

    #[test]
    fn what_was_counted_before_a_selection_ended_stays() {
        let mut world = World::new();
        world.run(1, "web");
        world.turn();
        world.kernel.call(1);
        for _ in 0..3 {
            world.turn_if(false);
            assert_eq!(world.calls(), [("web".to_owned(), 1)]);
        }
        assert!(world.kernel.counts.lock().unwrap().is_empty(), "it is still in the kernel");
    }

    #[test]
    fn calls_before_the_name_is_known_are_counted() {
        let mut world = World::new();
        world.turn();
        world.kernel.make(7);
        world.kernel.call(7);
        world.turn();
        assert_eq!(world.calls(), []);
        world.run(7, "3f2a9c4d5e6f");
        world.turn();
        world.kernel.call(7);
        world.run(7, "web");
        world.turn();
        assert_eq!(world.calls(), [("web".to_owned(), 2)]);
    }

    #[test]
    fn calls_in_a_cgroup_that_a_runtime_claims_late_are_counted() {
        let mut world = World::new();
        world.turn();
        world.kernel.make(7);
        world.kernel.call(7);
        let nobodys = Workload::named(WorkloadKind::Cgroup, "/pods/7");
        world.live.push((CgroupId(7), Arc::new(nobodys)));
        world.turn();
        world.run(7, "web");
        world.turn();
        assert_eq!(world.calls(), [("web".to_owned(), 1)]);
    }

    #[test]
    fn a_container_that_was_gone_before_the_first_look_keeps_its_counts() {
        let mut world = World::new();
        world.turn();
        world.kernel.make(7);
        world.kernel.call(7);
        world.run(7, "web");
        world.end(7);
        for _ in 0..3 {
            world.turn();
            assert_eq!(world.calls(), [("web".to_owned(), 1)]);
        }
        assert_eq!(world.kernel.entered(), []);
    }

    #[test]
    fn a_new_container_that_nothing_selects_is_left_after_a_while_and_its_counts_are_nobodys() {
        let mut world = World::new();
        world.turn();
        world.kernel.make(8);
        world.kernel.call(8);
        world.run(8, "db");
        world.turn();
        assert_eq!(world.kernel.entered(), [(8, 8)]);
        world.now += DECIDED_WITHIN;
        world.turn();
        assert_eq!(world.kernel.entered(), []);
        world.turn();
        assert_eq!(world.calls(), []);
        assert!(world.kernel.counts.lock().unwrap().is_empty(), "it is still in the kernel");
    }

    #[test]
    fn cgroups_inside_a_container_count_for_it_however_many_they_are() {
        let mut world = World::new();
        world.run(1, "web");
        world.turn();
        for nested in 2..100 {
            world.kernel.make(nested);
            world.kernel.call(nested);
            world.run(nested, "web");
        }
        for _ in 0..3 {
            world.turn();
            assert_eq!(world.calls(), [("web".to_owned(), 98)]);
        }
        world.kernel.call(50);
        assert_eq!(world.calls(), [("web".to_owned(), 99)]);
        let accounts: HashSet<_> =
            world.kernel.counts.lock().unwrap().keys().map(|key| key.account).collect();
        assert_eq!(accounts, [CgroupId(1)].into());
    }

    #[test]
    fn the_account_outlives_the_cgroup_that_gave_it_its_number() {
        let mut world = World::new();
        world.run(1, "web");
        world.run(2, "web");
        world.turn();
        world.kernel.call(1);
        world.end(1);
        for _ in 0..3 {
            world.turn();
        }
        world.kernel.call(2);
        assert_eq!(world.calls(), [("web".to_owned(), 2)]);
        assert_eq!(world.kernel.entered(), [(2, 1)]);
    }
}
