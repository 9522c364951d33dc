//! A loaded sensor, and cgroups to act from.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use cofferdam::sensor::{
    self, Loaded, Options,
    counts::{Counters, Counts as _},
    features,
    offsets::{self, Located},
    record::Record,
};
use cofferdam_common::{
    ids::CgroupId,
    network::{LedgerKey, LedgerRow},
};
use cofferdam_tests::private_bpffs;

/// The process is in one cgroup at a time: so one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// The kernel stays the same for all tests.
static LOCATED: OnceLock<Located> = OnceLock::new();

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// How long something may take that the kernel does in the background.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Node {
    pub(crate) loaded: Loaded,
    root: PathBuf,
    /// Records taken so far.
    records: Vec<Record>,
    /// The same as they came.
    pub(crate) raw: Vec<Vec<u8>>,
    _alone: MutexGuard<'static, ()>,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let features = features::detect();
        let root = features.cgroup_root.expect("a v2 tree");
        let bpffs = features.bpffs.unwrap_or_else(|| private_bpffs().expect("a bpffs"));
        let mut options = Options {
            cgroup_root: root.clone(),
            pin_directory: bpffs.join(format!("cofferdam-test-{}", std::process::id())),
            ..Options::default()
        };
        change(&mut options);
        let located = LOCATED.get_or_init(|| offsets::read(Path::new(offsets::BTF_PATH)).expect("BTF"));
        let loaded = sensor::load(&options, located).expect("the sensor loads");
        // The kernels of the virtual machines take all.
        let must_be_whole = std::env::var_os("COFFERDAM_TEST_VM").is_some();
        for hook in loaded.sensor.hooks().list().iter().filter(|hook| must_be_whole || !hook.optional) {
            assert_eq!(hook.refused, None, "{} is refused", hook.name);
        }
        Self { loaded, root, records: Vec::new(), raw: Vec::new(), _alone: alone }
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
        let counters = self.counters();
        counters.failures.iter().filter(|failure| failure.name == name).map(|failure| failure.count).sum()
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
        rows.into_iter().filter(|(key, _)| wanted(key)).collect()
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
            assert!(Instant::now() < until, "not one row as expected: {rows:#?}");
            thread::sleep(Duration::from_millis(20));
        }
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
