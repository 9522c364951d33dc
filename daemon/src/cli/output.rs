//! How things are written: text that cannot harm a terminal, tables, numbers and times for people.

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, ErrorKind, IsTerminal, Write},
};

use comfy_table::{CellAlignment, Table, presets};
use jiff::Timestamp;
use serde::Serialize;

use super::Failure;
use crate::event::is_hostile;

/// `text` without anything that a terminal would obey or a reader could not see: such characters are written out
/// (`\u{1b}`). The daemon cleans names where they come in; this is the second door.
#[must_use]
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return text.into();
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 16), |mut clean, character| {
            if is_hostile(character) {
                clean.extend(character.escape_unicode());
            } else {
                clean.push(character);
            }
            clean
        })
        .into()
}

/// JSON text that means the same and is safe to look at: hostile characters, which can only stand in strings, become
/// JSON escapes. Line breaks between values stay.
#[must_use]
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let hostile = |character: char| character != '\n' && is_hostile(character);
    // Most is printable ASCII. Looking at every byte without stopping is many bytes at a time, and much cheaper than
    // looking at characters.
    let plain = |plain: bool, byte: u8| plain & ((byte == b'\n') | (byte.wrapping_sub(b' ') < 0x5f));
    if json.bytes().fold(true, plain) {
        return json.into();
    }
    if !json.contains(hostile) {
        return json.into();
    }
    let mut clean = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        if hostile(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(clean, "\\u{unit:04x}");
            }
        } else {
            clean.push(character);
        }
    }
    clean.into()
}

/// Writes to stdout, with colours only where they are wanted.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    write(anstream::stdout().lock(), text)
}

/// Writes a value as JSON to stdout.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).map_err(anyhow::Error::new)?;
    print_json_text(&(json + "\n"))
}

/// Writes whole lines of JSON to stdout, made harmless. There are no colours to look for.
pub(super) fn print_json_text(lines: &str) -> Result<(), Failure> {
    write(io::stdout().lock(), &printable_json(lines))
}

fn write(mut stdout: impl Write, text: &str) -> Result<(), Failure> {
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => Failure::ReaderLeft,
        _ => Failure::Failed(anyhow::Error::new(error).context("cannot write the output")),
    })
}

/// Whether somebody looks at stdout.
pub(super) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// A table without borders. Nothing is ever cut: a name that is cut cannot be copied.
pub(super) fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    numbers: &[usize],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell)));
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if numbers.contains(&at) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// `1,204`
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// `9.8 MB`: powers of 1000, two digits at least.
#[expect(clippy::cast_precision_loss, reason = "it is rounded for people")]
pub(super) fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in ["kB", "MB", "GB", "TB", "PB", "EB"] {
        // What would be shown as 1000 of a unit is 1.0 of the next.
        if value < 999.5 {
            break;
        }
        (value, unit) = (value / 1000.0, larger);
    }
    if unit == "B" || value >= 9.95 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}

/// `12 s`, `6 m`, `3 h`, `2 d`
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} m", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// How long ago, for people; the time itself for machines.
pub(super) fn ago(time: Timestamp, now: Timestamp, for_people: bool) -> String {
    if !for_people {
        return time.to_string();
    }
    match u64::try_from(now.duration_since(time).as_secs()).unwrap_or(0) {
        0 | 1 => "now".to_owned(),
        seconds => span(seconds),
    }
}

/// `1 hook`, `2 hooks`
pub(super) fn plural(count: impl TryInto<u64>, thing: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    format!("{} {thing}{}", number(count), if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_cannot_move_the_cursor_or_turn_the_text_round() {
        assert_eq!(printable("web\u{1b}[2J\r\n"), r"web\u{1b}[2J\u{d}\u{a}");
        assert_eq!(printable("a\u{202e}b\u{9b}c"), r"a\u{202e}b\u{9b}c");
        assert_eq!(printable("Größe 日本 ✔"), "Größe 日本 ✔");
    }

    #[test]
    fn a_table_has_one_line_per_row_whatever_the_names_are() {
        let rows = [["a\nb".to_owned(), "1".to_owned()], ["x".repeat(300), "20".to_owned()]];
        let table = table(["NAME", "COUNT"], &[1], rows);
        let lines: Vec<_> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        assert!(lines[1].starts_with(r"a\u{a}b ") && lines[1].ends_with("    1"), "{table}");
        assert!(lines[2].starts_with(&"x".repeat(300)), "{table}");
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1_204, 1_000_000].map(number), ["0", "999", "1,204", "1,000,000"]);
        assert_eq!(
            [0, 999, 1_200, 9_940, 9_960, 999_600].map(bytes),
            ["0 B", "999 B", "1.2 kB", "9.9 kB", "10 kB", "1.0 MB"]
        );
        assert_eq!(bytes(u64::MAX), "18 EB");
        assert_eq!([5, 61, 7_200, 200_000].map(span), ["5 s", "1 m", "2 h", "2 d"]);
        assert_eq!(plural(1, "hook") + &plural(2, "hook"), "1 hook2 hooks");
    }

    #[test]
    fn times_are_relative_for_people_and_exact_for_machines() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let (then, now) = (at("2026-11-24T10:00:00Z"), at("2026-11-24T10:00:41Z"));
        assert_eq!(ago(then, now, true), "41 s");
        assert_eq!(ago(now, then, true), "now");
        assert_eq!(ago(then, now, false), "2026-11-24T10:00:00Z");
    }

    proptest! {
        #[test]
        fn json_stays_the_same_json_and_becomes_harmless(text in "\\PC*|.*", extra in any::<char>()) {
            let value = serde_json::Value::String(format!("{text}{extra}"));
            let json = value.to_string();
            let clean = printable_json(&json);
            prop_assert!(!clean.contains(is_hostile));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&clean).expect("JSON"), value);
        }
    }
}
