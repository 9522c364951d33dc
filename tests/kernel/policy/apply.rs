//! Policies that are put in force one after another, and those for which there is no room.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use cofferdam::{
    attribution::Placed,
    config::{NeverTold, Policies, Room, Unresolved},
    enforcement::Sync,
    event::{Workload, WorkloadKind},
    policy::{Settings, folder::Set, model::Policy},
};
use cofferdam_common::ids::CgroupId;
use serde_json::Value;

use super::judge::got;
use crate::node::{Cgroup, Loaded, Node};

#[test]
fn what_is_in_force_counts_whatever_was_in_its_place_before() {
    const PORTS: [u16; 2] = [40_110, 40_111];
    let only = |ports: &str| format!("  - {{to: db, allow: [{{from: web, ports: [{ports}]}}]}}\n");
    // Moves all that is behind it.
    let before = "  - {to: web, allow: [{from: any, ports: [udp/7, udp/9]}]}\n".to_owned();
    let node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let placed = [(&web, "web"), (&db, "db")].map(|(cgroup, name)| container(cgroup, name));
    let bind = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("it binds");
    let (sender, receivers) = (web.enter(|| bind(0)), PORTS.map(|port| db.enter(|| bind(port))));
    let settings = lenient();
    let Loaded { sensor: _sensor, policy, .. } = node.loaded.take();
    let mut sync = Sync::new(policy);
    for (rules, arrives) in [
        (only("udp/40110"), [true, false]),
        (only("udp/40111"), [false, true]),
        (only("udp/40110"), [true, false]),
        (only("udp/40110, udp/40111"), [true, true]),
        (before.clone() + &only("udp/40111"), [false, true]),
        (only("udp/1"), [false, false]),
        (only("udp/40111") + &before, [false, true]),
        (before, [true, true]),
        (only("udp/40110"), [true, false]),
    ] {
        let text = format!("policy: shop\nmode: enforce\nrules:\n{rules}");
        sync.apply(policies(&text), settings, &placed, |_| {}).expect("policies");
        for ((port, receiver), arrives) in PORTS.into_iter().zip(&receivers).zip(arrives) {
            // Whether its sender is told or not.
            let _ = sender.send_to(&[0; 10], (Ipv4Addr::LOCALHOST, port));
            assert_eq!(got(receiver).is_some(), arrives, "{port}, {text}");
        }
    }
}

#[test]
fn whoever_there_is_no_room_for_stays_unresolved_and_is_not_let_through() {
    const POLICY: &str = "
policy: shop
mode: enforce
rules:
  - {to: db, allow: [{from: any, port: udp/1}]}
  - {to: web, allow: [{from: any, ports: [udp/7, udp/9]}]}
";
    // What is unresolved, what never becomes known and what is forged have one each, the first workload three; the second
    // needs five.
    let node = Node::with(|options| options.policies.intervals = 6);
    let (web, db) = (node.cgroup(), node.cgroup());
    let Loaded { sensor: _sensor, policy, .. } = node.loaded.take();
    let mut sync = Sync::new(policy);
    let placed = [placed(CgroupId::ROOT, Workload::host()), container(&db, "db"), container(&web, "web")];
    sync.apply(policies(POLICY), Settings::from(&Policies::default()), &placed[..2], |_| {})
        .expect("there is room for one");
    let receiver = web.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds");
    for _ in 0..3 {
        let error = sync.turn(&placed, &HashMap::new()).expect_err("there is no room for two");
        assert!(format!("{error:#}").contains("raise `policies.room.intervals`"), "{error:#}");
        assert_eq!(sync.unresolved().0, 1);
        // Whether its sender is told or not.
        let _ = sender.send_to(&[0; 10], receiver.local_addr().expect("an address"));
        assert_eq!(got(&receiver), None);
    }
}

