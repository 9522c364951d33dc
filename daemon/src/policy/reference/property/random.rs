//! Policies and workloads at random, out of few values, so that they often meet.

use std::time::Duration;

use fastrand::Rng;
use ipnet::IpNet;
use serde_json::json;

use crate::{
    event::{Runtime, Verdict, Workload, WorkloadKind},
    policy::{
        ByDefault, NeverTold, Settings, Unresolved,
        model::{Direction, Entry, Mode, Network, Peer, Policy, Protocol, Rule, Services},
        samples,
    },
};

pub(super) const PORTS: [u16; 8] = [0, 1, 79, 80, 81, 443, 65_534, 65_535];
const NETWORKS: [&str; 9] = [
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3/32",
    "192.0.2.0/24",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
];
pub(super) const ADDRESSES: [&str; 9] = [
    "10.1.2.3",
    "10.1.2.4",
    "10.1.3.1",
    "10.2.0.1",
    "192.0.2.1",
    "198.51.100.1",
    "2001:db8:1::1",
    "2001:db8:2::1",
    "2001:db9::1",
];

const PATTERNS: [&str; 9] = [
    "*.org",
    "*.example.org",
    "example.org",
    "api.example.org",
    "*.api.example.org",
    "x.net",
    "*.x.net",
    "db",
    "*.db",
];
pub(super) const NAMES: [&str; 12] = [
    "org",
    "example.org",
    "api.example.org",
    "API.Example.org",
    "www.example.org",
    "a.api.example.org",
    "a.b.org",
    "anexample.org",
    "x.net",
    "y.x.net",
    "db",
    "xdb",
];

pub(super) fn pick<T: Clone>(rng: &mut Rng, among: &[T]) -> T {
    rng.choice(among).unwrap().clone()
}

pub(super) fn some<T>(rng: &mut Rng, least: usize, most: usize, make: impl Fn(&mut Rng) -> T) -> Vec<T> {
    let count = rng.usize(least..=most);
    (0..count).map(|_| make(rng)).collect()
}

pub(super) fn workload(rng: &mut Rng) -> Workload {
    use WorkloadKind::{Cgroup, Container, Host, Other, Outside, Unit, Unknown};
    let kinds = [Container, Container, Container, Container, Unit, Host, Cgroup, Unknown, Outside, Other];
    let name = pick(rng, &["a", "b", "p/a", "p/b", "p/c"]);
    let mut workload = Workload::named(pick(rng, &kinds), name);
    if rng.bool() {
        workload.container_name = Some(pick(rng, &["a", "b", "d"]).to_owned());
    }
    if rng.bool() {
        workload.labels.insert("tier".to_owned(), pick(rng, &["x", "y"]).to_owned());
    }
    if rng.bool() {
        workload.image = Some(pick(rng, &["i:1", "i:2"]).to_owned());
    }
    if rng.bool() {
        workload.runtime = Some(pick(rng, &[Runtime::Docker, Runtime::Podman]));
    }
    workload
}

fn selector(rng: &mut Rng) -> Peer {
    let exact = pick(rng, &["a", "b", "p/a", "p/b", "d"]);
    samples::selected(match rng.u8(0..10) {
        0 => json!({"name": "*"}),
        1 => json!({"name": "p/*"}),
        2 => json!({"labels": {"tier": pick(rng, &["x", "y", "*"])}}),
        3 => json!({"image": pick(rng, &["i:1", "i:*"])}),
        4 => json!({"name": exact, "runtime": "docker"}),
        5 => json!({"labels": {"tier": "x"}, "image": "i:2"}),
        _ => json!({"name": exact}),
    })
}

fn network(rng: &mut Rng) -> Peer {
    let cidr: IpNet = pick(rng, &NETWORKS).parse().unwrap();
    let within = NETWORKS.map(|it| it.parse().unwrap()).into_iter().filter(|it| cidr.contains(it));
    let except = within.filter(|_| rng.u8(0..4) == 0).collect();
    Peer::Network(Network { cidr, except })
}

fn peer(rng: &mut Rng, names: bool) -> Peer {
    match rng.u8(0..13) {
        0 => Peer::Any,
        1..=3 => network(rng),
        4..=6 if names => samples::dns(pick(rng, &PATTERNS)),
        _ => selector(rng),
    }
}

fn subject(rng: &mut Rng) -> Peer {
    if rng.u8(0..6) == 0 { Peer::Any } else { selector(rng) }
}

fn services(rng: &mut Rng) -> Services {
    let (one, other) = (pick(rng, &PORTS), pick(rng, &PORTS));
    let ports = (one.min(other), one.max(other));
    match rng.u8(0..12) {
        0..=3 => Services::ALL,
        4 => Services { protocol: Protocol::Icmp, ports: (0, u16::MAX) },
        5 => Services { protocol: Protocol::Number(6), ports: (0, u16::MAX) },
        6 if rng.u8(0..4) == 0 => Services { protocol: Protocol::Any, ports },
        _ => Services { protocol: Protocol::Number(pick(rng, &[6, 6, 17, 0, 255])), ports },
    }
}

fn entry(rng: &mut Rng, direction: Direction) -> Entry {
    let verdict = pick(rng, &[Verdict::Allow, Verdict::Allow, Verdict::Audit, Verdict::Deny]);
    // Names only allow, and only whom something is sent to.
    let names = direction == Direction::Egress && verdict != Verdict::Deny;
    let (peers, services) = (some(rng, 1, 3, |rng| peer(rng, names)), some(rng, 1, 2, services));
    Entry { verdict, peers, services, place: samples::place(1, 1) }
}

fn rule(rng: &mut Rng) -> Rule {
    let direction = pick(rng, &[Direction::Egress, Direction::Ingress]);
    let (subjects, entries) = (some(rng, 1, 2, subject), some(rng, 0, 3, |rng| entry(rng, direction)));
    Rule { name: None, direction, subjects, entries, place: samples::place(1, 1) }
}

pub(super) fn policies(rng: &mut Rng) -> Vec<Policy> {
    let mut names = ["p", "q", "r", "s"];
    rng.shuffle(&mut names);
    let count = rng.usize(0..=names.len());
    let policy = |name: &&str| {
        let mode = pick(rng, &[Mode::Audit, Mode::Enforce]);
        Policy { name: (*name).into(), mode, rules: some(rng, 0, 3, rule) }
    };
    names[..count].iter().map(policy).collect()
}

pub(super) fn settings(rng: &mut Rng) -> Settings {
    let default = |rng: &mut Rng| pick(rng, &[ByDefault::Allow, ByDefault::Deny]);
    let unresolved = [Unresolved::Allow, Unresolved::Audit, Unresolved::Deny, Unresolved::Hold];
    let (default_egress, default_ingress) = (default(rng), default(rng));
    let never_told = [NeverTold::Allow, NeverTold::Audit, NeverTold::Deny, NeverTold::Judge];
    Settings {
        default_egress,
        default_ingress,
        unresolved: pick(rng, &unresolved),
        unresolved_for: Duration::from_secs(5),
        never_told: pick(rng, &never_told),
    }
}
