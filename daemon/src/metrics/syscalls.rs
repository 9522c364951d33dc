//! The series of system calls.

use std::{collections::BTreeMap, time::Instant};

use super::{
    definitions::{SYSCALL_ERRORS, SYSCALLS},
    labels,
    page::Page,
    series::{Series, Totals as _},
};
use crate::syscall::Syscall;

/// Calls by workload, call and ABI; errors by their name as well.
#[derive(Debug)]
pub(super) struct SyscallSeries {
    calls: Series<3, u64>,
    errors: Series<4, u64>,
}

impl SyscallSeries {
    pub(super) fn new() -> Self {
        Self { calls: Series::new(SYSCALLS.limit), errors: Series::new(SYSCALL_ERRORS.limit) }
    }

    /// Takes in what was counted until now.
    pub(super) fn update(&mut self, counted: &[Syscall], now: Instant) {
        let mut calls = BTreeMap::<_, u64>::new();
        let mut errors = BTreeMap::<_, u64>::new();
        for sum in counted {
            let labels = [
                labels::workload(&sum.workload).into_owned(),
                sum.syscall.clone(),
                sum.abi.name().to_owned(),
            ];
            for (errno, count) in &sum.errnos {
                let [workload, syscall, abi] = labels.clone();
                errors.entry([workload, syscall, abi, errno.clone()]).or_default().merge(*count);
            }
            calls.entry(labels).or_default().merge(sum.calls);
        }
        self.calls.update(calls, now);
        self.errors.update(errors, now);
    }

    pub(super) fn write(&self, page: &mut Page) {
        self.calls.each(|labels, calls| page.count(&SYSCALLS, &labels, calls));
        self.errors.each(|labels, errors| page.count(&SYSCALL_ERRORS, &labels, errors));
        let series_folded = &super::definitions::SERIES_FOLDED;
        page.count(series_folded, &[SYSCALLS.name], self.calls.folded());
        page.count(series_folded, &[SYSCALL_ERRORS.name], self.errors.folded());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::samples::syscall;

    #[test]
    fn calls_and_errors_of_replicas_are_added_up_by_name() {
        let mut series = SyscallSeries::new();
        series.update(&[syscall(), syscall()], Instant::now());
        let mut page = Page::default();
        series.write(&mut page);
        let text = page.text().expect("a page");
        let labels = r#"workload="shop/web",syscall="openat",abi="x86_64""#;
        assert!(text.contains(&format!("cofferdam_syscalls_total{{{labels}}} 2408\n")), "{text}");
        let errors = format!("cofferdam_syscall_errors_total{{{labels},errno=\"ENOENT\"}} 30\n");
        assert!(text.contains(&errors), "{text}");
    }
}
