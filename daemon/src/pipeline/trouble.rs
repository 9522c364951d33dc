//! What goes wrong again and again is said once.

use std::fmt::Display;

/// What went wrong the last time that something was tried.
#[derive(Default)]
pub(super) struct Trouble(Option<String>);

impl Trouble {
    /// What is to be said of how it went now: what went wrong, unless it is the same as the last time.
    pub(super) fn news<T>(&mut self, result: Result<T, impl Display>) -> Option<&str> {
        // Of a chain of causes all.
        let now = result.err().map(|error| format!("{error:#}"));
        let same = now == self.0;
        self.0 = now;
        self.0.as_deref().filter(|_| !same)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_is_news_until_it_goes_well_or_wrong_in_another_way() {
        let mut trouble = Trouble::default();
        let told = [Err("full"), Err("full"), Err("gone"), Ok(()), Err("gone")]
            .map(|result| trouble.news(result).map(str::to_owned));
        assert_eq!(
            told.each_ref().map(Option::as_deref),
            [Some("full"), None, Some("gone"), None, Some("gone")]
        );
    }
}
