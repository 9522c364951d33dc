//! What is unusual.

use std::collections::BTreeMap;

use super::{definitions as metric, labels, page::Page};
use crate::event::Alert;

/// Those that are open. They are bounded where they are made, and those beyond the limit here are in the events and `alerts`.
pub(super) fn write(page: &mut Page, alerts: &[Alert]) {
    let mut open = BTreeMap::<_, u64>::new();
    for alert in alerts.iter().filter(|alert| alert.is_open()) {
        let target = alert.target.as_deref().map(labels::workload).unwrap_or_default();
        let labels = [
            alert.kind.name().to_owned(),
            alert.severity.name().to_owned(),
            labels::workload(&alert.source).into_owned(),
            target.into_owned(),
        ];
        *open.entry(labels).or_default() += 1;
    }
    let folded = open.len().saturating_sub(metric::ANOMALY.limit);
    page.count(&metric::SERIES_FOLDED, &[metric::ANOMALY.name], folded as u64);
    for (labels, count) in open.iter().take(metric::ANOMALY.limit) {
        page.count(&metric::ANOMALY, &labels.each_ref().map(String::as_str), *count);
    }
}
