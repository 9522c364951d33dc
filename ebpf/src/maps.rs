//! Every map, with who writes and who reads it. The daemon sets the sizes of those that it names in `sensor`.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, Queue, RingBuf},
};
use cofferdam_common::{
    budget::{Budget, Limit, Payer},
    ids::{Address, CgroupId},
    name::{Entrance, NAMED_LIMIT, Named, NamedKey, PatternId, PatternKey, Resolver},
    network::{Flow, FlowKey, LedgerKey, LedgerRow, Sender, SenderKey},
    policy::{Identity, Interval, NetworkKey, PairKey, Resident, Span, Subject},
    record::family,
    stats::{RecordStats, failure},
    syscall::CallKey,
};

use crate::{link::Way, names::Answer};

const BPF_F_NO_PREALLOC: u32 = 1;

/// Records of the family process. Written by its hooks, read by the daemon.
#[map]
pub(crate) static RECORDS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Records of the family network, apart so that a flood of flows costs no other record.
#[map]
pub(crate) static FLOW_RECORDS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Records that matter for security and come seldom: today the family container. Apart from all others and with a
/// budget of its own, so that no flood of ordinary records costs one of them, and none of these fills it alone.
#[map]
pub(crate) static SECURITY_RECORDS: RingBuf = RingBuf::with_byte_size(2 << 20, 0);

/// Records issued, shed and lost, by family. Written by `emit`, read by the daemon.
#[map]
pub(crate) static RECORD_STATS: PerCpuArray<RecordStats> = PerCpuArray::with_max_entries(family::COUNT, 0);

/// What hooks could not do, by reason. Written by all hooks, read by the daemon.
#[map]
pub(crate) static FAILURES: PerCpuArray<u64> = PerCpuArray::with_max_entries(failure::COUNT, 0);

/// Flows that are open. Written and read by `flow`; the daemon reads it and removes idle ones.
/// Not preallocated: memory grows with use.
#[map]
pub(crate) static FLOWS: HashMap<FlowKey, Flow> = HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// Who sends from an address and port, for flows whose addresses are translated on the way. Written when a client
/// begins a flow, removed when the flow ends: by `flow`, or by the daemon where a flow ends by silence.
#[map]
pub(crate) static SENDERS: HashMap<SenderKey, Sender> = HashMap::with_max_entries(131_072, BPF_F_NO_PREALLOC);

/// Where a row of the ledger is. Written by `ledger`; the daemon reads it and removes rows of dead cgroups.
#[map]
pub(crate) static LEDGER_INDEX: HashMap<LedgerKey, u32> =
    HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// The ledger: who talked to whom. Written by `flow`, read by the daemon. Never evicts.
#[map]
pub(crate) static LEDGER_ROWS: Array<LedgerRow> = Array::with_max_entries(16_384, 0);

/// Rows that are free. Filled by the daemon, taken by `ledger`.
#[map]
pub(crate) static FREE_ROWS: Queue<u32> = Queue::with_max_entries(16_384, 0);

/// Rows kept for `other` rows, for when the free ones are used up. Filled by the daemon, taken by `ledger`.
#[map]
pub(crate) static SPARE_ROWS: Queue<u32> = Queue::with_max_entries(16_384, 0);

/// Which budget a cgroup pays from. Written by `budget` when a cgroup first sends, and by the daemon, which says
/// what is a container and removes cgroups that are gone. Preallocated: tracing hooks insert into it.
#[map]
pub(crate) static PAYERS: HashMap<CgroupId, Payer> = HashMap::with_max_entries(16_384, 0);

/// The container of a cgroup that lies below it: what `budget` has found, so that it need not search again.
#[map]
pub(crate) static NESTED: LruHashMap<CgroupId, CgroupId> = LruHashMap::with_max_entries(4_096, 0);

/// The budgets. Written by `budget`, read by the daemon, which clears those that are free again.
#[map]
pub(crate) static BUDGETS: Array<Budget> = Array::with_max_entries(8_192, 0);

/// Budgets that are free. Filled by the daemon, taken by `budget`.
#[map]
pub(crate) static FREE_BUDGETS: Queue<u32> = Queue::with_max_entries(8_192, 0);

/// How much a budget is, by family. Written by the daemon at any time; zero is no limit.
#[map]
pub(crate) static LIMITS: Array<Limit> = Array::with_max_entries(family::COUNT, 0);

