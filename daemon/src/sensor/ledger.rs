//! Reads the ledger and the counters out of the kernel's maps.
//!
//! A count is in one of three places, and in one only: a row in the kernel, a flow that the kernel has not yet
//! decided (no answer came), or `given`: what the daemon took over from flows that it gave up.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, atomic::Ordering},
};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{self, Array, MapData, MapError, PerCpuArray, Queue},
};
use cofferdam_common::{
    ids::CgroupId,
    network::{
        Failed, Flow, FlowKey, LedgerKey, LedgerRow, PROTOCOL_TCP, Party, ROW_OTHER, Sender, SenderKey,
        VERDICT_ALLOW, flag,
    },
    policy::RULE_NONE,
    record::family,
    stats::{RecordStats, failure},
};

use super::{
    Options,
    clock::Clock,
    counts::{Counters, Counts, Family, Named, Use},
    lock,
    reader::{RINGS, Waiting},
    syscalls::CallMaps,
    take,
    walk::{walk, was_there},
};

/// A flow that is not decided after this long has no server on this host.
const UNDECIDED_IS_OUTSIDE_AFTER: u64 = 250_000_000;

/// Most rows that the daemon keeps of flows that never got an answer; more are folded by source.
const GIVEN_LIMIT: usize = 4096;

/// The ledger as user space sees it.
pub struct Ledger {
    maps: Mutex<Maps>,
    given: Mutex<HashMap<LedgerKey, LedgerRow>>,
    waiting: Waiting,
    calls: Arc<CallMaps>,
}

struct Maps {
    index: maps::HashMap<MapData, LedgerKey, u32>,
    rows: Array<MapData, LedgerRow>,
    flows: maps::HashMap<MapData, FlowKey, Flow>,
    senders: maps::HashMap<MapData, SenderKey, Sender>,
    free: Queue<MapData, u32>,
    spares: Queue<MapData, u32>,
    /// From this row on, rows are kept for `other`.
    first_spare: u32,
    stats: PerCpuArray<MapData, RecordStats>,
    failures: PerCpuArray<MapData, u64>,
    capacity: Capacity,
}

#[derive(Clone, Copy)]
struct Capacity {
    rows: u32,
    flows: u32,
    rings: [u32; RINGS.len()],
}

impl Ledger {
    pub(super) fn new(
        ebpf: &mut Ebpf,
        options: &Options,
        waiting: Waiting,
        calls: Arc<CallMaps>,
    ) -> anyhow::Result<Self> {
        let rows = options.ledger_rows;
        let spare = (rows / 8).min(1024);
        let mut free = Queue::try_from(take(ebpf, "FREE_ROWS")?)?;
        let mut spares = Queue::try_from(take(ebpf, "SPARE_ROWS")?)?;
        let first_spare = rows - spare;
        for row in ROW_OTHER + 1..first_spare {
            free.push(row, 0).context("cannot fill the queue of free rows")?;
        }
        for row in first_spare..rows {
            spares.push(row, 0).context("cannot fill the queue of spare rows")?;
        }
        let mut counts = Array::try_from(take(ebpf, "LEDGER_ROWS")?)?;
        counts
            .set(ROW_OTHER, LedgerRow { folds: 1, ..LedgerRow::default() }, 0)
            .context("cannot write the last row")?;
        let maps = Maps {
            index: take(ebpf, "LEDGER_INDEX")?.try_into()?,
            rows: counts,
            flows: take(ebpf, "FLOWS")?.try_into()?,
            senders: take(ebpf, "SENDERS")?.try_into()?,
            free,
            spares,
            first_spare,
            stats: take(ebpf, "RECORD_STATS")?.try_into()?,
            failures: take(ebpf, "FAILURES")?.try_into()?,
            capacity: Capacity {
                rows,
                flows: options.flows,
                rings: [options.record_ring_bytes, options.flow_ring_bytes, options.security_ring_bytes],
            },
        };
        Ok(Self { maps: Mutex::new(maps), given: Mutex::default(), waiting, calls })
    }

