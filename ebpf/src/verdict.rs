//! Counts and reports what a policy denies, or would.
//!
//! Each attempt is counted in the ledger. A record is sent for the first of a row, and then for what has come since at
//! most once a second. A row that counts many targets together, as the ledger is full, has a record for each attempt: so
//! whoever fills the ledger hides nothing of what others try, and what he tries himself is over his budget.

use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{LedgerKey, LedgerRow, Party},
    policy::{Judgement, VerdictRecord},
    record::{family, kind},
};

use crate::{
    atomic::{add, compare_exchange},
    budget::Account,
    caller,
    emit::{emit, header, monotonic_time},
    ledger,
    maps::SECURITY_RECORDS,
};

/// Least time between two records of a row, in nanoseconds.
const REPORT_AFTER: u64 = 1_000_000_000;

/// What was tried.
pub(crate) struct Attempt<'a> {
    /// As in [`VerdictRecord`].
    pub(crate) source: CgroupId,
    pub(crate) target: CgroupId,
    pub(crate) source_address: &'a Address,
    pub(crate) target_address: &'a Address,
    pub(crate) source_port: u16,
    pub(crate) port: u16,
    pub(crate) protocol: u8,
    pub(crate) layer: u8,
    pub(crate) judgement: Judgement,
    /// The cgroup where it was seen.
    pub(crate) here: CgroupId,
    /// Who pays for the record.
    pub(crate) payer: Account,
}

/// Counts an attempt that is denied, and reports it.
#[inline(always)]
pub(crate) fn deny(attempt: &Attempt<'_>) {
    let (row, now) = (row(attempt), monotonic_time());
    if let Some(row) = ledger::get(row) {
        add(&mut row.attempts, 1);
        row.last_seen = now;
    }
    report(attempt, row, now);
}

/// The row in which what is tried is counted by itself.
#[inline(always)]
pub(crate) fn row(attempt: &Attempt<'_>) -> u32 {
    ledger::row(&mut LedgerKey {
        source: Party::new(attempt.source, attempt.source_address),
        target: Party::new(attempt.target, attempt.target_address),
        port: attempt.port,
        protocol: attempt.protocol,
        verdict: attempt.judgement.verdict,
        dialled_port: 0,
        padding: 0,
        rule: attempt.judgement.rule,
        padding_after: 0,
    })
}

/// Reports the attempts of a row that are due.
#[inline(always)]
pub(crate) fn report(attempt: &Attempt<'_>, row: u32, now: u64) {
    let Some(row) = ledger::get(row) else { return };
    let unreported = due(row, now);
    if unreported == 0 {
        return;
    }
    emit::<VerdictRecord>(&SECURITY_RECORDS, family::POLICY, attempt.payer, |entry, time| {
        let record = entry.as_mut_ptr();
        // SAFETY: the ring handed out memory for one record, of which every field is written here, in place, and the caller
        // by `fill`.
        unsafe {
            (*record).header = header(kind::VERDICT, attempt.here, time);
            (*record).source = attempt.source;
            (*record).target = attempt.target;
            (*record).source_address = *attempt.source_address;
            (*record).target_address = *attempt.target_address;
            (*record).attempts = unreported;
            (*record).judgement = attempt.judgement;
            (*record).source_port = attempt.source_port;
            (*record).port = attempt.port;
            (*record).protocol = attempt.protocol;
            (*record).layer = attempt.layer;
            (*record).padding = 0;
            caller::fill(&mut *record);
        }
    });
}

/// How many attempts of a row are to be reported now: those that were not reported yet, if the last time is long enough ago;
/// of a row that folds, this one.
#[inline(never)]
fn due(row: &mut LedgerRow, now: u64) -> u64 {
    if row.folds != 0 {
        return 1;
    }
    let last = row.reported_at;
    let early = last != 0 && now.saturating_sub(last) < REPORT_AFTER;
    // Of CPUs that come at once, one reports.
    if early || compare_exchange(&mut row.reported_at, last, now) != last {
        return 0;
    }
    let attempts = row.attempts;
    let unreported = attempts.saturating_sub(row.reported);
    row.reported = attempts;
    unreported
}