/// Cgroups whose calls are counted, and under whom. Written by the daemon, and by `syscall` for cgroups that are new;
/// read by `syscall`.
#[map]
pub(crate) static SELECTED: HashMap<CgroupId, CgroupId> =
    HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Calls by account, number and outcome. Written by `syscall`; the daemon reads it, removes what nobody counts into any
/// more, and enters each account's `other` rows. Never evicts.
#[map]
pub(crate) static CALLS: HashMap<CallKey, u64> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// The generation of the policy in force; zero while there is none. Written by the daemon, read by `policy`.
#[map]
pub(crate) static GENERATION: Array<u32> = Array::with_max_entries(1, 0);

/// Which identity a cgroup has. Written by the daemon, read by `policy`. Never evicts.
#[map]
pub(crate) static RESIDENTS: HashMap<CgroupId, Resident> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Whose address it is: a container's cgroup, or the root's for this host and for those that share it. Written by the
/// daemon, read by `policy`.
#[map]
pub(crate) static ADDRESSES: HashMap<Address, CgroupId> =
    HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Whose a veth is, by the index of its end on the host: a container's cgroup, or none where nobody is behind it that
/// policies know. Written by the daemon, read by `link`.
#[map]
pub(crate) static LINKS: HashMap<u32, CgroupId> = HashMap::with_max_entries(16_384, BPF_F_NO_PREALLOC);

/// Which of two ends began, where no flow tells, as where a container forwards for others. Written and read by `link`. Holds
/// no verdict: without an entry an answer is judged as if it began something.
#[map]
pub(crate) static WAYS: LruHashMap<FlowKey, Way> = LruHashMap::with_max_entries(16_384, 0);

/// What holds for an identity towards all peers: two slots in turn. Written by the daemon, read by `policy`.
#[map]
pub(crate) static SUBJECTS: Array<Subject> = Array::with_max_entries(2 * 16_384, 0);

/// What holds between two identities where that is something else. Written by the daemon, read by `policy`.
#[map]
pub(crate) static PAIRS: HashMap<PairKey, Span> = HashMap::with_max_entries(2 * 65_536, BPF_F_NO_PREALLOC);

/// What holds for which services: two slots in turn. Written by the daemon, read by `policy`.
#[map]
pub(crate) static INTERVALS: Array<Interval> = Array::with_max_entries(2 * 65_536, 0);

/// Identities of peers outside. Written by the daemon, read by `policy`.
#[map]
pub(crate) static NETWORKS: LpmTrie<NetworkKey, Identity> = LpmTrie::with_max_entries(2 * 16_384, 0);

/// Names of peers outside that rules speak of. Written by the daemon, read by `names`.
#[map]
pub(crate) static PATTERNS: LpmTrie<PatternKey, PatternId> = LpmTrie::with_max_entries(2 * 4_096, 0);

/// Identities of those who have such a name, by slot. Written by the daemon, read by `policy`.
#[map]
pub(crate) static PATTERN_IDENTITIES: HashMap<PatternId, [Identity; 2]> =
    HashMap::with_max_entries(2 * 4_096, BPF_F_NO_PREALLOC);

/// Under which names workloads were told an address. Written by `names`, and by the daemon, which removes what is not valid
/// any more; read by `policy`. Pinned, for the next daemon goes on with it. Never evicts.
#[map]
pub(crate) static NAMED: HashMap<NamedKey, Named> = HashMap::with_max_entries(NAMED_LIMIT, BPF_F_NO_PREALLOC);

/// How many addresses of these each workload has. Written by `names`, and by the daemon, which counts anew.
#[map]
pub(crate) static NAMED_COUNTS: HashMap<CgroupId, u32> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// Whose answers are believed. Written by the daemon, read by `dns`.
#[map]
pub(crate) static RESOLVERS: HashMap<Resolver, u32> = HashMap::with_max_entries(1_024, BPF_F_NO_PREALLOC);

/// By which links answers from outside can reach whom. Written by the daemon, read by `dns`.
#[map]
pub(crate) static ENTRANCES: HashMap<Entrance, u32> = HashMap::with_max_entries(65_536, BPF_F_NO_PREALLOC);

/// The answer that is being read. Written and read by `names`.
#[map]
pub(crate) static ANSWER: PerCpuArray<Answer> = PerCpuArray::with_max_entries(1, 0);
