//! A loaded sensor, which tests hand on to one another, and cgroups to act from.

use std::{
    collections::{HashMap, HashSet},
    fs,
    ops::{Deref, DerefMut},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cofferdam::sensor::{
    self, Options, Sensor,
    budgets::{Budgets, Limits},
    counts::{Counters, Counts as _},
    features,
    ledger::Ledger,
    offsets::{self, Located},
    policy::PolicyMaps,
    reader::Reader,
    record::Record,
    syscalls::CallMaps,
};
use cofferdam_common::{
    ids::CgroupId,
    network::{LedgerKey, LedgerRow, end},
    policy::{Identity, Subject},
};
use cofferdam_tests::private_bpffs;

/// The process is in one cgroup at a time: so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The kernel stays the same for all tests.
static LOCATED: OnceLock<Located> = OnceLock::new();

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// How long something may take that the kernel does in the background.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What one test left and the next can have: loading takes a second, and half a minute in an emulated machine.
static SPARE: Mutex<Option<Loaded>> = Mutex::new(None);

/// A sensor, of which nothing is pinned: a static is never dropped, and a pin would stay.
pub(crate) struct Loaded {
    pub(crate) sensor: Sensor,
    pub(crate) reader: Reader,
    pub(crate) ledger: Ledger,
    pub(crate) budgets: Budgets,
    pub(crate) limits: Limits,
    pub(crate) calls: Arc<CallMaps>,
    pub(crate) policy: PolicyMaps,
}

impl Loaded {
    fn load(options: &Options) -> Self {
        let located = LOCATED.get_or_init(|| offsets::read(Path::new(offsets::BTF_PATH)).expect("BTF"));
        let loaded = sensor::load(options, located).expect("the sensor loads");
        // The kernels of the virtual machines take all.
        let must_be_whole = std::env::var_os("COFFERDAM_TEST_VM").is_some();
        for hook in loaded.sensor.hooks().list().iter().filter(|hook| must_be_whole || !hook.optional) {
            assert_eq!(hook.refused, None, "{} is refused", hook.name);
        }
        let sensor::Loaded { pins: _, sensor, reader, ledger, budgets, limits, calls, policy } = loaded;
        Self { sensor, reader, ledger, budgets, limits, calls, policy }
    }

    /// As it was at the beginning, but for what is only about cgroups that are gone.
    fn reset(&mut self) -> anyhow::Result<()> {
        let Self { sensor, ledger, policy, .. } = self;
        policy.deactivate()?;
        sensor.need("policy", false);
        sensor.need("syscall", false);
        sensor.stay(false)?;
        sensor.set_entrances(&HashSet::new())?;
        policy.set_addresses(&HashMap::new())?;
        policy.set_resolvers(&HashSet::new())?;
        for cgroup in Vec::from_iter(policy.residents()) {
            policy.forget_resident(cgroup)?;
        }
        for slot in [0, 1] {
            policy.clear(slot)?;
            for identity in (0..TESTED_IDENTITIES).map(Identity) {
                policy.set_subject(slot, identity, Subject::default())?;
            }
        }
        for (key, flow) in ledger.flows()? {
            ledger.give_up(&key, &flow, end::GONE)?;
        }
        Ok(())
    }
}

/// Identities that tests give to anybody have smaller numbers.
const TESTED_IDENTITIES: u32 = 16;

/// A sensor that goes to the next test, unless this one fails or keeps it.
pub(crate) struct Lent {
    loaded: Option<Loaded>,
    /// Whether it is as all others are.
    usual: bool,
}

impl Lent {
    /// Ends it, as a daemon does that is killed.
    pub(crate) fn end(&mut self) {
        drop(self.loaded.take());
    }

    /// Keeps it, for those who take it to pieces.
    pub(crate) fn take(mut self) -> Loaded {
        self.loaded.take().expect("it was not taken")
    }
}

impl Deref for Lent {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        self.loaded.as_ref().expect("it was not taken")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Loaded {
        self.loaded.as_mut().expect("it was not taken")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(mut loaded) = self.loaded.take() else { return };
        if self.usual && !thread::panicking() && loaded.reset().is_ok() {
            *spare() = Some(loaded);
        }
    }
}

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn options() -> Options {
    let cgroup_root = features::detect().cgroup_root.expect("a v2 tree");
    Options { cgroup_root, pin_directory: pin_directory(), ..Options::default() }
}

/// Where a sensor pins its maps that this thread starts.
pub(crate) fn pin_directory() -> PathBuf {
    thread_local! {
        /// Mounts are each thread's own.
        static BPFFS: PathBuf =
            features::detect().bpffs.unwrap_or_else(|| private_bpffs().expect("a bpffs"));
    }
    BPFFS.with(|bpffs| bpffs.join(format!("cofferdam-test-{}", std::process::id())))
}

fn spare() -> MutexGuard<'static, Option<Loaded>> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) struct Node {
    pub(crate) loaded: Lent,
    root: PathBuf,
    /// What was counted before.
    before: Counters,
    /// Rows that were in the ledger before.
    old: HashSet<LedgerKey>,
    /// Records taken so far.
    records: Vec<Record>,
    /// The same as they came.
    pub(crate) raw: Vec<Vec<u8>>,
    // Dropped last.
    _alone: MutexGuard<'static, ()>,
}

impl Node {
    /// With the sensor that another test has had, if there was one.
    pub(crate) fn start() -> Self {
        let alone = alone();
        let mut loaded = spare().take();
        if let Some(Loaded { reader, .. }) = &mut loaded {
            // What another test did not take.
            while reader.drain(|_: &[u8]| {}) > 0 {}
        }
        let options = options();
        let loaded = loaded.unwrap_or_else(|| Loaded::load(&options));
        Self::of(Lent { loaded: Some(loaded), usual: true }, options.cgroup_root, alone)
    }

