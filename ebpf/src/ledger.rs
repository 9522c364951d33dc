//! Finds the row of the ledger in which an interaction is counted. A full ledger folds, it never evicts.

use aya_ebpf::bindings::BPF_NOEXIST;
use cofferdam_common::{
    network::{LedgerKey, LedgerRow, Party, ROW_OTHER},
    stats::failure,
};

use crate::{
    atomic::add,
    emit::{count_failure, monotonic_time},
    maps::{FREE_ROWS, LEDGER_INDEX, LEDGER_ROWS, SPARE_ROWS},
};

/// The row for `key`: its own, or its source's `other` row when the ledger is full (`key` is changed to that one's,
/// which saves stack), or the last resort.
#[inline(always)]
pub(crate) fn row(key: &mut LedgerKey) -> u32 {
    if let Some(row) = find(key) {
        return row;
    }
    if let Ok(Some(free)) = FREE_ROWS.pop() {
        return claim(key, free, Pool::Free);
    }
    count_failure(failure::LEDGER_FULL);
    key.target = Party::OTHER;
    key.port = 0;
    key.dialled_port = 0;
    key.protocol = 0;
    if let Some(row) = find(key) {
        return row;
    }
    if let Ok(Some(free)) = SPARE_ROWS.pop() {
        return claim(key, free, Pool::Spare);
    }
    count_failure(failure::LEDGER_OVERFULL);
    ROW_OTHER
}

/// The row itself.
#[inline(always)]
pub(crate) fn get(row: u32) -> Option<&'static mut LedgerRow> {
    // SAFETY: array entries live as long as the map; all fields but the times are only changed atomically.
    LEDGER_ROWS.get_ptr_mut(row).map(|row| unsafe { &mut *row })
}

/// A flow that was there before is counted in this row once more: it would be denied now.
#[inline(always)]
pub(crate) fn count_again(row: u32, has_opened: bool) {
    if let Some(row) = get(row) {
        add(&mut row.attempts, 1);
        add(&mut row.flows, has_opened.into());
    }
}

/// A flow of this row never opened, and ended as `end` says.
#[inline(never)]
pub(crate) fn count_failed(row: u32, end: u8) {
    if let Some(failed) = get(row).and_then(|row| row.failed.counter(end)) {
        add(failed, 1);
    }
}

#[inline(always)]
fn find(key: &LedgerKey) -> Option<u32> {
    // SAFETY: a row's index is never changed while it is in the map.
    unsafe { LEDGER_INDEX.get(key) }.copied()
}

#[derive(Clone, Copy)]
enum Pool {
    Free,
    Spare,
}

/// Enters a fresh row. When another CPU was first, its row is the one, and ours goes back.
#[inline(always)]
fn claim(key: &LedgerKey, free: u32, pool: Pool) -> u32 {
    if let Some(row) = get(free) {
        // Not the coarse clock, which is refused to tracepoints.
        let now = monotonic_time();
        row.first_seen = now;
        row.last_seen = now;
        row.folds = u64::from(matches!(pool, Pool::Spare));
    }
    if LEDGER_INDEX.insert(key, &free, u64::from(BPF_NOEXIST)).is_ok() {
        return free;
    }
    // The row was just taken out of its queue, so there is room for it.
    let _ = match pool {
        Pool::Free => FREE_ROWS.push(&free, 0),
        Pool::Spare => SPARE_ROWS.push(&free, 0),
    };
    if let Some(row) = find(key) {
        return row;
    }
    count_failure(failure::LEDGER_OVERFULL);
    ROW_OTHER
}
