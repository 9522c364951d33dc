//! The kernel boundary: loads the programs, attaches the hooks, reads their records and maps. The only user of
//! aya.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic::AtomicBool,
    },
};

use anyhow::{Context as _, bail, ensure};
use aya::{
    Btf, Ebpf, EbpfLoader,
    maps::{Map, MapData, RingBuf},
    programs::links::FdLink,
};
use cofferdam_common::name::{NAMED_LIMIT, Named, NamedKey};

use self::{
    attach::{attach, load_program},
    budgets::{Allowances, Budgets, Limits},
    counts::{HookStatus, Hooks},
    hooks::{Attach, HOOKS, Hook},
    kept::Kept,
    ledger::Ledger,
    offsets::Located,
    policy::{PolicyMaps, PolicySize},
    reader::Reader,
    reason::reason,
    syscalls::CallMaps,
    veths::Veths,
};

pub mod budgets;

pub mod clock;

pub mod counts;

pub mod features;

pub mod hooks;

pub mod ledger;

pub mod offsets;

pub mod reader;

pub mod record;

pub mod sweep;

pub mod syscalls;

pub mod policy;

mod attach;

mod reason;

mod kept;

mod measure;

mod pins;

pub mod standing;

mod switch;

mod veths;

mod walk;

/// The object that `build.rs` made; empty when it was built without a BPF toolchain.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cofferdam-ebpf"));

/// How the sensor is to be loaded.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the v2 tree is mounted; the network hooks attach to its root.
    pub cgroup_root: PathBuf,
    /// Where the ledger is pinned; a directory below bpffs, made at start and removed at the end.
    pub pin_directory: PathBuf,
    /// Size of the ring for process records: a power of two, at least a page.
    pub record_ring_bytes: u32,
    /// Size of the ring for flow records: a power of two, at least a page.
    pub flow_ring_bytes: u32,
    /// Size of the ring for records that matter for security: a power of two, at least a page.
    pub security_ring_bytes: u32,
    /// How many records each cgroup may send.
    pub allowances: Allowances,
    /// Budgets that are kept apart: cgroups that are none of a container's inner ones.
    pub budgets: u32,
    /// Rows of the ledger, of which an eighth (1,024 at most) is kept for `other`.
    pub ledger_rows: u32,
    /// Flows that can be open at once.
    pub flows: u32,
    /// Whether answers of the DNS are looked at, for the names of peers outside.
    pub dns: bool,
    /// Cgroups whose system calls can be counted at once.
    pub syscall_cgroups: u32,
    /// Counts of system calls that are kept apart: by workload, call and outcome.
    pub syscall_counts: u32,
    /// How much the policies may say.
    pub policies: PolicySize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            cgroup_root: PathBuf::from("/sys/fs/cgroup"),
            pin_directory: PathBuf::from("/sys/fs/bpf/cofferdam"),
            record_ring_bytes: 1 << 20,
            flow_ring_bytes: 4 << 20,
            security_ring_bytes: 2 << 20,
            allowances: Allowances::default(),
            budgets: 8_192,
            ledger_rows: 16_384,
            flows: 131_072,
            dns: true,
            syscall_cgroups: 16_384,
            syscall_counts: 16_384,
            policies: PolicySize::default(),
        }
    }
}

/// The programs in the kernel. They are detached when it is dropped.
pub struct Sensor {
    /// Written to only to attach, so that several may run a program at a time.
    ebpf: RwLock<Ebpf>,
    /// The hooks that are attached. Dropping a link detaches its hook.
    links: Mutex<HashMap<&'static str, FdLink>>,
    /// Where links are pinned that stay.
    kept: Kept,
    /// Which addresses workloads were told by name: the next daemon goes on with it.
    named: MapData,
    /// Whether what judges stays should the daemon end.
    stays: AtomicBool,
    /// Held while hooks are attached, let go or looked after: else what is just let go would be attached again.
    switching: Mutex<()>,
    /// What the kernel calls the programs that it has taken.
    programs: HashMap<&'static str, u32>,
    veths: Mutex<Veths>,
    /// The root of the cgroup tree.
    root: File,
    hooks: Hooks,
}

/// What a loaded sensor gives out.
pub struct Loaded {
    /// What of the maps is pinned, until this is dropped.
    pub pins: pins::Pins,
    /// Keep it as long as the hooks shall be attached.
    pub sensor: Sensor,
    /// The records.
    pub reader: Reader,
    /// The counts.
    pub ledger: Ledger,
    /// Who may send how much.
    pub budgets: Budgets,
    /// How much that is.
    pub limits: Limits,
    /// System calls of what is selected: nothing as yet.
    pub calls: Arc<CallMaps>,
    /// What policies are looked up in: nothing as yet.
    pub policy: PolicyMaps,
}

