//! Ids that are made of what something is about, so that the same has the same whenever it comes.

use std::hash::Hasher as _;

use fnv::FnvHasher;

/// A number for words, the same in every run.
pub(crate) fn number<'a>(words: impl IntoIterator<Item = &'a str>) -> u64 {
    let mut hasher = FnvHasher::default();
    for word in words {
        hasher.write(word.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

/// [`number`] as 16 hexadecimal digits.
pub(crate) fn id<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    format!("{:016x}", number(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_word_ends_makes_a_difference() {
        assert_eq!(id(["ab", "c"]), id(["ab", "c"]));
        assert_ne!(id(["ab", "c"]), id(["a", "bc"]));
        assert_eq!(id([]).len(), 16);
    }
}
