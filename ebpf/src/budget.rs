//! Who pays for a record, and whether there is still something to pay with.
//!
//! Each cgroup has a token bucket per family of records, so that one which floods sheds its own records before they
//! take up room in a ring. A container pays for all cgroups below its own: making more of them buys nothing. That is
//! found out once, when a cgroup first sends; from then on a record costs one look-up.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA},
    maps::RingBuf,
    programs::SkBuffContext,
};
use cofferdam_common::{
    budget::{Budget, Limit, Payer, SHARED, Tally},
    ids::CgroupId,
    stats::failure,
};

use crate::{
    ancestors,
    atomic::{add, compare_exchange},
    emit::count_failure,
    maps::{BUDGETS, FREE_BUDGETS, LIMITS, NESTED, PAYERS},
};

/// Which budget pays: an index into the array of them.
#[derive(Clone, Copy)]
pub(crate) struct Account(u32);

/// The account of a cgroup that has been introduced; the shared one for all others.
#[inline(always)]
pub(crate) fn account(cgroup: CgroupId) -> Account {
    find(cgroup).unwrap_or(Account(SHARED))
}

/// The account of the current task's cgroup, introduced if need be.
#[inline(always)]
pub(crate) fn account_of_current(cgroup: CgroupId) -> Account {
    find(cgroup).unwrap_or_else(|| introduce_current(cgroup))
}

/// Sees to it that the cgroup of a packet's socket has an account.
#[inline(always)]
pub(crate) fn introduce(context: &SkBuffContext, cgroup: CgroupId) {
    if find(cgroup).is_none() {
        introduce_socket(context, cgroup);
    }
}

#[inline(always)]
fn find(cgroup: CgroupId) -> Option<Account> {
    // SAFETY: both values are read at once; they are small enough to be replaced in one piece.
    unsafe {
        if let Some(payer) = PAYERS.get(&cgroup) {
            return Some(Account(payer.index()));
        }
        let owner = *NESTED.get(&cgroup)?;
        PAYERS.get(&owner).map(|payer| Account(payer.index()))
    }
}

#[inline(never)]
fn introduce_current(cgroup: CgroupId) -> Account {
    ancestors::of_current(cgroup, |ancestor| paid_by(cgroup, ancestor)).unwrap_or_else(|| open(cgroup))
}

#[inline(never)]
fn introduce_socket(context: &SkBuffContext, cgroup: CgroupId) {
    if cgroup == CgroupId::NONE {
        return;
    }
    if ancestors::of_socket(context, cgroup, |ancestor| paid_by(cgroup, ancestor)).is_none() {
        open(cgroup);
    }
}

/// The account of a container that `ancestor` is the cgroup of. What was found is kept where the least used gives
/// way: it can be found again.
#[inline(always)]
fn paid_by(cgroup: CgroupId, ancestor: CgroupId) -> Option<Account> {
    // SAFETY: as in `find`.
    let payer = unsafe { PAYERS.get(&ancestor) }?;
    if !payer.pays_for_all_below() {
        return None;
    }
    // Without it the search is done again next time.
    let _ = NESTED.insert(&cgroup, &ancestor, 0);
    Some(Account(payer.index()))
}

/// A budget of its own for a cgroup.
#[inline(always)]
fn open(cgroup: CgroupId) -> Account {
    let Ok(Some(index)) = FREE_BUDGETS.pop() else {
        count_failure(failure::BUDGETS_FULL);
        return Account(SHARED);
    };
    if let Some(budget) = get(index) {
        budget.cgroup = cgroup;
    }
    if PAYERS.insert(&cgroup, &Payer::alone(index), u64::from(BPF_NOEXIST)).is_ok() {
        return Account(index);
    }
    // Another CPU was first, or there is no room for one more that pays. The budget was just taken out of its queue,
    // so there is room for it.
    let _ = FREE_BUDGETS.push(&index, 0);
    find(cgroup).unwrap_or_else(|| {
        count_failure(failure::BUDGETS_FULL);
        Account(SHARED)
    })
}

#[inline(always)]
fn get(index: u32) -> Option<&'static mut Budget> {
    // SAFETY: array entries live as long as the map; counters are only changed atomically.
    BUDGETS.get_ptr_mut(index).map(|budget| unsafe { &mut *budget })
}

/// What an account says of a family.
#[inline(always)]
pub(crate) fn tally(account: Account, family: u32) -> Option<&'static mut Tally> {
    get(account.0)?.families.get_mut(family as usize)
}

/// Pays for one record at time `now`; false when there is nothing left, or too little while the ring is crowded.
///
/// While it is crowded, to be turned away costs as much as to be let through. So those that flood stay away until the
/// daemon has caught up, and the rest of the ring is for those that send seldom.
///
/// CPUs that pay at the same moment may each find the last record's worth: the budget is then overdrawn by one record
/// less than they are many at most, and has to make up for it before the next one passes.
#[inline(always)]
pub(crate) fn pay(tally: &mut Tally, family: u32, ring: &RingBuf, now: u64) -> bool {
    let Some(Limit { interval, window, crowded }) = LIMITS.get(family).copied() else { return true };
    if interval == 0 {
        return true;
    }
    let spent_until = tally.spent_until;
    let oldest = now.saturating_sub(window);
    let paid_until = if spent_until < oldest { oldest } else { spent_until } + interval;
    if paid_until > now {
        return false;
    }
    if compare_exchange(&mut tally.spent_until, spent_until, paid_until) != spent_until {
        add(&mut tally.spent_until, interval);
    }
    now - paid_until >= window / 2 || ring.query(u64::from(BPF_RB_AVAIL_DATA)) < crowded
}