    /// Takes the rows of cgroups that are gone out of the kernel and puts them into `taken`: the kernel's are free
    /// again. What was taken before something failed is in `taken` and nowhere else.
    ///
    /// Only for cgroups that have been gone for a while: a program that is just counting into such a row would
    /// count into the next one's.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn take(
        &self,
        gone: &HashSet<CgroupId>,
        taken: &mut Vec<(LedgerKey, LedgerRow)>,
    ) -> anyhow::Result<()> {
        let concerns =
            |key: &LedgerKey| gone.contains(&key.source.cgroup) || gone.contains(&key.target.cgroup);
        taken.extend(lock(&self.given).extract_if(|key, _| concerns(key)));
        let maps = &mut *lock(&self.maps);
        for (key, row) in maps.index()?.into_iter().filter(|(key, _)| concerns(key)) {
            let counts = maps.rows.get(&row, 0)?;
            maps.index.remove(&key)?;
            // From here on nobody else has them.
            taken.push((key, counts));
            maps.rows.set(row, LedgerRow::default(), 0)?;
            // Back to where it came from: else no row would be left for `other` after a while.
            let home = if row < maps.first_spare { &mut maps.free } else { &mut maps.spares };
            home.push(row, 0)?;
        }
        Ok(())
    }

    /// All flows, each once.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn flows(&self) -> anyhow::Result<HashMap<FlowKey, Flow>> {
        lock(&self.maps).flows()
    }

    /// One flow, if it is still there.
    ///
    /// # Errors
    /// When the map cannot be read.
    pub fn flow(&self, key: &FlowKey) -> anyhow::Result<Option<Flow>> {
        match lock(&self.maps).flows.get(key, 0) {
            Ok(flow) => Ok(Some(flow)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("cannot read a flow"),
        }
    }

    /// Gives up a flow, which so ends as `end` says: forgets it in the kernel. What it counted and no row has is
    /// kept here.
    ///
    /// # Errors
    /// When the map cannot be written. That the flow is gone already is no error, and then nothing is kept.
    pub fn give_up(&self, key: &FlowKey, flow: &Flow, end: u8) -> anyhow::Result<bool> {
        {
            let mut maps = lock(&self.maps);
            if !was_there(maps.flows.remove(key)).context("cannot remove a flow")? {
                return Ok(false);
            }
            let sender = SenderKey::of_client(key, flow.flags);
            was_there(maps.senders.remove(&sender)).context("cannot remove a sender")?;
        }
        if let Some((key, row)) = given_up(key, flow, end) {
            let mut given = lock(&self.given);
            let key = if given.len() < GIVEN_LIMIT || given.contains_key(&key) { key } else { folded(key) };
            merge(given.entry(key).or_default(), &row);
        }
        Ok(true)
    }
}

impl Counts for Ledger {
    fn ledger(&self) -> anyhow::Result<Vec<(LedgerKey, LedgerRow)>> {
        let clock = Clock::now();
        let maps = lock(&self.maps);
        // Rows first: a flow that is decided meanwhile is then at worst late, the other way round it came twice.
        let mut rows = maps.read_rows()?;
        let flows = maps.flows()?;
        drop(maps);
        let waiting = flows
            .iter()
            .filter(|(_, flow)| clock.age_of_boot(flow.opened_at) > UNDECIDED_IS_OUTSIDE_AFTER)
            .filter_map(|(key, flow)| undecided(key, flow));
        rows.extend(waiting);
        rows.extend(lock(&self.given).iter().map(|(key, row)| (*key, *row)));
        Ok(rows)
    }

    fn families(&self) -> anyhow::Result<Vec<Family>> {
        let maps = lock(&self.maps);
        let mut families = Vec::new();
        for (index, name) in (0..family::COUNT).zip(family::NAMES) {
            let per_cpu = maps.stats.get(&index, 0)?;
            families.push(Family {
                family: name.to_owned(),
                issued: per_cpu.iter().map(|stats| stats.issued).sum(),
                shed: per_cpu.iter().map(|stats| stats.shed).sum(),
                lost: per_cpu.iter().map(|stats| stats.lost).sum(),
            });
        }
        Ok(families)
    }

    fn counters(&self) -> anyhow::Result<Counters> {
        let families = self.families()?;
        let maps = lock(&self.maps);
        let mut failures = Vec::new();
        for (index, name) in (0..failure::COUNT).zip(failure::NAMES) {
            let count = maps.failures.get(&index, 0)?.iter().sum();
            failures.push(Named { name: name.to_owned(), count });
        }
        let fill = |name: &str, used: u64, capacity: u32| Use {
            name: name.to_owned(),
            used,
            capacity: u64::from(capacity),
        };
        let mut entries = vec![
            fill("ledger", maps.index()?.len() as u64, maps.capacity.rows),
            fill("flows", maps.flows()?.len() as u64, maps.capacity.flows),
        ];
        entries.extend(self.calls.fill()?);
        let rings = RINGS.iter().zip(self.waiting.iter()).zip(maps.capacity.rings);
        let rings =
            rings.map(|((name, used), size)| fill(name, used.load(Ordering::Relaxed), size)).collect();
        Ok(Counters { families, failures, rings, maps: entries })
    }
}

