//! How much is done by tests that find more the longer they run.

use std::env;

/// Set to `1`, it has such tests do all that they can. `cargo xtask test --long` sets it.
const LONG: &str = "COFFERDAM_LONG";
/// Which part of it is done otherwise, and how much at least.
const PART: u32 = 20;
const LEAST: u32 = 3;

/// How many rounds a test goes whose full length is `full`: a twentieth of them unless `COFFERDAM_LONG=1`.
#[must_use]
pub fn rounds(full: u32) -> u32 {
    if is_long() { full } else { (full / PART).max(LEAST).min(full) }
}

/// Whether all is to be done.
#[must_use]
pub(crate) fn is_long() -> bool {
    env::var_os(LONG).is_some_and(|value| value == "1")
}
