//! Numbers as sentences have them.

use super::settings::{DAY, HOUR, MINUTE};
use crate::baseline::words::counted;

/// Bytes, with the largest unit that leaves a whole number.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut rest = count;
    let mut unit = 0;
    while rest >= 10_000 && unit + 1 < UNITS.len() {
        rest /= 1_000;
        unit += 1;
    }
    format!("{rest} {}", UNITS[unit])
}

/// A span of time in the largest unit of which there are two.
pub(super) fn span(seconds: i64) -> String {
    let (count, unit) = match seconds {
        ..=119 => (seconds.max(0), "second"),
        120..=7_199 => (seconds / MINUTE, "minute"),
        7_200..=172_799 => (seconds / HOUR, "hour"),
        _ => (seconds / DAY, "day"),
    };
    counted(count.unsigned_abs(), unit)
}

/// How often.
pub(super) fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}

/// The beginning of a digest, by which people know it.
pub(super) fn digest(whole: &str) -> String {
    let kept: String = whole.chars().take("sha256:".len() + 4).collect();
    if kept.len() < whole.len() { format!("{kept}…") } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!([bytes(0), bytes(9_999), bytes(52_000_000)], ["0 B", "9999 B", "52 MB"]);
        assert_eq!(
            [span(1), span(300), span(7_200), span(21 * DAY)],
            ["1 second", "5 minutes", "2 hours", "21 days"]
        );
        assert_eq!(digest("sha256:9f2c3d4e"), "sha256:9f2c…");
        assert_eq!([times(1), times(3)], ["once", "3 times"]);
    }
}