impl Maps {
    fn index(&self) -> anyhow::Result<HashMap<LedgerKey, u32>> {
        walk(self.capacity.rows, || self.index.iter()).context("cannot read the ledger's index")
    }

    fn flows(&self) -> anyhow::Result<HashMap<FlowKey, Flow>> {
        walk(self.capacity.flows, || self.flows.iter()).context("cannot read the flows")
    }

    fn read_rows(&self) -> anyhow::Result<Vec<(LedgerKey, LedgerRow)>> {
        let mut rows = Vec::new();
        for (key, row) in self.index()? {
            rows.push((key, self.rows.get(&row, 0)?));
        }
        let last_resort = self.rows.get(&ROW_OTHER, 0)?;
        if last_resort.attempts > 0 {
            let key = LedgerKey {
                source: Party::OTHER,
                target: Party::OTHER,
                port: 0,
                protocol: 0,
                verdict: VERDICT_ALLOW,
                dialled_port: 0,
                padding: 0,
                rule: RULE_NONE,
                padding_after: 0,
            };
            rows.push((key, last_resort));
        }
        Ok(rows)
    }
}

/// What an undecided flow will be in the ledger, now that nothing on this host has answered.
fn undecided(key: &FlowKey, flow: &Flow) -> Option<(LedgerKey, LedgerRow)> {
    // Of a connection that was open before and whose other end has said nothing since, not even the client is sure.
    if flow.flags & (flag::DECIDED | flag::SHADOW | flag::ADOPTED) != 0 {
        return None;
    }
    let row = LedgerRow {
        attempts: 1,
        flows: u64::from(key.protocol != PROTOCOL_TCP),
        volume: flow.volume,
        failed: Failed::default(),
        first_seen: flow.last_seen,
        last_seen: flow.last_seen,
        ..LedgerRow::default()
    };
    Some((ledger_key(key, flow), row))
}

/// What a flow that ends as `end` adds to the ledger, beyond what the kernel has counted.
fn given_up(key: &FlowKey, flow: &Flow, end: u8) -> Option<(LedgerKey, LedgerRow)> {
    let mut found = undecided(key, flow);
    if key.protocol == PROTOCOL_TCP && !flow.has_opened() && flow.flags & flag::SHADOW == 0 {
        let decided = || {
            let times =
                LedgerRow { first_seen: flow.last_seen, last_seen: flow.last_seen, ..Default::default() };
            (ledger_key(key, flow), times)
        };
        let (_, row) = found.get_or_insert_with(decided);
        if let Some(failed) = row.failed.counter(end) {
            *failed += 1;
        }
    }
    found
}

fn ledger_key(key: &FlowKey, flow: &Flow) -> LedgerKey {
    let (client, server) = key.ends(flow.flags);
    let translated = flow.flags & flag::TRANSLATED != 0;
    LedgerKey {
        source: Party::new(flow.client, client.0),
        target: Party::new(flow.server, server.0),
        port: server.1,
        protocol: key.protocol,
        verdict: flow.judgement.verdict,
        dialled_port: if translated { flow.other_end_port } else { 0 },
        padding: 0,
        rule: if flow.judgement.verdict == VERDICT_ALLOW { RULE_NONE } else { flow.judgement.rule },
        padding_after: 0,
    }
}

/// The same source, any target.
fn folded(key: LedgerKey) -> LedgerKey {
    LedgerKey { target: Party::OTHER, port: 0, protocol: 0, dialled_port: 0, ..key }
}

fn merge(into: &mut LedgerRow, row: &LedgerRow) {
    into.first_seen = if into.last_seen == 0 { row.first_seen } else { into.first_seen.min(row.first_seen) };
    into.last_seen = into.last_seen.max(row.last_seen);
    into.attempts += row.attempts;
    into.flows += row.flows;
    into.volume.bytes_sent += row.volume.bytes_sent;
    into.volume.bytes_received += row.volume.bytes_received;
    into.volume.packets_sent += row.volume.packets_sent;
    into.volume.packets_received += row.volume.packets_received;
    into.failed.refused += row.failed.refused;
    into.failed.unreachable += row.failed.unreachable;
    into.failed.aborted += row.failed.aborted;
    into.failed.unanswered += row.failed.unanswered;
}
