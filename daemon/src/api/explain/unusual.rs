//! What was unusual between two.

use super::who::Who;
use crate::event::{Alert, AlertKind, Protocol};

/// Most alerts in one answer.
const MOST: usize = 16;

/// The alerts that are about a source and a target, and about the service if that is asked for, as far as there is room, and how
/// many more there are. The order stays.
pub(super) fn unusual(
    alerts: Vec<Alert>,
    sources: &[Who],
    targets: &[Who],
    service: Option<(Protocol, u16)>,
) -> (Vec<Alert>, usize) {
    let is_about = |alert: &Alert| {
        let from = || sources.iter().any(|who| who.is_meant_by(&alert.source));
        let to =
            || alert.target.as_ref().is_some_and(|target| targets.iter().any(|who| who.is_meant_by(target)));
        match alert.kind {
            // About no one target, and about no one source.
            AlertKind::FanOut => from(),
            AlertKind::FanIn => to(),
            _ => from() && to(),
        }
    };
    let is_of_service = |alert: &Alert| {
        let of = alert.protocol.zip(alert.port);
        service.is_none() || of.is_none() || of == service
    };
    let mut alerts: Vec<_> =
        alerts.into_iter().filter(|alert| is_of_service(alert) && is_about(alert)).collect();
    let left_out = alerts.len().saturating_sub(MOST);
    alerts.truncate(MOST);
    (alerts, left_out)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        event::{EventKind, Workload, WorkloadKind},
        sink::samples::{self, container, web},
    };

    /// `shop/web` has never talked to `shop/db` at tcp/5432.
    fn alert() -> Alert {
        match samples::alert().kind {
            EventKind::Alert(alert) => *alert,
            other => panic!("{other:?}"),
        }
    }

    fn who(workload: Workload) -> Who {
        Who::new(workload.into()).expect("somebody in particular")
    }

    fn kinds(
        alerts: &[Alert],
        source: &Who,
        target: &Who,
        service: Option<(Protocol, u16)>,
    ) -> Vec<AlertKind> {
        let (source, target) = (std::slice::from_ref(source), std::slice::from_ref(target));
        unusual(alerts.to_vec(), source, target, service).0.into_iter().map(|alert| alert.kind).collect()
    }

    #[test]
    fn it_is_about_the_pair_whichever_replica_or_image_and_about_the_service_that_is_asked_for() {
        let alerts = [
            alert(),
            Alert { kind: AlertKind::FanOut, target: None, protocol: None, port: None, ..alert() },
            Alert { kind: AlertKind::OddDns, target: None, protocol: None, port: None, ..alert() },
            Alert { kind: AlertKind::FanIn, source: container("cron", "c2c2c2c2c2c2"), ..alert() },
            Alert { kind: AlertKind::Volume, source: container("cron", "c2c2c2c2c2c2"), ..alert() },
        ];
        let web = who(Workload { id: Some("another".to_owned()), image: None, ..(*web()).clone() });
        let db = who((*container("db", "d2d2d2d2d2d2")).clone());
        let of_pair = [AlertKind::NewEdge, AlertKind::FanOut, AlertKind::FanIn];
        assert_eq!(kinds(&alerts, &web, &db, None), of_pair);
        assert_eq!(kinds(&alerts, &web, &db, Some((Protocol::Tcp, 5_432))), of_pair);
        assert_eq!(kinds(&alerts, &web, &db, Some((Protocol::Tcp, 80))), [AlertKind::FanOut]);
        // It was the other that began it.
        assert_eq!(kinds(&alerts, &db, &web, None), []);
    }

    #[test]
    fn a_peer_outside_is_the_same_by_its_address_and_by_its_name() {
        let peer = |address: &str| Workload {
            dns_name: Some("api.example.org".to_owned()),
            ..Workload::named(WorkloadKind::Outside, address)
        };
        let target = Some(Arc::new(peer("203.0.113.7")));
        let alerts = [Alert { kind: AlertKind::NewDestination, target, port: Some(443), ..alert() }];
        let of = |target: Who| kinds(&alerts, &who((*web()).clone()), &target, None).len();
        assert_eq!(of(who(Workload::named(WorkloadKind::Outside, "203.0.113.7"))), 1);
        assert_eq!(of(Who::of_name("api.example.org")), 1);
        assert_eq!(of(who(Workload::named(WorkloadKind::Outside, "203.0.113.8"))), 0);
        assert_eq!(of(Who::of_name("example.org")), 0);
    }

    #[test]
    fn so_many_are_told_and_the_rest_is_counted() {
        let web = [who((*web()).clone())];
        let db = [who((*container("db", "d2d2d2d2d2d2")).clone())];
        let (told, left_out) = unusual(vec![alert(); 20], &web, &db, None);
        assert_eq!((told.len(), left_out), (MOST, 20 - MOST));
    }
}
