//! Lets aya copy our types in and out of maps. The only `unsafe` of this crate.

use crate::{budget, ids, name, network, offsets, policy, stats, syscall};

/// Each type is `#[repr(C)]` or transparent and derives zerocopy's `FromBytes` and `IntoBytes`, which prove what
/// `Pod` asks for: every bit pattern is valid and there is no padding.
macro_rules! pod {
    ($($type:ty),+ $(,)?) => {
        $(
            // SAFETY: see the macro's comment; the derives on the type uphold it.
            unsafe impl aya::Pod for $type {}
        )+
    };
}

pod!(
    budget::Budget,
    budget::Limit,
    budget::Payer,
    ids::Address,
    ids::CgroupId,
    name::Entrance,
    name::Named,
    name::NamedKey,
    name::PatternId,
    name::PatternKey,
    name::Resolver,
    network::Flow,
    network::FlowKey,
    network::LedgerKey,
    network::LedgerRow,
    network::Sender,
    network::SenderKey,
    offsets::Offsets,
    policy::Identity,
    policy::Interval,
    policy::NetworkKey,
    policy::PairKey,
    policy::Resident,
    policy::Span,
    policy::Subject,
    stats::RecordStats,
    syscall::CallKey,
);
