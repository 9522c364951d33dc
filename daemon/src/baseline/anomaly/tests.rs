//! What a user sees of it, told as stories; and laws that hold whatever comes.

mod laws;
mod outside;
mod restart;

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::{
    event::{AlertState, Endpoint, Protocol, Scope, Severity, Workload, WorkloadKind},
    interaction::{Failed, Verdicts},
};

const MINUTE: i64 = 60;

/// A container of project `shop`, of a version of its image.
fn container(name: &str, version: u32) -> Arc<Workload> {
    Arc::new(Workload {
        image: Some(format!("{name}:latest")),
        image_digest: Some(format!("sha256:{version:04}{name}")),
        project: Some("shop".to_owned()),
        id: Some(format!("{version}{name}")),
        ..Workload::named(WorkloadKind::Container, format!("shop/{name}"))
    })
}

/// A peer outside, by its DNS name where it has one.
fn outside(address: &str, name: Option<&str>) -> Arc<Workload> {
    Arc::new(Workload {
        dns_name: name.map(str::to_owned),
        scope: Some(Scope::Public),
        ..Workload::named(WorkloadKind::Outside, address)
    })
}

/// So many connections that open, each with a kilobyte either way.
fn edge(source: &Arc<Workload>, target: &Arc<Workload>, port: u16, attempts: u64) -> Edge {
    Edge {
        source: source.clone(),
        target: target.clone(),
        protocol: Protocol::Tcp,
        port,
        via: None,
        flows: attempts,
        attempts,
        bytes_sent: attempts * 1_000,
        bytes_received: attempts * 1_000,
        packets_sent: attempts * 4,
        packets_received: attempts * 4,
        failed: Failed::default(),
        verdicts: Verdicts { allow: attempts, ..Verdicts::default() },
        first_seen: Timestamp::UNIX_EPOCH,
        last_seen: Timestamp::UNIX_EPOCH,
        last_denied: None,
    }
}

/// A connection that is refused.
fn refused(source: &Arc<Workload>, target: &Arc<Workload>, port: u16) -> Edge {
    Edge {
        flows: 0,
        bytes_sent: 0,
        bytes_received: 0,
        failed: Failed { refused: 1, ..Failed::default() },
        ..edge(source, target, port, 1)
    }
}

/// A detector, and what time it is there, in seconds.
struct Watch {
    detector: Detector,
    now: i64,
}

impl Watch {
    fn new() -> Self {
        Self { detector: Detector::new(Settings::default()), now: 1_700_000_000 / DAY * DAY }
    }

    /// Who has seen web talk to db, and to its API outside, every ten minutes for so many days.
    fn after(days: i64) -> Self {
        let mut watch = Self::new();
        let usual = [
            edge(&container("web", 1), &container("db", 1), 5432, 3),
            edge(&container("web", 1), &outside("203.0.113.9", Some("api.stripe.com")), 443, 1),
            edge(&container("worker", 1), &container("queue", 1), 5672, 1),
        ];
        for _ in 0..=days * 144 {
            let told = watch.turn(10 * MINUTE, &usual);
            assert_eq!(told, []);
        }
        watch
    }

    fn at(&self) -> Timestamp {
        Timestamp::from_second(self.now).unwrap()
    }

    fn turn(&mut self, later: i64, gained: &[Edge]) -> Vec<Alert> {
        self.now += later;
        self.detector.turn(&Turn { now: self.at(), gained, answers: &[], lossy: false })
    }

    fn ask(&mut self, later: i64, names: &[(String, &str)], address: Option<&str>) -> Vec<Alert> {
        self.now += later;
        let answers: Vec<_> = names.iter().map(|(name, kind)| answer(name, kind, address)).collect();
        self.detector.turn(&Turn { now: self.at(), gained: &[], answers: &answers, lossy: false })
    }

    fn acknowledge(&mut self, alert: &Alert) {
        let ack = Acknowledgement { by: 0, at: self.at(), reason: "planned".to_owned() };
        let told = self.detector.acknowledge(&alert.id, ack).unwrap();
        assert_eq!(told.state, AlertState::Acknowledged);
    }
}

fn answer(name: &str, kind: &str, address: Option<&str>) -> DnsAnswer {
    let resolver = outside("10.0.0.2", None);
    DnsAnswer {
        workload: container("web", 1),
        resolver: Endpoint { workload: resolver, address: "10.0.0.2".parse().unwrap(), port: 53 },
        name: Some(name.to_owned()),
        record_type: Some(kind.to_owned()),
        addresses: address.map(|address| address.parse().unwrap()).into_iter().collect(),
        truncated: false,
    }
}