    /// With a sensor that has seen and counted nothing, and is gone with the test.
    pub(crate) fn fresh() -> Self {
        Self::with(|_| {})
    }

    /// The same with other options.
    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let alone = alone();
        drop(spare().take());
        let mut options = options();
        change(&mut options);
        let loaded = Some(Loaded::load(&options));
        Self::of(Lent { loaded, usual: false }, options.cgroup_root, alone)
    }

    fn of(loaded: Lent, root: PathBuf, alone: MutexGuard<'static, ()>) -> Self {
        let before = loaded.ledger.counters().expect("counters");
        let old = loaded.ledger.ledger().expect("the ledger").into_iter().map(|(key, _)| key).collect();
        Self { loaded, root, before, old, records: Vec::new(), raw: Vec::new(), _alone: alone }
    }

    /// A cgroup of the test's own, removed when it is dropped.
    pub(crate) fn cgroup(&self) -> Cgroup {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        self.cgroup_named(&format!("cofferdam-test-{}-{number}", std::process::id()))
    }

    pub(crate) fn cgroup_named(&self, name: &str) -> Cgroup {
        Cgroup::make(&self.root, self.root.join(name))
    }

    /// Takes records until one satisfies `wanted`, which is returned.
    pub(crate) fn record<T>(&mut self, wanted: impl Fn(&Record) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            self.drain();
            if let Some(found) = self.records.iter().find_map(&wanted) {
                return found;
            }
            assert!(Instant::now() < until, "no such record among {:#?}", self.records);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// All records that there are now.
    pub(crate) fn drain(&mut self) -> &[Record] {
        let Self { records, raw, loaded, .. } = self;
        let mut take = |bytes: &[u8]| {
            records.push(Record::decode(bytes).expect("a record"));
            raw.push(bytes.to_vec());
        };
        while loaded.reader.drain(&mut take) > 0 {}
        records
    }

    /// How often hooks could not do something.
    pub(crate) fn failures(&self, name: &str) -> u64 {
        let count = |counters: &Counters| {
            let failures = counters.failures.iter().filter(|failure| failure.name == name);
            failures.map(|failure| failure.count).sum::<u64>()
        };
        count(&self.counters()) - count(&self.before)
    }

    pub(crate) fn counters(&self) -> Counters {
        self.loaded.ledger.counters().expect("counters")
    }

    /// The rows of the ledger whose source is `cgroup`.
    pub(crate) fn rows_from(&self, cgroup: &Cgroup) -> Vec<(LedgerKey, LedgerRow)> {
        self.rows(|key| key.source.cgroup == cgroup.id)
    }

    pub(crate) fn rows(&self, wanted: impl Fn(&LedgerKey) -> bool) -> Vec<(LedgerKey, LedgerRow)> {
        let rows = self.loaded.ledger.ledger().expect("the ledger");
        rows.into_iter().filter(|(key, _)| wanted(key) && !self.old.contains(key)).collect()
    }

    /// The only row whose source is `cgroup`, once it satisfies `ready`.
    pub(crate) fn row_from(
        &self,
        cgroup: &Cgroup,
        ready: impl Fn(&LedgerRow) -> bool,
    ) -> (LedgerKey, LedgerRow) {
        let until = Instant::now() + PATIENCE;
        loop {
            let rows = self.rows_from(cgroup);
            if let [(key, row)] = rows[..]
                && ready(&row)
            {
                return (key, row);
            }
            assert!(Instant::now() < until, "not one row as expected: {rows:#?}, {}", self.all_there_is());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// For whoever reads why a test failed: what was seen of others, and what could not be done.
    fn all_there_is(&self) -> String {
        let rows = self.rows(|_| true);
        let flows = self.loaded.ledger.flows().expect("flows");
        let counted = self.counters().failures.into_iter().zip(&self.before.failures);
        let failures: Vec<_> = counted.filter(|(now, before)| now.count > before.count).collect();
        format!("of all rows {rows:#?}, flows {flows:#?}, failures since {failures:#?}")
    }
}

/// A cgroup of the v2 tree.
pub(crate) struct Cgroup {
    path: PathBuf,
    root: PathBuf,
    pub(crate) id: CgroupId,
}

impl Cgroup {
    fn make(root: &Path, path: PathBuf) -> Self {
        fs::create_dir(&path).expect("a cgroup");
        let id = CgroupId(fs::metadata(&path).expect("its inode").ino());
        Self { path, root: root.to_owned(), id }
    }

    /// A cgroup inside.
    pub(crate) fn nested(&self, name: &str) -> Self {
        Self::make(&self.root, self.path.join(name))
    }

    pub(crate) fn name(&self) -> String {
        format!("/{}", self.path.strip_prefix(&self.root).expect("below the root").display())
    }

    /// Does something as a member: sockets belong to the cgroup in which they were made.
    pub(crate) fn enter<T>(&self, act: impl FnOnce() -> T) -> T {
        join(&self.path);
        let result = act();
        join(&self.root);
        result
    }

    /// Joins it and then `other`, as often.
    pub(crate) fn come_and_go(&self, other: &Self, times: usize) {
        for _ in 0..times {
            join(&self.path);
            join(&other.path);
        }
        join(&self.root);
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Also after a failure in `enter`: an occupied cgroup cannot be removed.
        join(&self.root);
        fs::remove_dir(&self.path).expect("the cgroup is empty");
    }
}

fn join(cgroup: &Path) {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).expect("this process moves");
}
