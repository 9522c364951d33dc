//! Random NetworkPolicies, judged as Kubernetes' documentation says, word for word, and as the policies that come of
//! them. The interpreter knows nothing of how they are imported: it reads their JSON.
//! <https://kubernetes.io/docs/concepts/services-networking/network-policies/>

use std::{collections::BTreeMap, net::IpAddr};

use cofferdam_common::policy::Identity;
use fastrand::Rng;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::{Judge, file, options};
use crate::{
    event::{Kubernetes, Workload, WorkloadKind},
    policy::import::{Imported, import},
};

/// Sets of policies, and packets for each.
const SETS: u64 = 400;
const PACKETS: usize = 100;

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const NAME: &str = "kubernetes.io/metadata.name";
const PORTS: [u16; 6] = [1, 53, 80, 81, 443, 65_535];
const NETWORKS: [&str; 6] =
    ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "2001:db8::/32", "2001:db8:1::/48"];
const ADDRESSES: [&str; 6] =
    ["10.1.2.3", "10.1.3.1", "10.2.0.1", "192.0.2.1", "2001:db8:1::1", "2001:db9::1"];

/// Who is at one end.
#[derive(Clone, Debug)]
enum End {
    Pod {
        namespace: &'static str,
        labels: BTreeMap<String, String>,
    },
    Outside(IpAddr),
    /// What runs on the node itself.
    Node(WorkloadKind),
}

/// Whether a packet passes.
fn passes(policies: &[Value], source: &End, target: &End, service: (u8, u16)) -> bool {
    side(policies, ("Egress", "egress", "to"), source, target, service)
        && side(policies, ("Ingress", "ingress", "from"), target, source, service)
}

