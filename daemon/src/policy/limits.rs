//! How much policies may need: what the kernel's maps have room for, and what there can be room for at all.

use std::fmt;

use cofferdam_common::policy::INTERVALS_LIMIT;

use crate::config;

/// What there is not room for without end.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Limit {
    /// Classes of workloads and of networks.
    Identities,
    /// Pairs of identities with a span of their own.
    Pairs,
    /// Intervals of all spans.
    Intervals,
    /// Prefixes of networks outside.
    Networks,
    /// Patterns of DNS names.
    Names,
    /// Cgroups that have an identity.
    Cgroups,
    /// Intervals of one span.
    SpanIntervals,
    /// Numbers of rules, over all loads.
    RuleNumbers,
}

/// There is not room enough.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TooLarge {
    /// For what.
    pub limit: Limit,
    /// How many there would be, counted up to where it was given up.
    pub needed: usize,
    /// For how many there is room.
    pub room: usize,
}

/// There is not room enough, for one thing or several.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoRoom(Vec<TooLarge>);

/// How much a plan needs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Size {
    /// Rules of all policies.
    pub rules: usize,
    /// Classes of workloads and of networks, the reserved identities among them.
    pub identities: usize,
    /// Pairs of identities with a span of their own.
    pub pairs: usize,
    /// Different spans.
    pub spans: usize,
    /// Intervals of all spans.
    pub intervals: usize,
    /// Prefixes in the trie of networks.
    pub networks: usize,
    /// Patterns in the trie of names.
    pub names: usize,
}

/// How much there is room for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Room {
    /// As in [`Size`].
    pub identities: usize,
    /// As in [`Size`].
    pub pairs: usize,
    /// As in [`Size`].
    pub intervals: usize,
    /// As in [`Size`].
    pub networks: usize,
    /// As in [`Size`].
    pub names: usize,
}

impl Room {
    /// For which there can be room.
    pub const MOST: Self = Self {
        identities: Limit::Identities.most(),
        pairs: Limit::Pairs.most(),
        intervals: Limit::Intervals.most(),
        networks: Limit::Networks.most(),
        names: Limit::Names.most(),
    };

    /// Whether so much fits into it.
    ///
    /// # Errors
    /// All that does not.
    pub fn check(&self, size: &Size) -> Result<(), NoRoom> {
        let parts = [
            (Limit::Identities, size.identities, self.identities),
            (Limit::Pairs, size.pairs, self.pairs),
            (Limit::Intervals, size.intervals, self.intervals),
            (Limit::Networks, size.networks, self.networks),
            (Limit::Names, size.names, self.names),
        ];
        let lacking = parts.into_iter().filter_map(|(limit, needed, room)| limit.within(room, needed).err());
        let lacking: Vec<_> = lacking.collect();
        if lacking.is_empty() { Ok(()) } else { Err(NoRoom(lacking)) }
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::from(&config::Room::default())
    }
}

impl From<&config::Room> for Room {
    fn from(room: &config::Room) -> Self {
        let config::Room { identities, pairs, intervals, networks, names, .. } = room;
        Self {
            identities: identities.get() as usize,
            pairs: pairs.get() as usize,
            intervals: intervals.get() as usize,
            networks: networks.get() as usize,
            names: names.get() as usize,
        }
    }
}

impl Limit {
    /// For how many there can be room.
    #[must_use]
    pub const fn most(self) -> usize {
        match self {
            Self::Identities => config::Room::MOST_IDENTITIES as usize,
            Self::Pairs | Self::Intervals | Self::Networks | Self::Names | Self::Cgroups => {
                config::Room::MOST as usize
            }
            Self::SpanIntervals => INTERVALS_LIMIT as usize,
            Self::RuleNumbers => u32::MAX as usize,
        }
    }

    /// The key of the configuration that says for how many there is room.
    #[must_use]
    pub const fn key(self) -> Option<&'static str> {
        match self {
            Self::Identities => Some("policies.room.identities"),
            Self::Pairs => Some("policies.room.pairs"),
            Self::Intervals => Some("policies.room.intervals"),
            Self::Networks => Some("policies.room.networks"),
            Self::Names => Some("policies.room.names"),
            Self::Cgroups => Some("policies.room.cgroups"),
            Self::SpanIntervals | Self::RuleNumbers => None,
        }
    }

    /// Refuses more than there is room for.
    ///
    /// # Errors
    /// There is room for less.
    pub fn within(self, room: usize, needed: usize) -> Result<(), TooLarge> {
        if needed > room { Err(TooLarge { limit: self, needed, room }) } else { Ok(()) }
    }

    /// Refuses more than there can be room for.
    pub(super) fn check(self, needed: usize) -> Result<(), TooLarge> {
        self.within(self.most(), needed)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Identities => "identities (groups of workloads and networks that rules tell apart)",
            Self::Pairs => "pairs of identities",
            Self::Intervals => "intervals of ports",
            Self::Networks => "networks",
            Self::Names => "DNS names and patterns of them",
            Self::Cgroups => "cgroups",
            Self::SpanIntervals => "intervals of ports between two identities",
            Self::RuleNumbers => "numbers of rules",
        })
    }
}

impl TooLarge {
    /// More than there can be room for.
    pub(super) const fn new(limit: Limit, needed: usize) -> Self {
        Self { limit, needed, room: limit.most() }
    }
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, needed, room } = self;
        match limit.key() {
            Some(key) if *room < limit.most() => write!(
                f,
                "there is room for {room} {limit}, and the policies need {needed}: raise `{key}` and restart the daemon"
            ),
            // Counting was given up there.
            _ => write!(f, "there can be room for {room} {limit}, and the policies need {needed} or more"),
        }
    }
}

impl std::error::Error for TooLarge {}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, lacking) in self.0.iter().enumerate() {
            let before = if at == 0 { "" } else { "; " };
            write!(f, "{before}{lacking}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoRoom {}

impl From<TooLarge> for NoRoom {
    fn from(lacking: TooLarge) -> Self {
        Self(vec![lacking])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_does_not_fit_is_told_with_what_is_needed_and_the_key_to_raise() {
        let room = Room { pairs: 10, intervals: 20, ..Room::default() };
        let fits = Size { pairs: 10, intervals: 20, ..Size::default() };
        assert_eq!(room.check(&fits), Ok(()));
        let told = room.check(&Size { pairs: 11, intervals: 33, ..fits }).unwrap_err().to_string();
        assert_eq!(
            told,
            "there is room for 10 pairs of identities, and the policies need 11: raise `policies.room.pairs` and restart \
             the daemon; there is room for 20 intervals of ports, and the policies need 33: raise \
             `policies.room.intervals` and restart the daemon"
        );
        let most = Limit::Pairs.check(Room::MOST.pairs + 1).unwrap_err().to_string();
        assert_eq!(
            most,
            "there can be room for 1048576 pairs of identities, and the policies need 1048577 or more"
        );
    }

    #[test]
    fn there_is_room_for_a_hundred_thousand_rules_and_ten_thousand_workloads_by_default() {
        let (rules, workloads) = (100_000, 10_000);
        // As the test of the compiler finds it.
        let size = Size {
            rules,
            identities: workloads + 3,
            pairs: rules,
            spans: 1 + workloads + rules,
            intervals: 1 + workloads + 3 * rules,
            networks: 0,
            names: 0,
        };
        assert_eq!(Room::default().check(&size), Ok(()));
    }
}
