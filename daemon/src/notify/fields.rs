//! What logs are told of an alert, field by field. Pure.

use std::borrow::Cow;

use crate::event::{Alert, AlertState, Severity, WorkloadKind};

/// Names and values, in this order; without those that the alert has not.
pub(super) fn fields(alert: &Alert) -> Vec<(&'static str, Cow<'_, str>)> {
    let target = alert.target.as_deref();
    let container = (alert.source.kind == WorkloadKind::Container).then_some(&*alert.source);
    let own_name = container.map(|source| source.container_name.as_ref().unwrap_or(&source.name).as_str());
    let known = [
        ("alert_id", Some(alert.id.as_str().into())),
        ("kind", Some(alert.kind.name().into())),
        ("severity", Some(alert.severity.name().into())),
        ("state", Some(alert.state.name().into())),
        ("source", Some(alert.source.name.as_str().into())),
        ("target", target.map(|target| target.name.as_str().into())),
        ("protocol", alert.protocol.map(|protocol| protocol.to_string().into())),
        ("port", alert.port.map(|port| port.to_string().into())),
        ("count", Some(alert.count.to_string().into())),
        ("container_id", container.and_then(|source| source.id.as_deref()).map(Cow::from)),
        ("container_name", own_name.map(Cow::from)),
    ];
    known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// How bad it is by the numbers of syslog.
pub(super) fn priority(alert: &Alert) -> u8 {
    match (alert.state, alert.severity) {
        (AlertState::Open, Severity::Critical) => 2,
        (AlertState::Open, Severity::Warning) => 4,
        (AlertState::Open, Severity::Info) | (AlertState::Acknowledged | AlertState::Resolved, _) => 6,
    }
}

/// The beginning of a text, in at most so many bytes.
pub(super) fn shortened(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}
