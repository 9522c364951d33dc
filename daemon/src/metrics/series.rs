//! Series whose sums are read anew at each scrape: never falling, never more than the limit.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    time::{Duration, Instant},
};

use super::labels;

/// How long a series stays after what it counts has gone: longer than two scrapes at any usual pace.
pub(super) const GRACE: Duration = Duration::from_mins(5);

/// What one series counts.
pub(super) trait Totals: Copy + Debug + Default {
    /// Each number of both, made into one.
    fn each(self, other: Self, of: fn(u64, u64) -> u64) -> Self;

    /// Adds what another counts.
    fn merge(&mut self, more: Self) {
        *self = self.each(more, u64::saturating_add);
    }
}

impl Totals for u64 {
    fn each(self, other: Self, of: fn(u64, u64) -> u64) -> Self {
        of(self, other)
    }
}

/// A counter that never falls, over a sum that may.
#[derive(Clone, Copy, Debug, Default)]
struct Counter<T> {
    shown: T,
    /// Up to where the sum has been counted.
    counted: T,
}

#[derive(Debug)]
struct Kept<T> {
    counter: Counter<T>,
    seen: Instant,
}

/// What was shown before, by `N` labels, so that no counter falls and a series that has its place keeps it.
#[derive(Debug)]
pub(super) struct Series<const N: usize, T> {
    limit: usize,
    series: BTreeMap<[String; N], Kept<T>>,
    other: Option<Counter<T>>,
    folded: u64,
}

impl<const N: usize, T: Totals> Series<N, T> {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, series: BTreeMap::new(), other: None, folded: 0 }
    }

    /// Takes in the sums as they are now.
    pub(super) fn update(&mut self, sums: BTreeMap<[String; N], T>, now: Instant) {
        self.take(sums, now, Counter::raise);
    }

    /// Takes in the sums as they are now that workloads have other names. The past stays with the series that counted
    /// it, and each series goes on from where it is: else rates would see what there was not, or nothing.
    pub(super) fn rename(&mut self, sums: BTreeMap<[String; N], T>, now: Instant) {
        // Also those that nobody is called by now: who comes to be called so is counted from his beginning.
        let own = self.series.values_mut().map(|series| &mut series.counter);
        own.chain(self.other.as_mut()).for_each(|counter| counter.counted = T::default());
        self.take(sums, now, |counter, sum| counter.counted = sum);
    }

    fn take(&mut self, sums: BTreeMap<[String; N], T>, now: Instant, take: impl Fn(&mut Counter<T>, T)) {
        let mut other = T::default();
        for (labels, sum) in sums {
            if let Some(series) = self.series.get_mut(&labels) {
                take(&mut series.counter, sum);
                series.seen = now;
            } else if self.series.len() < self.limit {
                let mut counter = Counter::default();
                take(&mut counter, sum);
                self.series.insert(labels, Kept { counter, seen: now });
            } else {
                other.merge(sum);
                self.folded += 1;
                self.other.get_or_insert_default();
            }
        }
        if let Some(counter) = &mut self.other {
            take(counter, other);
        }
        self.series.retain(|_, series| now.duration_since(series.seen) <= GRACE);
    }

    /// Times that a label set was folded into `other`.
    pub(super) fn folded(&self) -> u64 {
        self.folded
    }

    /// Each series, with its labels; what was folded comes last.
    pub(super) fn each(&self, mut write: impl FnMut([&str; N], T)) {
        for (labels, series) in &self.series {
            write(labels.each_ref().map(String::as_str), series.counter.shown);
        }
        if let Some(counter) = &self.other {
            write([labels::OTHER; N], counter.shown);
        }
    }
}

impl<T: Totals> Counter<T> {
    /// What was shown once stands; what has come to the sum since is added.
    fn raise(&mut self, sum: T) {
        self.shown.merge(sum.each(self.counted, u64::saturating_sub));
        self.counted = self.counted.each(sum, u64::max);
    }
}
