//! What is asked of the file. Each question opens it for itself, so that none waits for what is written.

use std::{collections::HashMap, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::{Past, Totals};
use crate::{
    event::{Event, Protocol, Workload},
    interaction::{Edge, Failed, Verdicts},
    sink::Filter,
};

/// Most interactions that one answer has.
pub const MOST_PAST: usize = 100_000;
/// Most events that one answer has.
pub const MOST_EVENTS: usize = 20_000;

/// Most services of a pair that are told.
const MOST_SERVICES: u32 = 1_000;

/// Most workloads of one name that are told.
const MOST_CALLED: usize = 256;

/// Longest that a writer is waited for, who keeps nobody waiting but for a moment.
const PATIENCE: Duration = Duration::from_secs(2);
const MINUTES_OF_A_DAY: i64 = 24 * 60;

/// Interactions of a span of time.
#[derive(Clone, Debug, Default)]
pub struct Interactions {
    /// Each with what is known of it.
    pub past: Vec<Past>,
    /// How many more there are than [`MOST_PAST`].
    pub left_out: usize,
}

/// Events of a span of time.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// One JSON object per line, in order of time.
    pub lines: String,
    /// Whether there are more than [`MOST_EVENTS`]: these are the first.
    pub is_cut: bool,
}

impl Interactions {
    /// All of them.
    ///
    /// # Errors
    /// There are more: a part of them would pass for all.
    pub fn whole(self) -> anyhow::Result<Vec<Past>> {
        let Self { past, left_out } = self;
        anyhow::ensure!(
            left_out == 0,
            "there are more than {MOST_PAST} interactions: ask for a shorter time"
        );
        Ok(past)
    }
}

/// What interactions did from the minute of `since` to the minute of `until`.
///
/// # Errors
/// The file cannot be read.
pub(super) fn interactions(path: &Path, since: Timestamp, until: Timestamp) -> anyhow::Result<Interactions> {
    read(path, |connection| {
        let sums = sums(connection, minute(since), minute(until))?;
        let mut ids: Vec<_> = sums.keys().copied().collect();
        ids.sort_unstable();
        let left_out = ids.len().saturating_sub(MOST_PAST);
        ids.truncate(MOST_PAST);
        let mut workloads = HashMap::new();
        let mut past = Vec::with_capacity(ids.len());
        let sql = "SELECT source, target, protocol, port, via FROM edge WHERE id = ?1";
        let mut find = connection.prepare(sql)?;
        for id in ids {
            let ends = find.query_row([id], Ends::of);
            // Both come of one state of the file, so that there is one.
            let (ends, sum) = (ends?, sums[&id]);
            let source = workload(connection, ends.source, &mut workloads)?;
            let target = workload(connection, ends.target, &mut workloads)?;
            past.push(sum.of(source, target, ends));
        }
        Ok(Interactions { past, left_out })
    })
}

/// The events that this lets through, from `since` to `until`.
///
/// # Errors
/// The file cannot be read.
pub(super) fn events(
    path: &Path,
    since: Timestamp,
    until: Timestamp,
    filter: &Filter,
) -> anyhow::Result<Events> {
    read(path, |connection| {
        let sql = "SELECT json FROM event WHERE time BETWEEN ?1 AND ?2 ORDER BY time, id";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query(params![since.as_millisecond(), until.as_millisecond()])?;
        let (mut events, mut count) = (Events::default(), 0);
        while let Some(row) = rows.next()? {
            let json = row.get_ref(0)?.as_str().map_err(|error| bad(error.into()))?;
            let event = serde_json::from_str(json).map_err(|error| bad(error.into()))?;
            if !filter.accepts(&event) {
                continue;
            }
            if count == MOST_EVENTS {
                events.is_cut = true;
                break;
            }
            count += 1;
            events.lines.extend([json, "\n"]);
        }
        Ok(events)
    })
}

