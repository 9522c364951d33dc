//! Makes room in what is bounded.

use std::collections::BTreeMap;

/// Takes out the entry that ranks lowest; of several, the first by its key.
pub(super) fn forget_lowest<K: Clone + Ord, V, R: Ord>(
    entries: &mut BTreeMap<K, V>,
    rank: impl Fn(&K, &V) -> R,
) -> Option<V> {
    let lowest = entries.iter().min_by_key(|(key, entry)| rank(key, entry)).map(|(key, _)| key.clone());
    entries.remove(&lowest?)
}
