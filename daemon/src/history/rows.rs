//! Rows of the file, each written within somebody's transaction.

use std::sync::Arc;

use jiff::Timestamp;
use lru::LruCache;
use rusqlite::{Transaction, params};

use crate::{
    event::{Event, Workload},
    interaction::{Edge, EdgeKey},
};

/// The id of an edge, which is entered if it is not there. What is remembered is true while nothing is deleted or taken back.
pub(super) fn edge_id(
    transaction: &Transaction<'_>,
    key: &EdgeKey,
    workloads: &mut LruCache<Arc<Workload>, i64>,
    edges: &mut LruCache<EdgeKey, i64>,
) -> rusqlite::Result<i64> {
    if let Some(id) = edges.get(key) {
        return Ok(*id);
    }
    let (source, target, protocol, port, via) = key;
    let ends = [source, target].map(|workload| workload_id(transaction, workload, workloads));
    let [source, target] = ends;
    let sql = "INSERT INTO edge (source, target, protocol, port, via) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT DO UPDATE SET port = port RETURNING id";
    let via = via.as_deref().unwrap_or_default();
    let values = params![source?, target?, protocol.to_string(), port, via];
    let id = transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    edges.put(key.clone(), id);
    Ok(id)
}

fn workload_id(
    transaction: &Transaction<'_>,
    workload: &Arc<Workload>,
    workloads: &mut LruCache<Arc<Workload>, i64>,
) -> rusqlite::Result<i64> {
    if let Some(id) = workloads.get(workload) {
        return Ok(*id);
    }
    let json = json(workload)?;
    let sql = "INSERT INTO workload (name, kind, image, json) VALUES (?1, ?2, ?3, ?4)
        ON CONFLICT (json) DO UPDATE SET name = name RETURNING id";
    let values = params![workload.name, workload.kind.name(), workload.image, json];
    let id = transaction.prepare_cached(sql)?.query_row(values, |row| row.get(0))?;
    workloads.put(Arc::clone(workload), id);
    Ok(id)
}

pub(super) fn add_minute(
    transaction: &Transaction<'_>,
    minute: i64,
    id: i64,
    edge: &Edge,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO minute VALUES
        (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)
        ON CONFLICT DO UPDATE SET flows = flows + excluded.flows, attempts = attempts + excluded.attempts,
            bytes_sent = bytes_sent + excluded.bytes_sent, bytes_received = bytes_received + excluded.bytes_received,
            packets_sent = packets_sent + excluded.packets_sent,
            packets_received = packets_received + excluded.packets_received,
            refused = refused + excluded.refused, unreachable = unreachable + excluded.unreachable,
            aborted = aborted + excluded.aborted, unanswered = unanswered + excluded.unanswered,
            allowed = allowed + excluded.allowed, audited = audited + excluded.audited,
            denied = denied + excluded.denied, first = min(first, excluded.first), last = max(last, excluded.last)";
    let Edge { failed, verdicts, .. } = edge;
    // Within the minute, whatever the clock of the kernel's counts says.
    let within = |time: Timestamp| time.as_millisecond().clamp(minute * 60_000, minute * 60_000 + 59_999);
    let counts = [
        edge.flows,
        edge.attempts,
        edge.bytes_sent,
        edge.bytes_received,
        edge.packets_sent,
        edge.packets_received,
        failed.refused,
        failed.unreachable,
        failed.aborted,
        failed.unanswered,
        verdicts.allow,
        verdicts.audit,
        verdicts.deny,
    ];
    let counts = counts.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    let times = [within(edge.first_seen), within(edge.last_seen)];
    let values = [minute, id].into_iter().chain(counts).chain(times);
    transaction.prepare_cached(sql)?.execute(rusqlite::params_from_iter(values))?;
    let [flows, _, bytes_sent, bytes_received, _, _, _, _, _, _, allowed, audited, denied] = counts;
    let [first, last] = times;
    let sql = "UPDATE edge SET flows = flows + ?2, bytes_sent = bytes_sent + ?3, bytes_received = bytes_received + ?4,
            allowed = allowed + ?5, audited = audited + ?6, denied = denied + ?7, first = min(first, ?8),
            last = max(last, ?9)
        WHERE id = ?1";
    let values = [id, flows, bytes_sent, bytes_received, allowed, audited, denied, first, last];
    transaction.prepare_cached(sql)?.execute(values).map(drop)
}

pub(super) fn add_event(transaction: &Transaction<'_>, event: &Event) -> rusqlite::Result<()> {
    let sql = "INSERT INTO event (time, kind, json) VALUES (?1, ?2, ?3)";
    let values = params![event.time.as_millisecond(), event.kind.name(), json(event)?];
    transaction.prepare_cached(sql)?.execute(values).map(drop)
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
