//! Counts of tests, as libtest reports them.

use std::{fmt, ops::AddAssign, process::ExitCode};

/// How many tests passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) skipped: u32,
}

impl Tally {
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0, skipped: 0 };
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1, skipped: 0 };
    pub(crate) const SKIPPED: Self = Self { passed: 0, failed: 0, skipped: 1 };

    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; ...`, whatever stands before it on the line: on a
    /// serial console that may be a message of the kernel.
    pub(crate) fn of_line(line: &str) -> Option<Self> {
        let (_, counts) = line.split_once("test result: ")?;
        let (_, counts) = counts.split_once(". ")?;
        let mut tally = Self::default();
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let (Some(count), Some(word)) = (words.next(), words.next()) else { continue };
            match word {
                "passed" => tally.passed = count.parse().ok()?,
                "failed" => tally.failed = count.parse().ok()?,
                "ignored" => tally.skipped = count.parse().ok()?,
                _ => (),
            }
        }
        Some(tally)
    }

    /// A run that ended badly without a failed test (it crashed, was killed, never reported) is a failure too.
    pub(crate) fn ended(mut self, well: bool) -> Self {
        if !well && self.failed == 0 {
            self.failed = 1;
        }
        self
    }

    /// The exit code that tells about it.
    pub(crate) fn exit(self) -> ExitCode {
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "test result: FAILED. 12 passed; 2 failed; 1 ignored; 0 measured; 4 filtered out; finished in 0.31s";

    #[test]
    fn the_result_line_of_libtest_is_read() {
        assert_eq!(Tally::of_line(LINE), Some(Tally { passed: 12, failed: 2, skipped: 1 }));
    }

    #[test]
    fn a_message_of_the_kernel_before_it_does_not_hide_it() {
        let line = format!("[    4.1] veth0: entered promiscuous mode {LINE}");
        assert_eq!(Tally::of_line(&line), Some(Tally { passed: 12, failed: 2, skipped: 1 }));
    }

    #[test]
    fn other_lines_are_no_result() {
        assert_eq!(Tally::of_line("test a_flow_is_seen ... ok"), None);
        assert_eq!(Tally::of_line("running 3 tests"), None);
    }

    #[test]
    fn a_crash_without_a_failed_test_counts_as_failed() {
        assert_eq!(Tally::default().ended(false).failed, 1);
        assert_eq!(Tally { failed: 2, ..Tally::default() }.ended(false).failed, 2);
        assert_eq!(Tally::PASSED.ended(true), Tally::PASSED);
    }

    #[test]
    fn the_last_line_has_its_fixed_form() {
        assert_eq!(Tally { passed: 3, failed: 0, skipped: 1 }.to_string(), "3 passed, 0 failed, 1 skipped");
    }
}
