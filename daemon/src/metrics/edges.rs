//! The series of the map: sums of edges by label set.

use std::{collections::BTreeMap, time::Instant};

use super::{
    definitions::{DENIALS, FLOW_ATTEMPTS, FLOW_BYTES, FLOW_FAILURES, FLOWS},
    labels,
    page::Page,
    series::{self, Series, Totals as _},
};
use crate::interaction::{Edge, Failed};

/// Source, target, protocol, port.
type Labels = [String; 4];

/// What one series counts.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    flows: u64,
    attempts: u64,
    failed: Failed,
    sent: u64,
    received: u64,
    denied: u64,
    audited: u64,
}

/// The edges that were shown before.
#[derive(Debug)]
pub(super) struct EdgeSeries(Series<4, Totals>);

impl EdgeSeries {
    pub(super) fn new(limit: usize) -> Self {
        Self(Series::new(limit))
    }

    /// Takes in what the ledger says now.
    pub(super) fn update(&mut self, edges: &[Edge], now: Instant) {
        self.0.update(sums(edges), now);
    }

    /// Takes in what the ledger says now that workloads have other names ([`Series::rename`]).
    pub(super) fn rename(&mut self, edges: &[Edge], now: Instant) {
        self.0.rename(sums(edges), now);
    }

    /// Times that a label set was folded into `other`.
    pub(super) fn folded(&self) -> u64 {
        self.0.folded()
    }

    pub(super) fn write(&self, page: &mut Page) {
        self.0.each(|labels, totals| totals.write(page, labels));
    }
}

fn sums(edges: &[Edge]) -> BTreeMap<Labels, Totals> {
    let mut sums = BTreeMap::<_, Totals>::new();
    for edge in edges {
        sums.entry(label_set(edge)).or_default().add(edge);
    }
    sums
}

impl series::Totals for Totals {
    fn each(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        Self {
            flows: of(self.flows, other.flows),
            attempts: of(self.attempts, other.attempts),
            failed: self.failed.each(other.failed, of),
            sent: of(self.sent, other.sent),
            received: of(self.received, other.received),
            denied: of(self.denied, other.denied),
            audited: of(self.audited, other.audited),
        }
    }
}

impl Totals {
    fn add(&mut self, edge: &Edge) {
        self.merge(Self {
            flows: edge.flows,
            attempts: edge.attempts,
            failed: edge.failed,
            sent: edge.bytes_sent,
            received: edge.bytes_received,
            denied: edge.verdicts.deny,
            audited: edge.verdicts.audit,
        });
    }

    fn write(&self, page: &mut Page, [source, target, protocol, port]: [&str; 4]) {
        let labels = [source, target, protocol, port];
        page.count(&FLOWS, &labels, self.flows);
        page.count(&FLOW_ATTEMPTS, &labels, self.attempts);
        // Most edges never fail: those that do not take no series.
        for (why, count) in self.failed.by_name().into_iter().filter(|(_, count)| *count > 0) {
            page.count(&FLOW_FAILURES, &[source, target, protocol, port, why], count);
        }
        // And few are denied.
        for (verdict, count) in [("deny", self.denied), ("audit", self.audited)] {
            if count > 0 {
                page.count(&DENIALS, &[source, target, protocol, port, verdict], count);
            }
        }
        page.count(&FLOW_BYTES, &[source, target, protocol, port, "sent"], self.sent);
        page.count(&FLOW_BYTES, &[source, target, protocol, port, "received"], self.received);
    }
}