/// Loads the programs and attaches every hook that this kernel takes and that is always needed.
///
/// # Errors
/// When the object, a map or the cgroup tree is unusable, or not one hook could be attached. A single hook that
/// is refused is no error: [`Sensor::hooks`] tells why.
pub fn load(options: &Options, located: &Located) -> anyhow::Result<Loaded> {
    ensure!(!OBJECT.is_empty(), "this binary was built without its kernel programs (AYA_BUILD_SKIP)");
    let rings = [
        ("record", options.record_ring_bytes),
        ("flow", options.flow_ring_bytes),
        ("security", options.security_ring_bytes),
    ];
    for (name, size) in rings {
        ensure!(
            size.is_power_of_two() && size >= 4096,
            "the {name} ring must have a power of two of bytes, 4096 at least, not {size}"
        );
    }
    ensure!(options.budgets >= 2, "one budget is shared: 2 are needed at least, not {}", options.budgets);
    ensure!(options.ledger_rows >= 64, "the ledger needs 64 rows at least, not {}", options.ledger_rows);

    if let Some(why) = located.no_callers() {
        tracing::warn!("denials do not name who tried: {why}");
    }
    let dns_answers = u32::from(options.dns);
    let btf = Btf::from_sys_fs().context("cannot read the kernel's types")?;
    let kept = Kept::new(&options.pin_directory);
    let mut loader = EbpfLoader::new();
    if let Some(named) =
        kept.handed_on([size_of::<NamedKey>() as u32, size_of::<Named>() as u32, NAMED_LIMIT])
    {
        loader.map_pin_path("NAMED", named);
    }
    let mut ebpf = loader
        .btf(Some(&btf))
        .override_global("OFFSETS", &located.offsets, true)
        .override_global("DNS_ANSWERS", &dns_answers, true)
        .map_max_entries("RECORDS", options.record_ring_bytes)
        .map_max_entries("FLOW_RECORDS", options.flow_ring_bytes)
        .map_max_entries("SECURITY_RECORDS", options.security_ring_bytes)
        .map_max_entries("PAYERS", options.budgets * 2)
        .map_max_entries("BUDGETS", options.budgets)
        .map_max_entries("FREE_BUDGETS", options.budgets)
        .map_max_entries("LEDGER_INDEX", options.ledger_rows)
        .map_max_entries("LEDGER_ROWS", options.ledger_rows)
        .map_max_entries("FREE_ROWS", options.ledger_rows)
        .map_max_entries("SPARE_ROWS", options.ledger_rows)
        .map_max_entries("FLOWS", options.flows)
        .map_max_entries("SENDERS", options.flows)
        .map_max_entries("SELECTED", options.syscall_cgroups)
        .map_max_entries("CALLS", options.syscall_counts)
        .map_max_entries("SUBJECTS", options.policies.identities * 2)
        .map_max_entries("PAIRS", options.policies.pairs * 2)
        .map_max_entries("INTERVALS", options.policies.intervals * 2)
        .map_max_entries("NETWORKS", options.policies.networks * 2)
        .map_max_entries("PATTERNS", options.policies.names * 2)
        .map_max_entries("PATTERN_IDENTITIES", options.policies.names * 2)
        .map_max_entries("NAMED_COUNTS", options.policies.cgroups)
        .map_max_entries("ENTRANCES", options.policies.cgroups)
        .map_max_entries("RESIDENTS", options.policies.cgroups)
        .map_max_entries("ADDRESSES", options.policies.addresses)
        .load(OBJECT)
        .context("the kernel refuses the maps")?;
    let pins = pins::Pins::make(&options.pin_directory, &ebpf)?;
    let waiting = reader::Waiting::default();
    let calls = Arc::new(CallMaps::new(&mut ebpf, options)?);
    let ledger = Ledger::new(&mut ebpf, options, Arc::clone(&waiting), Arc::clone(&calls))?;
    let budgets = Budgets::new(&mut ebpf, options.budgets)?;
    let mut limits = Limits::new(&mut ebpf, options)?;
    limits.set(&options.allowances)?;
    let named = named(&ebpf)?;
    let (policy, veths) = (PolicyMaps::new(&mut ebpf, options.policies)?, Veths::new(&mut ebpf)?);
    let rings =
        [ring(&mut ebpf, "RECORDS")?, ring(&mut ebpf, "FLOW_RECORDS")?, ring(&mut ebpf, "SECURITY_RECORDS")?];
    let reader = Reader::new(rings, waiting);

    let root = File::open(&options.cgroup_root)
        .with_context(|| format!("cannot open {}", options.cgroup_root.display()))?;
    let (mut links, mut programs) = (HashMap::new(), HashMap::new());
    let hooks: Vec<HookStatus> = HOOKS
        .iter()
        .map(|hook| {
            let mut take = || {
                programs.insert(hook.name, load_program(&mut ebpf, hook, &btf)?);
                if hook.off.is_none() {
                    links.insert(hook.name, attach(&mut ebpf, hook, &root)?);
                }
                anyhow::Ok(())
            };
            let refused = located.refusal(hook).or_else(|| take().err().map(|error| reason(&error)));
            status(hook, refused)
        })
        .collect();
    if !hooks.iter().any(HookStatus::attached) {
        let reason = hooks.first().and_then(|hook| hook.refused.clone()).unwrap_or_default();
        bail!("the kernel takes none of the hooks: {reason}");
    }
    let (ebpf, links, hooks) = (RwLock::new(ebpf), Mutex::new(links), Hooks::new(hooks));
    let (stays, switching, veths) = (AtomicBool::new(false), Mutex::default(), Mutex::new(veths));
    let sensor = Sensor { ebpf, links, kept, named, stays, switching, programs, veths, root, hooks };
    Ok(Loaded { pins, sensor, reader, ledger, budgets, limits, calls, policy })
}

