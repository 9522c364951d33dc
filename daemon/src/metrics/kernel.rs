//! What the hooks count, and how full their maps are.

use cofferdam_common::{record::family, stats::failure};

use super::{Readings, definitions as metric, page::Page};

/// What the kernel counts. Known names stand at 0 before anything happened, so that `increase()` sees the first.
pub(super) fn write(page: &mut Page, readings: &Readings) {
    // What nothing needs is neither attached nor missed.
    for hook in readings.hooks.iter().filter(|hook| hook.attached() || hook.is_missing()) {
        page.count(&metric::HOOK_ATTACHED, &[&hook.name], hook.attached().into());
    }
    let Some(counters) = &readings.counters else { return };
    for name in family::NAMES {
        let family = counters.families.iter().find(|family| family.family == name);
        page.count(&metric::RECORDS_ISSUED, &[name], family.map_or(0, |family| family.issued));
        page.count(&metric::RECORDS_SHED, &[name], family.map_or(0, |family| family.shed));
        page.count(&metric::RECORDS_LOST, &[name], family.map_or(0, |family| family.lost));
    }
    for reason in failure::NAMES {
        let count =
            counters.failures.iter().find(|named| named.name == reason).map_or(0, |named| named.count);
        page.count(&metric::HOOK_FAILURES, &[reason], count);
    }
    for ring in &counters.rings {
        page.count(&metric::RING_USED, &[&ring.name], ring.used);
        page.count(&metric::RING_CAPACITY, &[&ring.name], ring.capacity);
    }
    for map in &counters.maps {
        page.count(&metric::MAP_ENTRIES, &[&map.name], map.used);
        page.count(&metric::MAP_CAPACITY, &[&map.name], map.capacity);
    }
}
