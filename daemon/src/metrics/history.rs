//! How the history stands.

use super::{definitions as metric, page::Page};
use crate::history::Report;

pub(super) fn write(page: &mut Page, report: &Report) {
    page.count(&metric::HISTORY_WRITTEN, &[], report.written);
    page.count(&metric::HISTORY_FAILURES, &[], report.failures);
    page.count(&metric::HISTORY_LOST, &["minutes"], report.lost_minutes);
    page.count(&metric::HISTORY_LOST, &["events"], report.lost_events);
    page.count(&metric::HISTORY_BYTES, &[], report.bytes);
    let last = report.written_at.map(|at| at.as_duration().as_secs_f64());
    page.add(&metric::HISTORY_TIME, &[], last.unwrap_or_default());
}