/// All that is known of those who are called so and so, by service, the last seen first.
///
/// # Errors
/// The file cannot be read.
pub(super) fn totals(path: &Path, source: &str, target: &str) -> anyhow::Result<Vec<Totals>> {
    read(path, |connection| {
        let sql = "SELECT protocol, port, sum(flows), sum(bytes_sent), sum(bytes_received), sum(allowed), sum(audited),
                sum(denied), min(first), max(last) AS newest
            FROM edge
            JOIN workload AS s ON s.id = source
            JOIN workload AS t ON t.id = target
            WHERE s.name = ?1 AND t.name = ?2
            GROUP BY protocol, port ORDER BY newest DESC LIMIT ?3";
        let mut statement = connection.prepare(sql)?;
        let rows = statement.query_map(params![source, target, MOST_SERVICES], total)?;
        rows.collect()
    })
}

/// The denial whose id begins so that was told last.
///
/// # Errors
/// The file cannot be read.
pub(super) fn denial(path: &Path, id: &str) -> anyhow::Result<Option<Event>> {
    read(path, |connection| {
        // As events are written: containers have ids as well.
        let text = format!(r#""kind":"denial","id":"{id}"#);
        let sql = "SELECT json FROM event WHERE kind = 'denial' AND instr(json, ?1) > 0 ORDER BY time DESC, id DESC LIMIT 1";
        let json = connection.query_row(sql, [text], |row| row.get::<_, String>(0)).optional()?;
        json.map(|json| serde_json::from_str(&json).map_err(|error| bad(error.into()))).transpose()
    })
}

/// Who was called so, the last known first: some of each, since a name can mean many.
///
/// # Errors
/// The file cannot be read.
pub(super) fn called(path: &Path, name: &str) -> anyhow::Result<Vec<Workload>> {
    read(path, |connection| {
        // As it stands in the text: whatever else has it there, is sorted out below.
        let quoted = serde_json::to_string(name).map_err(|error| bad(error.into()))?;
        let sql = "SELECT json FROM workload WHERE instr(json, ?1) > 0 ORDER BY id DESC";
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([quoted.trim_matches('"')])?;
        let mut called = Vec::new();
        while let Some(row) = rows.next()?.filter(|_| called.len() < MOST_CALLED) {
            let json = row.get_ref(0)?.as_str().map_err(|error| bad(error.into()))?;
            let workload: Workload = serde_json::from_str(json).map_err(|error| bad(error.into()))?;
            if workload.is_called(name) {
                called.push(workload);
            }
        }
        Ok(called)
    })
}

fn total(row: &Row<'_>) -> rusqlite::Result<Totals> {
    let count = |at: usize| row.get(at).map(|count: i64| u64::try_from(count).unwrap_or(0));
    let time = |at: usize| row.get(at).map(|time| Timestamp::from_millisecond(time).unwrap_or_default());
    Ok(Totals {
        protocol: row.get::<_, String>(0)?.parse().unwrap_or(Protocol::Other),
        port: row.get(1)?,
        flows: count(2)?,
        bytes_sent: count(3)?,
        bytes_received: count(4)?,
        allowed: count(5)?,
        audited: count(6)?,
        denied: count(7)?,
        first_seen: time(8)?,
        last_seen: time(9)?,
    })
}

/// When the first minute begins of which it tells.
///
/// # Errors
/// The file cannot be read.
pub(super) fn begins(path: &Path) -> anyhow::Result<Option<Timestamp>> {
    read(path, |connection| {
        let sql = "SELECT min(minute) FROM minute";
        let first: Option<i64> = connection.query_row(sql, [], |row| row.get(0))?;
        Ok(first.and_then(|minute| Timestamp::from_second(minute * 60).ok()))
    })
}

/// Asks, of one state of the file.
fn read<T>(path: &Path, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> anyhow::Result<T> {
    let cannot = || format!("cannot read {}", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).with_context(cannot)?;
    connection.busy_timeout(PATIENCE).with_context(cannot)?;
    let transaction = connection.transaction().with_context(cannot)?;
    ask(&transaction).with_context(cannot)
}

fn minute(time: Timestamp) -> i64 {
    time.as_second().div_euclid(60)
}

/// What an edge did, all in all.
#[derive(Clone, Copy)]
struct Sum {
    /// As the columns stand in `minute`, from `flows` to `denied`.
    counts: [u64; 13],
    first: i64,
    last: i64,
    minutes: u64,
    days: u64,
    last_day: i64,
}

struct Ends {
    source: i64,
    target: i64,
    protocol: Protocol,
    port: u16,
    via: String,
}

/// The sums of all edges. The rows come as they lie in the file, which is by minute: adding them up here takes a tenth of the
/// time that sorting them by edge would.
fn sums(connection: &Connection, since: i64, until: i64) -> rusqlite::Result<HashMap<i64, Sum>> {
    let sql =
        "SELECT minute, edge, flows, attempts, bytes_sent, bytes_received, packets_sent, packets_received,
            refused, unreachable, aborted, unanswered, allowed, audited, denied, first, last
        FROM minute WHERE minute BETWEEN ?1 AND ?2 ORDER BY minute, edge";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([since, until])?;
    let mut sums = HashMap::<i64, Sum>::new();
    while let Some(row) = rows.next()? {
        let (minute, edge): (i64, i64) = (row.get(0)?, row.get(1)?);
        let (first, last) = (row.get(15)?, row.get(16)?);
        let none = Sum { counts: [0; 13], first, last, minutes: 0, days: 0, last_day: i64::MIN };
        let sum = sums.entry(edge).or_insert(none);
        for (at, count) in sum.counts.iter_mut().enumerate() {
            *count = count.saturating_add(u64::try_from(row.get::<_, i64>(at + 2)?).unwrap_or(0));
        }
        sum.last = last;
        sum.minutes += 1;
        let day = minute.div_euclid(MINUTES_OF_A_DAY);
        sum.days += u64::from(day != sum.last_day);
        sum.last_day = day;
    }
    Ok(sums)
}

impl Sum {
    fn of(self, source: Arc<Workload>, target: Arc<Workload>, ends: Ends) -> Past {
        let [
            flows,
            attempts,
            bytes_sent,
            bytes_received,
            packets_sent,
            packets_received,
            refused,
            unreachable,
            aborted,
            unanswered,
            allow,
            audit,
            deny,
        ] = self.counts;
        let time = |milliseconds| Timestamp::from_millisecond(milliseconds).unwrap_or_default();
        let edge = Edge {
            source,
            target,
            protocol: ends.protocol,
            port: ends.port,
            via: (!ends.via.is_empty()).then_some(ends.via),
            flows,
            attempts,
            bytes_sent,
            bytes_received,
            packets_sent,
            packets_received,
            failed: Failed { refused, unreachable, aborted, unanswered },
            verdicts: Verdicts { allow, audit, deny },
            first_seen: time(self.first),
            last_seen: time(self.last),
            last_denied: None,
        };
        Past { edge, minutes: self.minutes, days: self.days }
    }
}

impl Ends {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let protocol: String = row.get(2)?;
        Ok(Self {
            source: row.get(0)?,
            target: row.get(1)?,
            protocol: protocol.parse().unwrap_or(Protocol::Other),
            port: row.get(3)?,
            via: row.get(4)?,
        })
    }
}

fn workload(
    connection: &Connection,
    id: i64,
    known: &mut HashMap<i64, Arc<Workload>>,
) -> rusqlite::Result<Arc<Workload>> {
    if let Some(workload) = known.get(&id) {
        return Ok(Arc::clone(workload));
    }
    let mut statement = connection.prepare_cached("SELECT json FROM workload WHERE id = ?1")?;
    let json: String = statement.query_row([id], |row| row.get(0))?;
    let workload: Arc<Workload> = serde_json::from_str(&json).map_err(|error| bad(error.into()))?;
    known.insert(id, Arc::clone(&workload));
    Ok(workload)
}

/// A text of ours that is none.
fn bad(error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error)
}
