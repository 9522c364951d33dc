//! How much a plan may need: what the kernel's maps hold.

use std::fmt;

use cofferdam_common::policy::INTERVALS_LIMIT;

/// What there is not room for without end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Limit {
    /// Classes of workloads and of networks.
    Identities,
    /// Pairs of identities with a span of their own.
    Pairs,
    /// Intervals of all spans.
    Intervals,
    /// Intervals of one span.
    SpanIntervals,
    /// Numbers of rules, over all loads.
    RuleNumbers,
}

/// There is not room enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the policies need {needed} {limit} or more, and there is room for {}", limit.most())]
pub struct TooLarge {
    /// For what.
    pub limit: Limit,
    /// How many there would be, counted up to where it was given up.
    pub needed: usize,
}

/// How much a plan needs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Size {
    /// Rules of all policies.
    pub rules: usize,
    /// Classes of workloads and of networks, the two reserved identities among them.
    pub identities: usize,
    /// Pairs of identities with a span of their own.
    pub pairs: usize,
    /// Different spans.
    pub spans: usize,
    /// Intervals of all spans.
    pub intervals: usize,
    /// Prefixes in the trie of networks.
    pub networks: usize,
}

impl Limit {
    /// How many there may be.
    #[must_use]
    pub const fn most(self) -> usize {
        match self {
            Self::Identities => 65_536,
            Self::Pairs | Self::Intervals => 1_048_576,
            Self::SpanIntervals => INTERVALS_LIMIT as usize,
            Self::RuleNumbers => u32::MAX as usize,
        }
    }

    /// Refuses more than there may be.
    pub(super) fn check(self, needed: usize) -> Result<(), TooLarge> {
        if needed > self.most() { Err(TooLarge::new(self, needed)) } else { Ok(()) }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identities => "identities (groups of workloads that rules tell apart)",
            Self::Pairs => "pairs of identities",
            Self::Intervals => "intervals of ports",
            Self::SpanIntervals => "intervals of ports between two identities",
            Self::RuleNumbers => "numbers of rules",
        })
    }
}

impl TooLarge {
    pub(super) const fn new(limit: Limit, needed: usize) -> Self {
        Self { limit, needed }
    }
}
