//! A span of time that has passed, as people ask for it.

use clap::Args;
use jiff::Timestamp;

use super::since::since;
use crate::api::SpanQuery;

/// A span of time that has passed.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Within {
    /// Out of the history, from then on: `15m`, `2h`, `7d` ago, or a time (RFC 3339).
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) since: Option<Timestamp>,
    /// Out of the history, until then; until now without it.
    #[arg(long, value_name = "TIME", value_parser = since)]
    pub(super) until: Option<Timestamp>,
}

impl Within {
    /// As the daemon is asked.
    pub(super) fn query(&self) -> SpanQuery {
        SpanQuery { since: self.since, until: self.until }
    }

    /// Whether any time is named.
    pub(super) fn is_some(&self) -> bool {
        self.since.is_some() || self.until.is_some()
    }
}
