//! What was denied or unusual, by its id, and what would come of the same now: `GET /v1/policy/explain/event`.

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ExplainQuery, Explained, explain};
use crate::{
    api::{API_VERSION, Answer, Refusal},
    baseline::alerts::NotFound,
    event::{Endpoint, EventKind, Protocol, Workload, WorkloadKind},
    view::View,
};

/// What can be asked.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EventQuery {
    /// The id of a denial or an alert, or the beginning of it where only one begins so.
    pub id: String,
}

/// What there is to say of it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct EventExplained {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// When it was seen last.
    pub time: Timestamp,
    /// The denial or the alert, as it was told last.
    pub event: EventKind,
    /// What comes of the same now; absent where it is not about two, or they are nobody in particular.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Explained>,
}

/// Looks among the alerts, the last denials, and those that the history has.
pub(in crate::api) fn explain_event(view: &View, EventQuery { id }: &EventQuery) -> Answer<EventExplained> {
    if id.is_empty() || !id.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        let error = format!(
            "`{id}` is no id of a denial or an alert, which are hexadecimal digits; `cofferdam why A B` asks about two"
        );
        return Err(Refusal(StatusCode::BAD_REQUEST, error));
    }
    let (time, event) = found(view, id)?;
    let now = match question(&event).map(|query| explain(view, &query)) {
        // They are gone, and nobody remembers them.
        None | Some(Err(Refusal(StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, _))) => None,
        Some(explained) => Some(explained?),
    };
    Ok(EventExplained { schema_version: API_VERSION, time, event, now })
}

fn found(view: &View, id: &str) -> Answer<(Timestamp, EventKind)> {
    let several = |error: &dyn std::fmt::Display| Refusal(StatusCode::NOT_FOUND, error.to_string());
    match view.alerts.named(id) {
        Ok(alert) => return Ok((alert.last_seen, EventKind::Alert(Box::new(alert)))),
        Err(error @ NotFound::Many) => return Err(several(&error)),
        Err(NotFound::Unknown | NotFound::NoneOpen) => {}
    }
    if let Some((time, denial)) = view.recent.named(id).map_err(|error| several(&error))? {
        return Ok((time, EventKind::Denial(denial)));
    }
    // Without a history nothing else is known.
    let event = view.history.denial(id).unwrap_or_default();
    event.map(|event| (event.time, event.kind)).ok_or_else(|| {
        Refusal(StatusCode::NOT_FOUND, format!("no denial and no alert has an id that begins with `{id}`"))
    })
}

/// What is to be asked about it.
fn question(event: &EventKind) -> Option<ExplainQuery> {
    let (source, target, service) = match event {
        EventKind::Denial(denial) => {
            let (source, target) = (&denial.source, &denial.target);
            let called = |end: &Endpoint| match end.workload.kind {
                WorkloadKind::Outside => Some(end.address.to_string()),
                _ => name(&end.workload),
            };
            (called(source)?, called(target)?, Some((denial.protocol, target.port)))
        }
        EventKind::Alert(alert) => {
            let target = alert.target.as_ref()?;
            (name(&alert.source)?, name(target)?, alert.protocol.zip(alert.port))
        }
        _ => return None,
    };
    let protocol = service.map(|(protocol, _)| protocol);
    let port = service.filter(|(protocol, _)| protocol.has_ports()).map(|(_, port)| port);
    (protocol != Some(Protocol::Other)).then_some(ExplainQuery { from: source, to: target, protocol, port })
}

/// By what this very one can be asked for.
fn name(workload: &Workload) -> Option<String> {
    match workload.kind {
        WorkloadKind::Other | WorkloadKind::Unknown | WorkloadKind::Canary => None,
        _ => Some(workload.id.as_ref().unwrap_or(&workload.name).clone()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{Alert, Denial, Event},
        sink::samples::{self, WEB_ID},
    };

    fn denial() -> Denial {
        match samples::denial().kind {
            EventKind::Denial(denial) => denial,
            other => panic!("{other:?}"),
        }
    }

    fn asked(event: &EventKind) -> Option<(String, String, Option<Protocol>, Option<u16>)> {
        question(event).map(|query| (query.from, query.to, query.protocol, query.port))
    }

    #[test]
    fn the_very_same_two_are_asked_about_at_the_very_same_service() {
        let (from, to) = (WEB_ID.to_owned(), "shop/db".to_owned());
        let whole = Some((from.clone(), to.clone(), Some(Protocol::Tcp), Some(5_432)));
        assert_eq!(asked(&samples::denial().kind), whole);
        assert_eq!(asked(&samples::alert().kind), whole);
        let mut ping = Denial { protocol: Protocol::Icmp, ..denial() };
        ping.target.port = 0;
        assert_eq!(asked(&EventKind::Denial(ping)), Some((from, to, Some(Protocol::Icmp), None)));
        // A network that the configuration names is many; the address is one of them.
        let office = Workload::named(WorkloadKind::Outside, "office");
        let target = Endpoint { workload: Arc::new(office), ..denial().target };
        let outside = Denial { target, ..denial() };
        let asked = asked(&EventKind::Denial(outside)).expect("a question");
        assert_eq!(asked.1, "172.18.0.4");
    }

    #[test]
    fn what_is_about_nobody_in_particular_is_told_without_a_verdict() {
        let EventKind::Alert(alert) = samples::alert().kind else { panic!("no alert") };
        let scan = Alert { target: None, protocol: None, port: None, ..*alert };
        assert_eq!(asked(&EventKind::Alert(Box::new(scan))), None);
        let many = Workload::named(WorkloadKind::Other, "other");
        let target = Endpoint { workload: Arc::new(many), ..denial().target };
        assert_eq!(asked(&EventKind::Denial(Denial { target, ..denial() })), None);
    }

    #[test]
    fn it_is_found_by_the_beginning_of_its_id() {
        let view = crate::api::samples::view(Vec::new());
        let told = |id: &str| {
            explain_event(&view, &EventQuery { id: id.to_owned() }).map_err(|Refusal(status, _)| status)
        };
        let id = denial().id;
        assert_eq!(told(&id).unwrap_err(), StatusCode::NOT_FOUND);
        view.recent.note(&samples::denial());
        let found = told(&id[..6]).expect("it is there");
        assert_eq!((found.time, found.event), (samples::denial().time, samples::denial().kind));
        // Whom it was about, nobody of this host knows.
        assert_eq!(found.now, None);
        for wrong in ["", "shop/web", "9F2C", "%"] {
            assert_eq!(told(wrong).unwrap_err(), StatusCode::BAD_REQUEST, "{wrong}");
        }
        view.recent.note(&Event {
            kind: EventKind::Denial(Denial { id: format!("{}0", &id[..15]), ..denial() }),
            ..samples::denial()
        });
        assert_eq!(told(&id[..15]).unwrap_err(), StatusCode::NOT_FOUND, "it could be either");
    }
}
