//! What each cgroup may send: a token bucket per family of records, and the count of what became of them.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{ids::CgroupId, record::family};

/// The budget that all cgroups share for which there is no other. It is the array's first.
pub const SHARED: u32 = 0;

/// Which budget a cgroup pays from ([`Payer::of`]).
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Payer(u32);

impl Payer {
    const PAYS_FOR_ALL_BELOW: u32 = 1 << 31;

    /// The budget at `index`, for this cgroup alone.
    #[inline(always)]
    #[must_use]
    pub fn alone(index: u32) -> Self {
        Self(index)
    }

    /// The budget at `index`, for this cgroup and for all below it: a container's own.
    #[must_use]
    pub fn for_all_below(index: u32) -> Self {
        Self(index | Self::PAYS_FOR_ALL_BELOW)
    }

    /// Where the budget is.
    #[inline(always)]
    #[must_use]
    pub fn index(self) -> u32 {
        self.0 & !Self::PAYS_FOR_ALL_BELOW
    }

    /// Whether cgroups below pay from it too.
    #[inline(always)]
    #[must_use]
    pub fn pays_for_all_below(self) -> bool {
        self.0 & Self::PAYS_FOR_ALL_BELOW != 0
    }
}

/// One budget.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Budget {
    /// The cgroup that it was made for; [`CgroupId::NONE`] in the shared one and in those that are free.
    pub cgroup: CgroupId,
    /// By family.
    pub families: [Tally; family::COUNT as usize],
}

/// What one budget says of one family. `issued = delivered + shed + lost`, exactly.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Tally {
    /// Up to when the budget is spent, in nanoseconds since boot. Each record that is let through moves it on by
    /// [`Limit::interval`]; it may not come to lie in the future, and is never taken for older than
    /// [`Limit::window`].
    pub spent_until: u64,
    /// Records that a hook wanted to send.
    pub issued: u64,
    /// Records over the budget, which were not sent.
    pub shed: u64,
    /// Records that found no room in the ring.
    pub lost: u64,
}

/// How much a budget of one family is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Limit {
    /// Nanoseconds that one record costs; 0 is no limit.
    pub interval: u64,
    /// Nanoseconds that can be saved up.
    pub window: u64,
    /// Bytes that wait in the ring from which on it is crowded: then only those send who have half of that left.
    pub crowded: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payer_tells_where_its_budget_is_and_whether_others_pay_from_it() {
        assert_eq!((Payer::alone(7).index(), Payer::alone(7).pays_for_all_below()), (7, false));
        assert_eq!(
            (Payer::for_all_below(7).index(), Payer::for_all_below(7).pays_for_all_below()),
            (7, true)
        );
    }
}
