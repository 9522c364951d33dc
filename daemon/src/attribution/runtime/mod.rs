//! Runtimes: whoever runs containers, and how well we hear them.

pub mod docker;

use serde::{Deserialize, Serialize};

use crate::event::Runtime;

/// A runtime that is listened to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RuntimeStatus {
    /// Which.
    pub runtime: Runtime,
    /// Where it is reached: the path of its socket.
    pub endpoint: String,
    /// Whether it is heard.
    pub state: RuntimeState,
    /// Its version, once it told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Why it is not heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Whether a runtime is heard.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RuntimeState {
    /// Its containers are known and its events arrive.
    Connected,
    /// Its socket does not exist; containers of it go by their ids.
    Absent,
    /// Its socket exists, but it does not answer as it should; see the reason.
    Unreachable,
}