/// What was told, one line each.
fn lines(alerts: &[Alert]) -> Vec<String> {
    let line = |alert: &Alert| {
        format!("{} {} {} #{}: {}", alert.state, alert.severity, alert.kind, alert.count, alert.sentence)
    };
    alerts.iter().map(line).collect()
}

#[test]
fn the_same_image_with_a_new_edge_is_likely_a_compromise() {
    let mut watch = Watch::after(21);
    let told = watch.turn(10, &[edge(&container("web", 1), &container("queue", 1), 5672, 3)]);
    assert_eq!(
        lines(&told),
        [
            "open critical new_edge #1: shop/web has never talked to shop/queue in 21 days; now tcp/5672, 3 times, from the same \
         image (sha256:0001…): likely a compromise"
        ]
    );
}

#[test]
fn a_deploy_brings_an_edge_and_a_redeploy_alone_is_none() {
    let mut watch = Watch::after(7);
    let (web, queue) = (container("web", 2), container("queue", 1));
    assert_eq!(watch.turn(10, &[edge(&web, &container("db", 1), 5432, 3)]), []);
    let told = watch.turn(10 * MINUTE, &[edge(&web, &queue, 5672, 1)]);
    assert_eq!(
        lines(&told),
        [
            "open info new_edge #1: shop/web has never talked to shop/queue in 7 days; now tcp/5672, once, 10 minutes after an \
         image changed: a deploy brought it"
        ]
    );
    // It is learned, and what comes long after the deploy is not of it.
    assert_eq!(watch.turn(5 * HOUR, &[edge(&web, &queue, 5672, 1)]), []);
    let told = watch.turn(10, &[edge(&web, &queue, 22, 1)]);
    assert_eq!((told[0].kind, told[0].severity), (AlertKind::NewService, Severity::Warning), "{told:?}");
}

#[test]
fn an_old_replica_of_a_deploy_may_not_do_what_the_new_one_may() {
    let mut watch = Watch::after(7);
    watch.turn(10, &[edge(&container("web", 2), &container("db", 1), 5432, 3)]);
    let told = watch.turn(10, &[edge(&container("web", 1), &container("queue", 1), 5672, 1)]);
    assert_eq!(told[0].severity, Severity::Critical);
}

#[test]
fn a_standby_of_the_same_image_takes_over() {
    let mut watch = Watch::after(7);
    let standby = Arc::new(Workload {
        image_digest: container("db", 1).image_digest.clone(),
        ..(*container("standby", 1)).clone()
    });
    watch.turn(10, &[edge(&standby, &container("db", 1), 5432, 1)]);
    watch.now += 2 * DAY;
    let told = watch.turn(10, &[edge(&container("web", 1), &standby, 5432, 1)]);
    let opened: Vec<_> = lines(&told).into_iter().filter(|line| line.starts_with("open")).collect();
    assert_eq!(
        opened,
        [
            "open info new_edge #1: shop/web has never talked to shop/standby in 9 days; now tcp/5432, once, as shop/db of the \
         same image is known for"
        ]
    );
}

#[test]
fn what_a_policy_denies_is_told_too_and_not_learned() {
    let mut watch = Watch::after(7);
    let mut denied = edge(&container("web", 1), &container("queue", 1), 5672, 0);
    denied.verdicts.deny = 2;
    let told = watch.turn(10, &[denied.clone()]);
    assert_eq!(
        lines(&told),
        [
            "open critical new_edge #1: shop/web has never talked to shop/queue in 7 days; now tcp/5672, 2 times (denied), from \
         the same image (sha256:0001…): likely a compromise"
        ]
    );
    // It is told again after ten minutes, not before; when it ends; and when it comes again.
    assert_eq!(watch.turn(5 * MINUTE, &[denied.clone()]), []);
    assert_eq!(watch.turn(5 * MINUTE, &[denied.clone()])[0].count, 3);
    assert_eq!(watch.turn(DAY, &[])[0].state, AlertState::Resolved);
    assert_eq!(watch.turn(HOUR, &[denied])[0].state, AlertState::Open);
}

#[test]
fn what_is_acknowledged_is_normal() {
    let mut watch = Watch::after(7);
    let new = [edge(&container("web", 1), &container("queue", 1), 5672, 3)];
    let told = watch.turn(10, &new);
    watch.acknowledge(&told[0]);
    for _ in 0..200 {
        assert_eq!(watch.turn(HOUR, &new), []);
    }
}

