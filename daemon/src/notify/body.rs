//! An alert as JSON, as webhooks and the file have it.

use serde::Serialize;

use crate::event::Alert;

/// An alert, and whose it is.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    /// What the host is called.
    pub(super) host: &'a str,
    #[serde(flatten)]
    pub(super) alert: &'a Alert,
}