#[test]
fn policies_that_do_not_fit_are_refused_before_anything_is_written_and_those_in_force_go_on() {
    const FITS: &str = "
policy: shop
mode: enforce
rules:
  - {to: db, allow: [{from: any, port: udp/1}]}
";
    const DOES_NOT: &str = "
policy: shop
mode: enforce
rules:
  - {to: db, allow: [{from: any, ports: [udp/1, udp/3]}, {from: web}]}
";
    let node = Node::with(|options| options.policies.intervals = 5);
    let (web, db) = (node.cgroup(), node.cgroup());
    let placed = [(&web, "web"), (&db, "db")].map(|(cgroup, name)| container(cgroup, name));
    let settings = lenient();
    let Loaded { sensor: _sensor, policy, .. } = node.loaded.take();
    let mut sync = Sync::new(policy);
    sync.apply(policies(FITS), settings, &placed, |_| {}).expect("there is room");
    let (generation, fill) = (sync.generation(), sync.fill());
    let error = sync.apply(policies(DOES_NOT), settings, &placed, |_| {}).expect_err("there is no room");
    let told = "there is room for 5 intervals of ports, and the policies need 7: raise `policies.room.intervals` and \
                restart the daemon";
    assert_eq!(format!("{error:#}"), told);
    assert_eq!((sync.generation(), sync.fill()), (generation, fill));
    let receiver = db.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    let sender = web.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    let _ = sender.send_to(&[0; 10], receiver.local_addr().expect("an address"));
    assert_eq!(got(&receiver), None);
}