fn label_set(edge: &Edge) -> Labels {
    [
        labels::workload(&edge.source).into_owned(),
        labels::workload(&edge.target).into_owned(),
        edge.protocol.to_string(),
        labels::port(&edge.target, edge.protocol, edge.port).into_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{samples::edge, series::GRACE};

    fn text(series: &EdgeSeries) -> String {
        let mut page = Page::default();
        series.write(&mut page);
        page.text().expect("a page")
    }

    fn flows(port: u16, flows: u64) -> Edge {
        Edge { port, flows, ..edge() }
    }

    fn shown(series: &EdgeSeries, port: &str) -> Option<u64> {
        let line = text(series);
        let start =
            format!("cofferdam_flows_total{{source=\"{}", if port == "other" { "other" } else { "shop/web" });
        line.lines()
            .find(|line| line.starts_with(&start) && line.contains(&format!("port=\"{port}\"")))
            .and_then(|line| line.rsplit(' ').next()?.parse().ok())
    }

    #[test]
    fn replicas_of_a_service_are_one_series() {
        let mut series = EdgeSeries::new(10);
        series.update(&[flows(80, 3), flows(80, 4)], Instant::now());
        assert_eq!(shown(&series, "80"), Some(7));
    }

    #[test]
    fn a_counter_never_falls() {
        let mut series = EdgeSeries::new(10);
        series.update(&[flows(80, 9)], Instant::now());
        series.update(&[flows(80, 2)], Instant::now());
        assert_eq!(shown(&series, "80"), Some(9));
        series.update(&[flows(80, 11)], Instant::now());
        assert_eq!(shown(&series, "80"), Some(11));
    }

    #[test]
    fn counters_go_on_from_where_they_are_when_workloads_are_renamed() {
        let mut series = EdgeSeries::new(10);
        let now = Instant::now();
        series.update(&[flows(80, 9), flows(443, 5)], now);
        // The peers of 7 of the 9 flows have a name of their own now.
        series.rename(&[flows(80, 2), flows(81, 7), flows(443, 5)], now);
        assert_eq!([shown(&series, "80"), shown(&series, "81")], [Some(9), Some(0)]);
        series.update(&[flows(80, 3), flows(81, 9), flows(443, 6)], now);
        assert_eq!([shown(&series, "80"), shown(&series, "81")], [Some(10), Some(2)]);
        // And back.
        series.rename(&[flows(80, 12), flows(443, 6)], now);
        series.update(&[flows(80, 13), flows(443, 6)], now);
        assert_eq!([shown(&series, "80"), shown(&series, "81")], [Some(11), Some(2)]);
        assert_eq!(shown(&series, "443"), Some(6));
    }

    #[test]
    fn a_series_that_lost_all_its_peers_to_another_name_counts_the_next_peer_from_its_first_flow() {
        let mut series = EdgeSeries::new(10);
        series.update(&[flows(80, 9)], Instant::now());
        series.rename(&[flows(81, 9)], Instant::now());
        series.update(&[flows(80, 1), flows(81, 9)], Instant::now());
        assert_eq!([shown(&series, "80"), shown(&series, "81")], [Some(10), Some(0)]);
    }

    #[test]
    fn what_does_not_fit_is_counted_in_one_other_series_and_said() {
        let mut series = EdgeSeries::new(2);
        series.update(&[flows(1, 1), flows(2, 1), flows(3, 5), flows(4, 6)], Instant::now());
        assert_eq!((shown(&series, "1"), shown(&series, "2")), (Some(1), Some(1)));
        assert_eq!((shown(&series, "3"), shown(&series, "other")), (None, Some(11)));
        assert_eq!(series.folded(), 2);
    }

    #[test]
    fn a_series_that_has_its_place_keeps_it() {
        let mut series = EdgeSeries::new(1);
        series.update(&[flows(9, 1)], Instant::now());
        series.update(&[flows(1, 1), flows(9, 2)], Instant::now());
        assert_eq!((shown(&series, "9"), shown(&series, "1")), (Some(2), None));
    }

    #[test]
    fn a_vanished_edge_leaves_after_the_grace_and_makes_room() {
        let mut series = EdgeSeries::new(1);
        let start = Instant::now();
        series.update(&[flows(1, 1)], start);
        series.update(&[], start + GRACE);
        assert_eq!(shown(&series, "1"), Some(1));
        series.update(&[], start + GRACE + Duration::from_secs(1));
        assert_eq!(shown(&series, "1"), None);
        series.update(&[flows(2, 1)], start + GRACE + Duration::from_secs(2));
        assert_eq!(shown(&series, "2"), Some(1));
    }
}
