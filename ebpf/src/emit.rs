//! Sends records to the daemon and counts those that were over their budget or found no room.
//!
//! No record wakes the daemon: it looks by itself, often while there is work and seldom when there is none.
//! A wake-up would cost the traced process more than the whole rest of the hook.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::generated::{
        bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns,
    },
    maps::RingBuf,
};
use cofferdam_common::{ids::CgroupId, record::Header};

use crate::{
    atomic::add,
    budget::{Account, pay, tally},
    maps::{FAILURES, RECORD_STATS},
};

/// Nanoseconds since boot.
#[inline(always)]
pub(crate) fn boot_time() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// Nanoseconds of the monotonic clock.
#[inline(always)]
pub(crate) fn monotonic_time() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Nanoseconds of the coarse monotonic clock: a few milliseconds old, and a tenth of the price.
#[inline(always)]
pub(crate) fn coarse_time() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The cgroup of the task that runs now.
#[inline(always)]
pub(crate) fn current_cgroup() -> CgroupId {
    // SAFETY: a helper without arguments.
    CgroupId(unsafe { bpf_get_current_cgroup_id() })
}

/// The head of a record that happens at `time`.
#[inline(always)]
pub(crate) fn header(kind: u32, cgroup: CgroupId, time: u64) -> Header {
    Header { kind, padding: 0, time, cgroup }
}

/// Sends one record, which `fill` writes in place, with the time. Counts it as issued, and as shed when `payer` has
/// too little left to pay with, or as lost when the ring is full.
///
/// `fill` must write every byte of `T` that means anything: the ring hands out memory with old records in it.
#[inline(always)]
pub(crate) fn emit<T: 'static>(
    ring: &RingBuf,
    family: u32,
    payer: Account,
    fill: impl FnOnce(&mut MaybeUninit<T>, u64),
) {
    let Some(stats) = RECORD_STATS.get_ptr_mut(family) else { return };
    // SAFETY: a pointer to this CPU's own value. A hook that interrupts this one on the same CPU may add in
    // between: hence the atomic addition.
    let stats = unsafe { &mut *stats };
    let Some(tally) = tally(payer, family) else { return };
    // The tally first: when the sums have grown, what they are made of has.
    add(&mut tally.issued, 1);
    add(&mut stats.issued, 1);
    let now = boot_time();
    if !pay(tally, family, ring, now) {
        add(&mut tally.shed, 1);
        add(&mut stats.shed, 1);
    } else if let Some(mut entry) = ring.reserve::<T>(0) {
        fill(&mut entry, now);
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
    } else {
        add(&mut tally.lost, 1);
        add(&mut stats.lost, 1);
    }
}

/// Counts what a hook could not do ([`cofferdam_common::stats::failure`]).
#[inline(always)]
pub(crate) fn count_failure(reason: u32) {
    if let Some(counter) = FAILURES.get_ptr_mut(reason) {
        // SAFETY: as in `emit`.
        add(unsafe { &mut *counter }, 1);
    }
}
