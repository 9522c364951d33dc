//! The one door for foreign text: what comes in cannot move a cursor, hide, turn round or grow without bound.
//!
//! Names, labels, paths and arguments are written by whoever runs a container. They end in terminals, logs and
//! web pages (CVE-2026-25996 and RUSTSEC-2025-0055 are what happens when nobody looks).

use crate::event::is_hostile;

/// Longest name of a workload, in bytes.
pub(super) const NAME_LIMIT: usize = 128;
/// Longest image reference, in bytes.
pub(super) const IMAGE_LIMIT: usize = 256;
/// Longest path, in bytes.
pub(super) const PATH_LIMIT: usize = 512;
/// Longest argument, in bytes. The kernel's records carry less; escapes may make it longer.
pub(super) const ARGUMENT_LIMIT: usize = 1024;

/// Stands where text was cut.
const CUT: char = '…';

/// `text` as it may be shown and stored: what a reader cannot see or a terminal would obey is written out
/// (`\n`, `\u{1b}`, `\u{202e}`), and what exceeds `limit` bytes is cut and marked with `…`.
#[must_use]
pub(super) fn clean(text: &str, limit: usize) -> String {
    let mut cleaned = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        let before = cleaned.len();
        if is_hostile(character) {
            cleaned.extend(character.escape_default());
        } else {
            cleaned.push(character);
        }
        if cleaned.len() > limit {
            cleaned.truncate(before);
            while cleaned.len() + CUT.len_utf8() > limit && cleaned.pop().is_some() {}
            cleaned.push(CUT);
            break;
        }
    }
    cleaned
}

/// As [`clean`], for bytes that should be UTF-8: those that are not become U+FFFD.
#[must_use]
pub(super) fn clean_bytes(bytes: &[u8], limit: usize) -> String {
    clean(&String::from_utf8_lossy(bytes), limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_and_direction_marks_are_written_out() {
        assert_eq!(clean("web\u{1b}[2J", 64), r"web\u{1b}[2J");
        assert_eq!(clean("txt.\u{202e}exe", 64), r"txt.\u{202e}exe");
        assert_eq!(clean("a\nb\0", 64), r"a\nb\u{0}");
        assert_eq!(clean("zero\u{200b}width\u{e0041}", 64), r"zero\u{200b}width\u{e0041}");
    }

    #[test]
    fn letters_of_all_languages_stay() {
        assert_eq!(clean("Größe-日本-שלום", 64), "Größe-日本-שלום");
    }

    #[test]
    fn long_text_is_cut_and_says_so() {
        assert_eq!(clean("abcdefgh", 8), "abcdefgh");
        assert_eq!(clean("abcdefghi", 8), "abcde…");
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(clean_bytes(b"a\xff", 8), "a\u{fffd}");
    }

    proptest! {
        #[test]
        fn nothing_hostile_passes_and_nothing_is_longer_than_allowed(text in "\\PC*|.*", limit in 8usize..200) {
            let cleaned = clean(&text, limit);
            prop_assert!(cleaned.len() <= limit);
            prop_assert!(!cleaned.chars().any(is_hostile));
        }
    }
}