impl Sensor {
    /// Every hook and whether it is attached.
    #[must_use]
    pub fn hooks(&self) -> Hooks {
        self.hooks.clone()
    }

    /// Whether frames are judged that are sent past the IP stack by whoever has no link of his own.
    #[must_use]
    pub fn judges_unread(&self) -> bool {
        let kind = Attach::Lsm.kind();
        self.hooks.list().iter().filter(|hook| hook.kind == kind).all(HookStatus::attached)
    }

    fn read(&self) -> RwLockReadGuard<'_, Ebpf> {
        self.ebpf.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Ebpf> {
        self.ebpf.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The status of all hooks where none can be attached, for `doctor` without a daemon.
#[must_use]
pub fn detached(reason: &str) -> Vec<HookStatus> {
    HOOKS.iter().map(|hook| status(hook, Some(reason.to_owned()))).collect()
}

fn status(hook: &Hook, refused: Option<String>) -> HookStatus {
    HookStatus {
        name: hook.name.to_owned(),
        kind: hook.attach.kind().to_owned(),
        family: hook.family.to_owned(),
        off: hook.off.filter(|_| refused.is_none()).map(str::to_owned),
        refused,
        optional: hook.attach.is_optional(),
        without: hook.without.to_owned(),
        min_kernel: hook.min_kernel.to_owned(),
    }
}

/// `BPF_NOEXIST` (include/uapi/linux/bpf.h): enters what is not there, and leaves what is.
const ONLY_NEW: u64 = 1;

/// A panic of another thread while it held the lock leaves nothing half done here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ring(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<RingBuf<MapData>> {
    take(ebpf, name).and_then(|map| RingBuf::try_from(map).with_context(|| name.to_owned()))
}

/// The map of addresses with a name, once more.
fn named(ebpf: &Ebpf) -> anyhow::Result<MapData> {
    let Some(Map::HashMap(map)) = ebpf.map("NAMED") else { bail!("map NAMED is not in the object") };
    // Not by its number, for which the kernel asks for CAP_SYS_ADMIN.
    Ok(MapData::from_fd(map.fd().as_fd().try_clone_to_owned()?)?)
}

fn take(ebpf: &mut Ebpf, name: &str) -> anyhow::Result<Map> {
    ebpf.take_map(name).with_context(|| format!("map {name} is not in the object"))
}

/// The command with which this program prints offsets and does nothing else ([`offsets::print`]).
pub const OFFSETS_COMMAND: &str = "kernel-offsets";

/// Where the ledger is pinned on a BPF file system.
#[must_use]
pub fn pin_directory(bpffs: &Path) -> PathBuf {
    bpffs.join("cofferdam")
}

/// How many hooks go on judging on this BPF file system that a daemon has left, or has now.
#[must_use]
pub fn left_to_judge(bpffs: &Path) -> usize {
    kept::left(&pin_directory(bpffs))
}

/// Lets go what judges on that daemons have left whose maps were pinned there; how many links these were. None may run.
///
/// # Errors
/// When a pin cannot be removed, or links cannot be listed.
pub fn clear_left(pin_directory: &Path) -> anyhow::Result<usize> {
    let links = Kept::new(pin_directory).clear()?;
    veths::remove_all_filters()?;
    pins::if_there(fs::remove_dir_all(pin_directory))
        .with_context(|| format!("cannot remove {}", pin_directory.display()))?;
    Ok(links)
}
