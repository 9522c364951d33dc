//! Laws.

use proptest::{collection::vec, prelude::*};

use super::*;

/// Any edge among a few workloads, in any state.
fn any_edge() -> impl Strategy<Value = Edge> {
    let amounts = (0u64..20, 0u64..20, 0u64..3, prop_oneof![0u64..5_000, 0u64..3_000_000_000]);
    (0u32..6, 0u32..3, 0u8..12, prop_oneof![Just(443u16), Just(22u16), any::<u16>()], amounts).prop_map(
        |(source, version, target, port, (attempts, flows, deny, bytes))| {
            let source = container(&format!("s{source}"), version);
            let target = match target {
                0..6 => container(&format!("s{target}"), 0),
                6..9 => outside(&format!("203.0.{target}.{}", port % 250), None),
                _ => outside("198.51.100.7", Some(&format!("a{}.b{target}.example", port % 9))),
            };
            let failed = Failed { refused: attempts.saturating_sub(flows), ..Failed::default() };
            let mut edge = edge(&source, &target, port, attempts);
            (edge.flows, edge.failed, edge.bytes_sent) = (flows.min(attempts), failed, bytes);
            edge.verdicts.deny = deny;
            edge
        },
    )
}

/// Turns: how much later, and what they brought.
fn any_turns() -> impl Strategy<Value = Vec<(i64, Vec<Edge>)>> {
    let later = prop_oneof![10i64..20, 60i64..4_000, 0i64..200_000];
    vec((later, vec(any_edge(), 0..12)), 1..30)
}

fn drive(watch: &mut Watch, turns: &[(i64, Vec<Edge>)]) -> Vec<Alert> {
    turns.iter().flat_map(|(later, gained)| watch.turn(*later, gained)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn the_order_of_edges_within_a_turn_is_all_the_same(turns in any_turns()) {
        let turned: Vec<_> =
            turns.iter().map(|(later, gained)| (*later, gained.iter().rev().cloned().collect())).collect();
        let (mut one, mut other) = (Watch::new(), Watch::new());
        prop_assert_eq!(drive(&mut one, &turns), drive(&mut other, &turned));
        prop_assert_eq!(one.detector.alerts(), other.detector.alerts());
    }

    #[test]
    fn a_restart_changes_no_alert(before in any_turns(), after in any_turns()) {
        let mut watch = Watch::new();
        drive(&mut watch, &before);
        let mut again = watch.restarted().0;
        prop_assert_eq!(drive(&mut again, &after), drive(&mut watch, &after));
    }

    #[test]
    fn what_was_acknowledged_does_not_alert_again(turns in any_turns()) {
        let mut watch = Watch::new();
        drive(&mut watch, &turns);
        for alert in watch.detector.alerts() {
            watch.acknowledge(&alert);
        }
        let known: Vec<_> = watch.detector.alerts().into_iter().map(|alert| (alert.id, alert.kind)).collect();
        for alert in drive(&mut watch, &turns) {
            // What is much more than what was acknowledged is another matter.
            let counted = matches!(alert.kind, AlertKind::FanOut | AlertKind::FanIn | AlertKind::Volume | AlertKind::Exfiltration);
            prop_assert!(counted || !known.contains(&(alert.id.clone(), alert.kind)), "{alert:?}");
        }
    }

    #[test]
    fn no_clock_and_no_amount_panics(times in vec(any::<i64>(), 1..20), edges in vec(any_edge(), 0..8), huge in any::<u64>()) {
        let mut detector = Detector::default();
        for time in times {
            let now = Timestamp::from_second(time % 200_000_000_000).unwrap();
            let edges: Vec<_> = edges.iter().cloned().map(|edge| Edge { bytes_sent: huge, attempts: huge, packets_sent: huge, ..edge }).collect();
            detector.turn(&Turn { now, gained: &edges, answers: &[], lossy: false });
        }
    }
}

#[test]
fn whatever_comes_there_are_bounds() {
    let mut watch = Watch::new();
    for turn in 0..40u32 {
        let names = (0..300).map(|n| container(&format!("{turn}-{n}"), turn));
        let peers = (0..300)
            .map(|n| outside(&format!("203.{}.{}.1", n % 200, turn), Some(&format!("x{n}.y{turn}.example"))));
        let edges: Vec<_> = names.zip(peers).map(|(one, peer)| edge(&one, &peer, 443, 1)).collect();
        let one = container("web", 1);
        let many = (0..300)
            .map(|n| edge(&one, &outside("203.0.113.1", Some(&format!("a{turn}b{n}.example"))), n as u16, 1));
        let edges: Vec<_> = edges.into_iter().chain(many).collect();
        watch.turn(HOUR, &edges);
        let made: Vec<_> = (0..2_000).map(|n| (format!("q{n}z{turn}verylonglabel.com"), "A")).collect();
        watch.ask(10, &made, None);
    }
    let count: usize = watch.detector.subjects.values().map(|subject| subject.peers.len()).sum();
    assert!(watch.detector.subjects.len() <= SUBJECTS && count <= PEERS, "{count}");
    assert!(watch.detector.alerts().len() <= book::KEPT);
    assert!(watch.detector.subjects.values().all(Subject::fits));
}

#[test]
fn an_edge_of_three_weeks_takes_less_than_four_kilobytes_of_json() {
    let mut watch = Watch::new();
    let edges: Vec<_> = (0..100)
        .map(|n| edge(&container(&format!("s{}", n / 20), 1), &container(&format!("t{}", n % 20), 1), 443, 1))
        .collect();
    for _ in 0..22 * 24 {
        watch.turn(HOUR, &edges);
    }
    let size = serde_json::to_string(&watch.detector.state()).unwrap().len();
    assert!(size < 400_000, "{size}");
}

#[test]
fn an_alert_for_which_there_is_no_room_is_told_as_over() {
    const MORE: usize = 10;
    let mut watch = Watch::new();
    let all: Vec<_> = (0..book::KEPT + MORE).map(|n| container(&format!("c{n}"), 1)).collect();
    let usual: Vec<_> = all.iter().map(|one| edge(one, &container("db", 1), 5432, 1)).collect();
    for _ in 0..2 * 24 {
        assert_eq!(watch.turn(HOUR, &usual), []);
    }
    let next = all.iter().cycle().skip(1);
    let strange: Vec<_> = all.iter().zip(next).map(|(one, next)| edge(one, next, 22, 1)).collect();
    let told = watch.turn(10 * MINUTE, &strange);
    let (open, over): (Vec<_>, Vec<_>) = told.iter().partition(|alert| alert.is_open());
    assert_eq!((open.len(), over.len()), (all.len(), MORE));
    for alert in over {
        assert_eq!(alert.state, AlertState::Resolved);
        assert!(alert.sentence.ends_with("; forgotten, as there are more than 1000 alerts"), "{alert}");
    }
    assert_eq!(watch.detector.alerts().len(), book::KEPT);
}
