//! Words that sentences and comments have in common.

/// `1 day`, `3 days`
pub(super) fn counted(count: u64, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