#[test]
fn an_attacker_teaches_nothing_while_an_alert_is_open() {
    let mut watch = Watch::after(7);
    let (web, target) = (container("web", 1), outside("198.51.100.7", Some("c2.example.net")));
    let told = watch.turn(10, &[edge(&web, &target, 443, 1)]);
    assert_eq!(told[0].kind, AlertKind::NewDestination);
    for _ in 0..50 {
        watch.turn(HOUR / 2, &[edge(&web, &target, 443, 1)]);
    }
    watch.turn(2 * DAY, &[]);
    let told = watch.turn(HOUR, &[edge(&web, &target, 443, 1)]);
    assert_eq!(told[0].state, AlertState::Open);
}

#[test]
fn nothing_is_learned_of_turns_in_which_much_was_lost() {
    let mut watch = Watch::new();
    let usual = [edge(&container("web", 1), &container("db", 1), 5432, 3)];
    for _ in 0..30 {
        watch.now += HOUR;
        let turn = Turn { now: watch.at(), gained: &usual, answers: &[], lossy: true };
        watch.detector.turn(&turn);
    }
    assert_eq!(watch.turn(HOUR, &usual).len() + watch.detector.alerts().len(), 2);
}

#[test]
fn a_scan_is_one_alert() {
    let mut watch = Watch::after(3);
    let web = container("web", 1);
    let mut told = Vec::new();
    for host in 2..200 {
        told.extend(watch.turn(2, &[refused(&web, &outside(&format!("172.18.0.{host}"), None), 22)]));
    }
    let db: Vec<_> = (1..100).map(|port| refused(&web, &container("db", 1), port)).collect();
    told.extend(watch.turn(10, &db));
    let opened: Vec<_> = lines(&told).into_iter().filter(|line| line.contains("#1:")).collect();
    assert_eq!(
        opened,
        [
            "open critical fan_out #1: shop/web tried 10 hosts and ports in 10 minutes that it never used before, and nothing \
         came of it: a scan"
        ]
    );
    assert_eq!(watch.detector.alerts().len(), 1);
}

#[test]
fn a_slow_scan_is_seen_after_hours() {
    let mut watch = Watch::after(3);
    let mut told = Vec::new();
    for host in 2..60 {
        told.extend(watch.turn(
            40 * MINUTE,
            &[refused(&container("web", 1), &outside(&format!("10.1.0.{host}"), None), 22)],
        ));
    }
    assert_eq!((told[0].kind, told[0].severity), (AlertKind::FanOut, Severity::Critical));
    assert!((told[0].began.as_second() - watch.now).abs() > 20 * HOUR);
}

#[test]
fn a_blatant_scan_is_told_even_of_who_is_still_learned() {
    let mut watch = Watch::new();
    let hosts: Vec<_> = (2..250).map(|host| outside(&format!("172.18.0.{host}"), None)).collect();
    let scan: Vec<_> = hosts.iter().map(|host| refused(&container("web", 1), host, 22)).collect();
    assert_eq!(watch.turn(10, &scan[..40]), []);
    assert_eq!(watch.turn(10, &scan)[0].kind, AlertKind::FanOut);
}

#[test]
fn many_that_reach_one_are_one_alert() {
    let mut watch = Watch::after(3);
    let many: Vec<_> = (0..12).map(|number| container(&format!("s{number}"), 1)).collect();
    let usual: Vec<_> = many.iter().map(|one| edge(one, &container("db", 1), 5432, 1)).collect();
    for _ in 0..30 {
        watch.turn(HOUR, &usual);
    }
    let all: Vec<_> = many.iter().map(|one| edge(one, &container("worker", 1), 80, 1)).collect();
    let told = watch.turn(HOUR, &all);
    let opened: Vec<_> = lines(&told).into_iter().filter(|line| line.starts_with("open")).collect();
    assert_eq!(
        opened,
        [
            "open warning fan_in #1: 12 workloads reached shop/worker within an hour that never did so before; shop/s0 is one of \
         them"
        ]
    );
}

#[test]
fn a_state_of_another_version_or_size_is_refused() {
    let watch = Watch::after(2);
    let mut value = serde_json::to_value(watch.detector.state()).unwrap();
    value["version"] = 7.into();
    let state: State = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(Detector::default().restore(state), Err(StateError::Version(7)));
    value["version"] = 1.into();
    let one = value["subjects"]["shop/web"].clone();
    for number in 0..5_000 {
        value["subjects"][format!("w{number}")] = one.clone();
    }
    let state: State = serde_json::from_value(value).unwrap();
    assert_eq!(Detector::default().restore(state), Err(StateError::TooLarge));
}
