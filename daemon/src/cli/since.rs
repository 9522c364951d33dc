//! `--since` and `--until`: how long ago, or a time.

use jiff::{SignedDuration, Timestamp};

/// Reads `15m`, `2h`, `7d`, or a time as RFC 3339 has it.
pub(super) fn since(text: &str) -> Result<Timestamp, String> {
    before(text, Timestamp::now())
}

fn before(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let unknown = || format!("`{text}` is no time such as `15m`, `2h`, `7d` or 2026-11-24T10:00:00Z");
    let (digits, seconds) = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(unknown)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unknown());
    }
    let ago = digits.parse::<i64>().ok().and_then(|count| count.checked_mul(seconds));
    let time = ago.and_then(|ago| now.checked_sub(SignedDuration::from_secs(ago)).ok());
    time.ok_or_else(|| format!("`{text}` is too long ago"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_time_is_one_or_how_long_ago_it_was() {
        let now = at("2026-11-24T10:00:00Z");
        for (text, time) in [
            ("90s", "2026-11-24T09:58:30Z"),
            ("15m", "2026-11-24T09:45:00Z"),
            ("2h", "2026-11-24T08:00:00Z"),
            ("7d", "2026-11-17T10:00:00Z"),
            ("1w", "2026-11-17T10:00:00Z"),
            ("2026-11-20T00:00:00+01:00", "2026-11-19T23:00:00Z"),
        ] {
            assert_eq!(before(text, now), Ok(at(time)), "{text}");
        }
        for odd in ["", "m", "7", "-1h", "+1h", "1 h", "1y", "yesterday", "h7"] {
            assert!(before(odd, now).unwrap_err().contains("is no time"), "{odd}");
        }
        assert!(before("99999999999999d", now).unwrap_err().contains("too long ago"));
        assert!(before("9999999d", now).unwrap_err().contains("too long ago"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9smhdw+-]{0,24}|.*") {
            let _ = before(&text, Timestamp::UNIX_EPOCH);
        }
    }
}
