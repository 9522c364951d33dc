//! Under which names workloads looked addresses up. The only user of lru. No I/O, no locks.
//!
//! What one workload was told says nothing about another: names are per workload and address, never global.

use std::{net::IpAddr, sync::Arc};

use cofferdam_common::name::SHORTEST_TTL;
use lru::LruCache;

/// Most names of all workloads.
const LIMIT: usize = 65_536;
/// Most names of one workload: one that looks up without end pushes out its own.
const WORKLOAD_LIMIT: usize = 2_048;

const NANOSECONDS: u64 = 1_000_000_000;

struct Name {
    name: Arc<str>,
    /// Boot time in nanoseconds.
    valid_until: u64,
}

/// Names by workload and address. A name stays beyond its TTL, since a connection does: until the address is looked up
/// under another one, or room is needed. Then the one goes that was looked up longest ago.
pub(super) struct Names {
    workloads: LruCache<Arc<str>, LruCache<IpAddr, Name>>,
    total: usize,
    /// Names that had to go before their TTL had ended.
    pub(super) evicted: u64,
}

impl Names {
    pub(super) fn new() -> Self {
        Self { workloads: LruCache::unbounded(), total: 0, evicted: 0 }
    }

    /// A workload was told that `name` has these addresses for `ttl` seconds; `now` is boot time.
    pub(super) fn learn(&mut self, workload: &str, name: &str, addresses: &[IpAddr], ttl: u32, now: u64) {
        if addresses.is_empty() {
            return;
        }
        let name: Arc<str> = name.into();
        let valid_until = now.saturating_add(u64::from(ttl).max(SHORTEST_TTL) * NANOSECONDS);
        if !self.workloads.promote(workload) {
            self.workloads.put(workload.into(), LruCache::unbounded());
        }
        let Some(known) = self.workloads.peek_mut(workload) else { return };
        for address in addresses {
            let new = Name { name: Arc::clone(&name), valid_until };
            if known.put(*address, new).is_none() {
                self.total += 1;
            }
            if known.len() > WORKLOAD_LIMIT {
                self.total -= 1;
                self.evicted += u64::from(known.pop_lru().is_some_and(|(_, old)| old.valid_until > now));
            }
        }
        while self.total > LIMIT {
            self.evict_of_quietest(now);
        }
    }

    /// The workload that has learned nothing for longest gives way.
    fn evict_of_quietest(&mut self, now: u64) {
        let Some(quietest) = self.workloads.peek_lru().map(|(workload, _)| Arc::clone(workload)) else {
            self.total = 0;
            return;
        };
        if let Some((_, old)) = self.workloads.peek_mut(&quietest).and_then(LruCache::pop_lru) {
            self.total -= 1;
            self.evicted += u64::from(old.valid_until > now);
        }
        if self.workloads.peek(&quietest).is_some_and(LruCache::is_empty) {
            self.workloads.pop(&quietest);
        }
    }

    /// The name under which a workload last looked an address up.
    pub(super) fn of(&self, workload: &str, address: IpAddr) -> Option<&str> {
        Some(&self.workloads.peek(workload)?.peek(&address)?.name)
    }

    /// The workload is gone.
    pub(super) fn forget(&mut self, workload: &str) {
        self.total -= self.workloads.pop(workload).map_or(0, |names| names.len());
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(number: usize) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + number as u32).into())
    }

    #[test]
    fn a_name_is_only_known_to_who_looked_it_up() {
        let mut names = Names::new();
        names.learn("web", "api.example", &[address(1), address(2)], 60, 0);
        names.learn("db", "other.example", &[address(2)], 60, 0);
        assert_eq!(names.of("web", address(1)), Some("api.example"));
        assert_eq!(
            (names.of("web", address(2)), names.of("db", address(2))),
            (Some("api.example"), Some("other.example"))
        );
        assert_eq!((names.of("db", address(1)), names.of("nobody", address(1))), (None, None));
    }

    #[test]
    fn the_last_look_up_counts_and_outlives_its_ttl() {
        let mut names = Names::new();
        names.learn("web", "old.example", &[address(1)], 1, 0);
        names.learn("web", "new.example", &[address(1)], 1, NANOSECONDS);
        names.learn("web", "later.example", &[address(2)], 1, 1_000_000 * NANOSECONDS);
        assert_eq!(names.of("web", address(1)), Some("new.example"));
        assert_eq!((names.len(), names.evicted), (2, 0));
    }

    #[test]
    fn a_workload_that_looks_up_without_end_pushes_out_its_own_oldest_names_only() {
        let mut names = Names::new();
        names.learn("quiet", "quiet.example", &[address(0)], 60, 0);
        for number in 0..WORKLOAD_LIMIT + 10 {
            names.learn("loud", "loud.example", &[address(number)], 60, 0);
        }
        assert_eq!(
            (names.of("loud", address(9)), names.of("loud", address(10))),
            (None, Some("loud.example"))
        );
        assert_eq!(names.of("quiet", address(0)), Some("quiet.example"));
        assert_eq!((names.len(), names.evicted), (WORKLOAD_LIMIT + 1, 10));
    }

    #[test]
    fn no_time_and_no_ttl_is_too_large() {
        let mut names = Names::new();
        names.learn("web", "a.example", &[address(1)], u32::MAX, u64::MAX);
        assert_eq!(names.of("web", address(1)), Some("a.example"));
    }

    #[test]
    fn what_goes_after_its_ttl_is_no_loss() {
        let mut names = Names::new();
        for number in 0..=WORKLOAD_LIMIT {
            names.learn(
                "web",
                "a.example",
                &[address(number)],
                5,
                number as u64 * SHORTEST_TTL * NANOSECONDS,
            );
        }
        assert_eq!((names.len(), names.evicted), (WORKLOAD_LIMIT, 0));
    }

    #[test]
    fn when_all_is_full_who_learned_longest_ago_gives_way() {
        let mut names = Names::new();
        let workloads = LIMIT / WORKLOAD_LIMIT;
        for workload in 0..=workloads {
            for number in 0..WORKLOAD_LIMIT {
                names.learn(&workload.to_string(), "a.example", &[address(number)], 60, 0);
            }
        }
        assert_eq!((names.len(), names.evicted), (LIMIT, WORKLOAD_LIMIT as u64));
        assert_eq!((names.of("0", address(7)), names.of("1", address(7))), (None, Some("a.example")));
        names.forget("1");
        assert_eq!((names.len(), names.of("1", address(7))), (LIMIT - WORKLOAD_LIMIT, None));
    }

    proptest! {
        #[test]
        fn what_is_there_is_counted(learned in proptest::collection::vec((0u8..5, 0usize..9, any::<bool>()), 0..60)) {
            let mut names = Names::new();
            for (workload, number, forget) in learned {
                if forget {
                    names.forget(&workload.to_string());
                } else {
                    names.learn(&workload.to_string(), "a.example", &[address(number)], 60, 0);
                }
                prop_assert_eq!(names.len(), names.workloads.iter().map(|(_, names)| names.len()).sum::<usize>());
            }
        }
    }
}
