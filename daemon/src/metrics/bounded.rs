//! Counters by label set, of which only so many are kept apart.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(super) struct Bounded<K> {
    pub(super) counts: BTreeMap<K, u64>,
    /// Times that a label set found no place.
    pub(super) folded: u64,
}

impl<K> Default for Bounded<K> {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), folded: 0 }
    }
}

impl<K: Ord> Bounded<K> {
    /// Counts under `labels`, or under `other` where there are `limit` already.
    pub(super) fn add(&mut self, labels: K, other: impl FnOnce(K) -> K, limit: usize, by: u64) {
        if let Some(count) = self.counts.get_mut(&labels) {
            *count += by;
            return;
        }
        let full = self.counts.len() >= limit;
        self.folded += u64::from(full);
        *self.counts.entry(if full { other(labels) } else { labels }).or_default() += by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_place_is_counted_in_one_and_said() {
        let mut counters = Bounded::default();
        for (name, by) in [("a", 1), ("b", 2), ("c", 3), ("a", 4), ("d", 5)] {
            counters.add(name, |_| "other", 2, by);
        }
        assert_eq!(Vec::from_iter(counters.counts), [("a", 5), ("b", 2), ("other", 8)]);
        assert_eq!(counters.folded, 2);
    }
}