fn side(
    policies: &[Value],
    (sort, rules, peers): (&str, &str, &str),
    subject: &End,
    peer: &End,
    service: (u8, u16),
) -> bool {
    let End::Pod { namespace, labels } = subject else { return true };
    // "Traffic to and from the node where a Pod is running is always allowed."
    if matches!(peer, End::Node(_)) {
        return true;
    }
    let isolates = |policy: &&Value| {
        policy["metadata"]["namespace"] == *namespace
            && selects(&policy["spec"]["podSelector"], labels)
            && types(&policy["spec"]).contains(&sort)
    };
    let mut isolating = policies.iter().filter(isolates).peekable();
    if isolating.peek().is_none() {
        return true;
    }
    isolating.any(|policy| {
        let namespace = policy["metadata"]["namespace"].as_str().unwrap();
        list(&policy["spec"][rules]).iter().any(|rule| {
            let (with, over) = (list(&rule[peers]), list(&rule["ports"]));
            (with.is_empty() || with.iter().any(|it| is_peer(it, namespace, peer)))
                && (over.is_empty() || over.iter().any(|it| is_port(it, service)))
        })
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn types(spec: &Value) -> Vec<&str> {
    let said: Vec<_> = list(&spec["policyTypes"]).iter().filter_map(Value::as_str).collect();
    match (said.is_empty(), list(&spec["egress"]).is_empty()) {
        (false, _) => said,
        (true, true) => vec!["Ingress"],
        (true, false) => vec!["Ingress", "Egress"],
    }
}

fn is_peer(wanted: &Value, own: &str, peer: &End) -> bool {
    match peer {
        End::Outside(address) => wanted.get("ipBlock").is_some_and(|block| {
            let within =
                |network: &Value| network.as_str().unwrap().parse::<IpNet>().unwrap().contains(address);
            within(&block["cidr"]) && !list(&block["except"]).iter().any(within)
        }),
        End::Pod { namespace, labels } => {
            let (spaces, pods) = (wanted.get("namespaceSelector"), wanted.get("podSelector"));
            let in_space = match spaces {
                Some(selector) => {
                    let team = if *namespace == "c" { "y" } else { "x" };
                    let labels = [(NAME, *namespace), ("team", team)];
                    selects(selector, &labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
                }
                None => own == *namespace,
            };
            (spaces.is_some() || pods.is_some())
                && in_space
                && pods.is_none_or(|selector| selects(selector, labels))
        }
        End::Node(_) => false,
    }
}

fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let equal = |(key, value): (&String, &Value)| labels.get(key).map(String::as_str) == value.as_str();
    selector["matchLabels"].as_object().is_none_or(|wanted| wanted.iter().all(equal))
        && list(&selector["matchExpressions"]).iter().all(|expression| {
            let own = labels.get(expression["key"].as_str().unwrap());
            let among = own.is_some_and(|own| list(&expression["values"]).contains(&json!(own)));
            match expression["operator"].as_str().unwrap() {
                "In" => among,
                "NotIn" => !among,
                "Exists" => own.is_some(),
                "DoesNotExist" => own.is_none(),
                other => panic!("{other}"),
            }
        })
}

fn is_port(wanted: &Value, (protocol, port): (u8, u16)) -> bool {
    let number = match wanted["protocol"].as_str().unwrap_or("TCP") {
        "TCP" => 6,
        "UDP" => 17,
        _ => 132,
    };
    let port = u64::from(port);
    let same = match (wanted["port"].as_u64(), wanted["endPort"].as_u64()) {
        (Some(first), last) => (first..=last.unwrap_or(first)).contains(&port),
        // A name, which no pod of these has.
        (None, _) => wanted.get("port").is_none(),
    };
    number == protocol && same
}

fn pick<T: Clone>(rng: &mut Rng, among: &[T]) -> T {
    rng.choice(among).unwrap().clone()
}

fn some(rng: &mut Rng, least: usize, most: usize, make: impl Fn(&mut Rng) -> Value) -> Value {
    let count = rng.usize(least..=most);
    (0..count).map(|_| make(rng)).collect()
}

/// One in `of`.
fn rarely(rng: &mut Rng, of: u32) -> bool {
    rng.u32(0..of) == 0
}

fn selector(rng: &mut Rng, keys: &[(&str, &[&str])]) -> Value {
    let mut selector = Map::new();
    if rng.bool() {
        let (key, values) = pick(rng, keys);
        selector.insert("matchLabels".to_owned(), json!({ key: pick(rng, values) }));
    }
    if rng.bool() {
        let expressions = some(rng, 0, 2, |rng| {
            let (key, values) = pick(rng, keys);
            let values = some(rng, 1, 2, |rng| json!(pick(rng, values)));
            // Most of what can be said can be told.
            match rng.u8(0..24) {
                0 => json!({"key": key, "operator": "NotIn", "values": values}),
                1 => json!({"key": key, "operator": "DoesNotExist"}),
                2..10 => json!({"key": key, "operator": "Exists"}),
                _ => json!({"key": key, "operator": "In", "values": values}),
            }
        });
        selector.insert("matchExpressions".to_owned(), expressions);
    }
    Value::Object(selector)
}

fn pods(rng: &mut Rng) -> Value {
    selector(rng, &[("app", &["x", "y", "z"]), ("tier", &["1", "2"])])
}

fn namespaces(rng: &mut Rng) -> Value {
    if rarely(rng, 16) {
        return json!({"matchLabels": {"team": "x"}});
    }
    if rng.bool() { json!({}) } else { selector(rng, &[(NAME, &NAMESPACES)]) }
}

fn peer(rng: &mut Rng) -> Value {
    match rng.u8(0..5) {
        0 | 1 => json!({"podSelector": pods(rng)}),
        2 => json!({"namespaceSelector": namespaces(rng)}),
        3 => json!({"namespaceSelector": namespaces(rng), "podSelector": pods(rng)}),
        _ => {
            let cidr = pick(rng, &NETWORKS);
            let whole: IpNet = cidr.parse().unwrap();
            let within = |it: &&str| *it != cidr && whole.contains(&it.parse::<IpNet>().unwrap());
            let except: Vec<_> = NETWORKS.into_iter().filter(within).filter(|_| rng.bool()).collect();
            json!({"ipBlock": {"cidr": cidr, "except": except}})
        }
    }
}

fn port(rng: &mut Rng) -> Value {
    let mut port = Map::new();
    if rng.bool() {
        port.insert("protocol".to_owned(), json!(pick(rng, &["TCP", "UDP", "SCTP"])));
    }
    if rarely(rng, 20) {
        port.insert("port".to_owned(), json!("http"));
    } else if !rarely(rng, 4) {
        let (one, other) = (pick(rng, &PORTS), pick(rng, &PORTS));
        port.insert("port".to_owned(), json!(one.min(other)));
        if rng.bool() {
            port.insert("endPort".to_owned(), json!(one.max(other)));
        }
    }
    Value::Object(port)
}

fn rules(rng: &mut Rng, peers: &str) -> Value {
    some(rng, 0, 2, |rng| {
        let mut rule = Map::new();
        if !rarely(rng, 4) {
            rule.insert(peers.to_owned(), some(rng, 0, 3, peer));
        }
        if rng.bool() {
            rule.insert("ports".to_owned(), some(rng, 0, 3, port));
        }
        Value::Object(rule)
    })
}

fn policy(rng: &mut Rng, number: usize) -> Value {
    let mut spec = Map::new();
    if !rarely(rng, 6) {
        spec.insert("podSelector".to_owned(), if rng.bool() { json!({}) } else { pods(rng) });
    }
    for (list, peers) in [("ingress", "from"), ("egress", "to")] {
        if rng.bool() {
            spec.insert(list.to_owned(), rules(rng, peers));
        }
    }
    if rng.bool() {
        let types = [json!([]), json!(["Ingress"]), json!(["Egress"]), json!(["Ingress", "Egress"])];
        spec.insert("policyTypes".to_owned(), pick(rng, &types));
    }
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": format!("p{number}"), "namespace": pick(rng, &NAMESPACES)},
        "spec": spec,
    })
}

fn ends(rng: &mut Rng) -> Vec<End> {
    let pod = |rng: &mut Rng| {
        let mut labels = BTreeMap::new();
        for (key, values) in [("app", ["x", "y", "z"].as_slice()), ("tier", &["1", "2"])] {
            if !rarely(rng, 4) {
                labels.insert(key.to_owned(), pick(rng, values).to_owned());
            }
        }
        End::Pod { namespace: pick(rng, &NAMESPACES), labels }
    };
    let pods = (0..6).map(|_| pod(rng)).collect::<Vec<_>>();
    let outside = ADDRESSES.map(|address| End::Outside(address.parse().unwrap()));
    let node = [WorkloadKind::Host, WorkloadKind::Unit].map(End::Node);
    pods.into_iter().chain(outside).chain(node).collect()
}

fn identity(judge: &mut Judge, number: usize, end: &End) -> Identity {
    let workload = match end {
        End::Outside(address) => return judge.0.identity_of_address(*address),
        End::Node(WorkloadKind::Host) => Workload::host(),
        End::Node(kind) => Workload::named(*kind, "kubelet.service"),
        End::Pod { namespace, labels } => {
            let pod = format!("pod-{number}");
            let container = Some("main".to_owned());
            let kubernetes = Kubernetes { namespace: (*namespace).to_owned(), pod, container };
            Workload {
                labels: labels.clone(),
                kubernetes: Some(kubernetes.clone()),
                ..Workload::named(WorkloadKind::Container, kubernetes.to_string())
            }
        }
    };
    judge.workload(&workload)
}

#[test]
fn policies_that_are_imported_judge_every_packet_as_kubernetes_does_and_those_in_part_allow_no_more() {
    let (mut whole, mut part, mut denied) = (0, 0, 0);
    for seed in 0..SETS {
        let rng = &mut Rng::with_seed(seed);
        let count = rng.usize(1..=4);
        let policies: Vec<_> = (0..count).map(|number| policy(rng, number)).collect();
        let text: String = policies.iter().map(|policy| format!("---\n{policy:#}\n")).collect();
        let Imported { text: imported, missing, .. } =
            import(&[file(&text)], &options()).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        // Nothing is known of whom these were about.
        if imported.starts_with("# Missing: ") {
            assert!(!missing.is_empty());
            continue;
        }
        let mut judge = Judge::new(&imported);
        let ends = ends(rng);
        let identities: Vec<_> =
            ends.iter().enumerate().map(|(number, end)| identity(&mut judge, number, end)).collect();
        for _ in 0..PACKETS {
            let (from, to) = (rng.usize(..ends.len()), rng.usize(..ends.len()));
            // Who a packet is from and to is told by its containers, not by their pod (docs/policy.md).
            if from == to {
                continue;
            }
            let service = (
                pick(rng, &[6, 6, 6, 17, 132, 1]),
                if rng.bool() { pick(rng, &PORTS) } else { rng.u16(1..) },
            );
            let expected = passes(&policies, &ends[from], &ends[to], service);
            let told = judge.passes(identities[from], identities[to], service);
            let right = if missing.is_empty() { told == expected } else { !told || expected };
            assert!(
                right,
                "seed {seed}: {:?} to {:?} {service:?}: expected {expected}\n{text}\n{imported}",
                ends[from], ends[to]
            );
            *(if missing.is_empty() { &mut whole } else { &mut part }) += 1;
            denied += u32::from(!told);
        }
    }
    // It would mean little if nearly all were alike.
    assert!(whole > 10_000 && part > 1_000 && denied > 5_000, "{whole} {part} {denied}");
}
