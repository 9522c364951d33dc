//! Parts of policies for tests.

use std::{net::IpAddr, path::Path, time::Duration};

use serde_json::json;

use super::{
    ByDefault, NeverTold, Plan, RuleNumbers, Settings, Unresolved,
    explain::End,
    folder::Set,
    model::{Direction, Entry, Mode, Network, Peer, Place, Policy, Protocol, Rule, Services, Verdict},
    names::NamePattern,
};
use crate::event::{Workload, WorkloadKind};

/// Only `shop/api` may send to `shop/db`, and only to its port.
pub(crate) const SHOP: &str = "policy: shop
mode: enforce
rules:
  - to: shop/db
    allow:
      - {from: shop/api, port: tcp/5432}
";

/// The plan of a text, as if it stood in this file.
pub(crate) fn plan(file: &str, text: &str, settings: Settings) -> Plan {
    let mut set = Set::default();
    set.add_text(Path::new(file), text.to_owned()).unwrap_or_else(|problem| panic!("{problem}\n{text}"));
    Plan::new(set.into_parts().0, settings, &mut RuleNumbers::default()).unwrap()
}

pub(crate) const OPEN: Settings = Settings {
    default_egress: ByDefault::Allow,
    default_ingress: ByDefault::Allow,
    unresolved: Unresolved::Allow,
    unresolved_for: Duration::from_secs(5),
    never_told: NeverTold::Judge,
};

pub(super) fn place(line: u32, column: u32) -> Place {
    Place { file: Path::new("/etc/cofferdam/policies/shop.yaml").into(), line, column }
}

/// An empty policy in mode enforce.
pub(super) fn policy(name: &str) -> Policy {
    Policy { name: name.into(), mode: Mode::Enforce, rules: Vec::new() }
}

/// Nobody may send to `shop/db`.
pub(super) fn rule() -> Rule {
    rule_with(Vec::new())
}

/// Only they may send to `shop/db`.
pub(super) fn rule_with(entries: Vec<Entry>) -> Rule {
    Rule {
        name: None,
        direction: Direction::Ingress,
        subjects: vec![named("shop/db")],
        entries,
        place: place(3, 5),
    }
}

/// Allows everything from some.
pub(super) fn entry(peers: Vec<Peer>) -> Entry {
    Entry { verdict: Verdict::Allow, peers, services: vec![Services::ALL], place: place(5, 9) }
}

pub(super) fn named(name: &str) -> Peer {
    selected(json!({ "name": name }))
}

pub(super) fn selected(selector: serde_json::Value) -> Peer {
    Peer::Workload(serde_json::from_value(selector).unwrap())
}

pub(super) fn network(cidr: &str, except: &[&str]) -> Peer {
    let parsed = |network: &str| network.parse().unwrap();
    Peer::Network(Network { cidr: parsed(cidr), except: except.iter().map(|it| parsed(it)).collect() })
}

pub(super) fn dns(pattern: &str) -> Peer {
    Peer::Name(NamePattern::try_from(pattern.to_owned()).unwrap())
}

/// A peer of which nobody knows a name.
pub(super) fn outside(address: IpAddr) -> End<'static> {
    End::Outside { address: Some(address), names: &[] }
}

pub(super) fn tcp(first: u16, last: u16) -> Services {
    Services { protocol: Protocol::Number(6), ports: (first, last) }
}

pub(super) fn container(name: &str) -> Workload {
    Workload::named(WorkloadKind::Container, name)
}
