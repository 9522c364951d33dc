//! Kernel times become wall-clock times.

use jiff::{SignedDuration, Timestamp};
use nix::time::{ClockId, clock_gettime};

/// Where the kernel's clocks stand against the wall clock. Taken anew for each reading, so that an adjusted wall
/// clock is followed.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Timestamp,
    boot: i128,
    monotonic: i128,
}

impl Clock {
    /// Reads all three clocks.
    #[must_use]
    pub fn now() -> Self {
        Self {
            now: Timestamp::now(),
            boot: nanoseconds(ClockId::CLOCK_BOOTTIME),
            monotonic: nanoseconds(ClockId::CLOCK_MONOTONIC_COARSE),
        }
    }

    /// A clock that stands still, for tests and replays: boot was at `boot`, and both kernel clocks count from it.
    #[must_use]
    pub fn fixed(boot: Timestamp) -> Self {
        Self { now: boot, boot: 0, monotonic: 0 }
    }

    /// The wall-clock time of `nanoseconds` since boot (`CLOCK_BOOTTIME`).
    #[must_use]
    pub fn from_boot(&self, nanoseconds: u64) -> Timestamp {
        self.shifted(i128::from(nanoseconds) - self.boot)
    }

    /// The wall-clock time of a reading of the coarse monotonic clock.
    #[must_use]
    pub fn from_monotonic(&self, nanoseconds: u64) -> Timestamp {
        self.shifted(i128::from(nanoseconds) - self.monotonic)
    }

    /// How long ago a reading of the coarse monotonic clock was, in nanoseconds.
    #[must_use]
    pub fn age_of_monotonic(&self, nanoseconds: u64) -> u64 {
        u64::try_from(self.monotonic - i128::from(nanoseconds)).unwrap_or(0)
    }

    /// How long ago a time since boot was, in nanoseconds.
    #[must_use]
    pub fn age_of_boot(&self, nanoseconds: u64) -> u64 {
        u64::try_from(self.boot - i128::from(nanoseconds)).unwrap_or(0)
    }

    /// Now, in nanoseconds since boot.
    #[must_use]
    pub fn boot_time(&self) -> u64 {
        u64::try_from(self.boot).unwrap_or(0)
    }

    /// Now on the monotonic clock, in nanoseconds; some milliseconds old.
    #[must_use]
    pub fn monotonic(&self) -> u64 {
        u64::try_from(self.monotonic).unwrap_or(0)
    }

    fn shifted(&self, by: i128) -> Timestamp {
        let by = SignedDuration::from_nanos(i64::try_from(by).unwrap_or(0));
        self.now.checked_add(by).unwrap_or(self.now)
    }
}

/// Zero where the clock cannot be read, which Linux never lets happen for these clocks.
fn nanoseconds(clock: ClockId) -> i128 {
    clock_gettime(clock).map_or(0, |t| i128::from(t.tv_sec()) * 1_000_000_000 + i128::from(t.tv_nsec()))
}