#[test]
fn who_is_never_told_goes_where_the_configuration_says_until_he_is_told_after_all() {
    const POLICY: &str = "
policy: shop
mode: enforce
rules:
  - {to: db, allow: [{from: any}], deny: [{from: web}]}
";
    let node = Node::start();
    let [web, db, inside, other] = [node.cgroup(), node.cgroup(), node.cgroup(), node.cgroup()];
    let Loaded { sensor: _sensor, policy, .. } = node.loaded.take();
    let mut sync = Sync::new(policy);
    let seen = |name, told| [Placed { told, ..container(&web, name) }, container(&db, "db")];
    let settings = |never_told| Settings { unresolved_for: Duration::ZERO, never_told, ..lenient() };
    let receiver = db.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    let sender = web.enter(|| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds"));
    let arrives = || {
        // Whether its sender is told or not.
        let _ = sender.send_to(&[0; 10], receiver.local_addr().expect("an address"));
        got(&receiver).is_some()
    };
    sync.apply(policies(POLICY), settings(NeverTold::Deny), &seen("3f2a", false), |_| {}).expect("policies");
    assert!(arrives(), "whoever is unresolved may");
    sync.turn(&seen("3f2a", false), &HashMap::new()).expect("a turn");
    assert!(!arrives(), "the time is over");
    assert_eq!(sync.unresolved(), (1, 1));
    sync.turn(&seen("3f2a", false), &HashMap::new()).expect("a turn");
    assert_eq!(sync.unresolved(), (1, 1), "that is counted once");
    for (never_told, passes) in [
        (NeverTold::Judge, true),
        (NeverTold::Deny, false),
        (NeverTold::Allow, true),
        (NeverTold::Audit, true),
        (NeverTold::Deny, false),
    ] {
        sync.apply(policies(POLICY), settings(never_told), &seen("3f2a", false), |_| {}).expect("policies");
        assert_eq!(arrives(), passes, "{never_told:?}");
    }
    // Also where there were no policies for a while.
    let gap = settings(NeverTold::Deny);
    sync.apply(Vec::new(), gap, &seen("3f2a", false), |_| {}).expect("no policies");
    assert!(arrives() && sync.unresolved() == (0, 1));
    sync.apply(policies(POLICY), gap, &seen("3f2a", false), |_| {}).expect("policies");
    assert!(!arrives() && sync.unresolved() == (1, 1));
    sync.turn(&seen("api", true), &HashMap::new()).expect("a turn");
    assert!(arrives(), "no rule is about it");
    assert_eq!(sync.unresolved(), (0, 1));
    sync.turn(&seen("web", true), &HashMap::new()).expect("a turn");
    assert!(!arrives(), "the rule is about it");
    // Its runtime is not heard any more: who it is stays, also inside.
    sync.turn(&seen("web", false), &HashMap::new()).expect("a turn");
    assert_eq!((arrives(), sync.unresolved()), (false, (0, 1)));
    let nested = Placed { told: false, home: web.id, ..container(&inside, "web") };
    sync.turn(&Vec::from_iter(seen("web", false).into_iter().chain([nested])), &HashMap::new())
        .expect("a turn");
    assert_eq!(sync.unresolved(), (0, 1));
    // Nobody is counted while nothing is judged.
    let [_, db] = seen("web", true);
    let unknown = Placed { told: false, ..container(&other, "3f2a") };
    sync.turn(&[unknown], &HashMap::new()).expect("a turn");
    assert_eq!(sync.unresolved(), (1, 2));
    sync.apply(Vec::new(), settings(NeverTold::Deny), &[db], |_| {}).expect("no policies");
    assert_eq!(sync.unresolved().0, 0);
}

#[test]
fn who_is_no_container_and_may_not_send_everything_is_told() {
    let node = Node::start();
    let [ssh, cron, db] = [node.cgroup(), node.cgroup(), node.cgroup()];
    let unit = |cgroup: &Cgroup, name| placed(cgroup.id, Workload::named(WorkloadKind::Unit, name));
    let placed = [unit(&ssh, "ssh.service"), unit(&cron, "cron.service"), container(&db, "db")];
    let Loaded { sensor: _sensor, policy, .. } = node.loaded.take();
    let mut sync = Sync::new(policy);
    let mut told = |rule: &str| {
        let text = format!("policy: shop\nmode: enforce\nrules:\n  - {rule}\n");
        sync.apply(policies(&text), lenient(), &placed, |_| {}).expect("policies");
        sync.limited_senders().into_iter().collect::<Vec<_>>()
    };
    assert_eq!(told("{from: ssh.service, allow: [{to: db}]}"), ["ssh.service"]);
    assert_eq!(told("{from: cron.service, deny: [{to: db}]}"), ["cron.service"]);
    assert_eq!(told("{from: db, allow: [{to: ssh.service}]}"), [""; 0]);
    assert_eq!(told("{to: ssh.service, allow: [{from: db}]}"), [""; 0]);
}

#[test]
fn all_that_can_be_full_goes_by_its_key_and_is_as_large_as_the_configuration_has_it() {
    let fill = Sync::new(Node::start().loaded.take().policy).fill();
    let key = |name: &str| name.strip_prefix("policy_").expect("a map of policies").to_owned();
    let told = fill.iter().map(|(name, _, capacity)| (key(name), Value::from(*capacity))).collect();
    assert_eq!(Value::Object(told), serde_json::to_value(Room::default()).expect("keys and values"));
}

/// Whoever is not known may do everything.
pub(super) fn lenient() -> Settings {
    let settings = Settings::from(&Policies::default());
    Settings { unresolved: Unresolved::Allow, never_told: NeverTold::Allow, ..settings }
}

pub(super) fn placed(cgroup: CgroupId, workload: Workload) -> Placed {
    Placed { cgroup, workload: Arc::new(workload), home: cgroup, own: false, told: true }
}

pub(super) fn container(cgroup: &Cgroup, name: &str) -> Placed {
    placed(cgroup.id, Workload::named(WorkloadKind::Container, name))
}

pub(super) fn policies(text: &str) -> Vec<Arc<Policy>> {
    let mut set = Set::default();
    set.add_text(Path::new("shop.yaml"), text.to_owned()).expect("policies");
    set.into_parts().0
}
