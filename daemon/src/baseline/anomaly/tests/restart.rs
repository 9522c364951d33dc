//! What a later daemon knows, and tells.

use super::*;

impl Watch {
    /// A daemon that goes on with what this one has kept, and the alerts that it tells then.
    pub(super) fn restarted(&self) -> (Self, Left) {
        let known = serde_json::to_string(&(self.detector.state(), self.detector.kept_alerts())).unwrap();
        let (state, kept) = serde_json::from_str(&known).unwrap();
        let mut detector = Detector::new(Settings::default());
        detector.restore(state).unwrap();
        let left = detector.restore_alerts(kept).unwrap();
        (Self { detector, now: self.now }, left)
    }
}

/// Web talks to the queue, as it never did.
fn strange() -> [Edge; 1] {
    [edge(&container("web", 1), &container("queue", 1), 5672, 3)]
}

#[test]
fn what_was_told_right_before_the_end_is_told_again_and_of_the_rest_what_is_open() {
    let mut watch = Watch::after(7);
    let counts = |watch: &Watch| {
        let (_, left) = watch.restarted();
        let states = |alerts: &[Alert]| Vec::from_iter(alerts.iter().map(|alert| alert.state.to_string()));
        (states(&left.unheard), states(&left.open))
    };
    let of = |states: &[&str]| Vec::from_iter(states.iter().map(|&state| state.to_owned()));
    let told = watch.turn(10, &strange());
    assert_eq!(counts(&watch), (of(&["open"]), of(&[])));
    assert_eq!(watch.turn(5 * MINUTE, &strange()), [], "it goes on, and nobody is told");
    assert_eq!(counts(&watch), (of(&[]), of(&["open"])));
    watch.acknowledge(&told[0]);
    assert_eq!(counts(&watch), (of(&["acknowledged"]), of(&[])));
    watch.turn(5 * MINUTE, &[]);
    assert_eq!(counts(&watch), (of(&[]), of(&[])));
}

#[test]
fn alerts_of_before_that_come_late_join_those_that_there_are() {
    let mut before = Watch::after(7);
    before.turn(10, &strange());
    let mut watch = Watch::after(7);
    watch.turn(HOUR, &[edge(&container("web", 1), &container("worker", 1), 22, 1)]);
    watch.detector.restore_alerts(before.detector.kept_alerts()).unwrap();
    let targets = Vec::from_iter(watch.detector.alerts().iter().map(|alert| alert.sentence.clone()));
    assert_eq!(targets.len(), 2, "{targets:?}");
    assert!(watch.detector.alerts().iter().all(Alert::is_open));
}

#[test]
fn for_alerts_that_there_are_the_least_important_of_before_go_and_are_told_as_over() {
    let mut before = Watch::after(7);
    let told = before.turn(10, &strange());
    let mut kept = serde_json::to_value(before.detector.kept_alerts()).unwrap();
    let one = kept["book"]["kept"][&told[0].id].take();
    let all = (0..book::KEPT).map(|number| {
        let mut one = one.clone();
        one["alert"]["id"] = number.to_string().into();
        (number.to_string(), one)
    });
    kept["book"]["kept"] = serde_json::Value::Object(all.collect());
    let mut watch = Watch::after(7);
    watch.turn(HOUR, &[edge(&container("web", 1), &container("worker", 1), 22, 1)]);
    let left = watch.detector.restore_alerts(serde_json::from_value(kept).unwrap()).unwrap();
    let over = Vec::from_iter(left.unheard.iter().filter(|alert| !alert.is_open()));
    assert_eq!((over.len(), watch.detector.alerts().len()), (1, book::KEPT));
    assert!(!watch.detector.alerts().iter().any(|alert| alert.id == over[0].id));
    assert_eq!((left.unheard.len(), left.open.len()), (book::KEPT, 0), "each is told once");
    assert!(over[0].sentence.ends_with("; forgotten, as there are more than 1000 alerts"), "{}", over[0]);
}

#[test]
fn who_has_as_many_peers_as_one_may_have_is_known_after_one_more_was_acknowledged() {
    let mut watch = Watch::new();
    let (web, worker) = (container("web", 1), container("worker", 1));
    let peers = (0..256).map(|number| edge(&web, &container(&format!("p{number}"), 1), 80, 1));
    let others = Vec::from_iter((0..12).map(|number| container(&format!("s{number}"), 1)));
    let mut usual = Vec::from_iter(peers);
    usual.extend(others.iter().map(|other| edge(other, &container("db", 1), 5432, 1)));
    usual.push(edge(&worker, &container("queue", 1), 5672, 1));
    for _ in 0..3 * 24 {
        assert_eq!(watch.turn(HOUR, &usual), []);
    }
    let all = Vec::from_iter(others.iter().chain([&web]).map(|one| edge(one, &worker, 80, 1)));
    let told = watch.turn(HOUR, &all);
    let wide = told.iter().find(|alert| alert.kind == AlertKind::FanIn).unwrap();
    assert!(!watch.detector.subjects["shop/web"].peers["shop/worker"].learned);
    watch.acknowledge(wide);
    let subject = &watch.detector.subjects["shop/web"];
    assert!(subject.peers["shop/worker"].learned && subject.fits());
    assert_eq!(watch.restarted().0.turn(HOUR, &all[12..]), []);
}

#[test]
fn what_is_open_ends_when_nobody_looks_any_more() {
    let mut watch = Watch::after(7);
    watch.turn(10, &strange());
    watch.detector.set(Settings { enabled: false, ..Settings::default() });
    let told = watch.turn(10, &strange());
    assert_eq!((told.len(), told[0].state), (1, AlertState::Resolved));
    assert!(told[0].sentence.ends_with("; anomalies are not looked for any more"), "{}", told[0]);
    assert_eq!(watch.turn(10, &strange()), []);
    assert_eq!(watch.detector.alerts(), told);
    // Whoever looks again finds it again.
    watch.detector.set(Settings::default());
    let told = watch.turn(10, &strange());
    assert_eq!((told.len(), told[0].state), (1, AlertState::Open));
    assert!(!told[0].sentence.contains("any more"), "{}", told[0]);
}
