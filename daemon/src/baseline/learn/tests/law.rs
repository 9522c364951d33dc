//! The law: what was learned passes, and nothing that was not.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// Whoever may be at an end.
fn everybody() -> Vec<Arc<Workload>> {
    let container = |name: &str| Workload::named(WorkloadKind::Container, name);
    let pod = |name: &str, labels| Workload {
        kubernetes: Some(Kubernetes { namespace: "prod".to_owned(), pod: name.to_owned(), container: None }),
        labels,
        ..container(&format!("prod/{name}"))
    };
    let labels = BTreeMap::from([("app".to_owned(), "search".to_owned())]);
    vec![
        replica("shop", "web", 1),
        replica("shop", "web", 2),
        replica("shop", "db", 1),
        replica("ops", "web", 1),
        container("solo").into(),
        container("odd{*}").into(),
        Workload { image: Some("job:1".to_owned()), ..container("zen_bell") }.into(),
        pod("front-7d9f8c6b5-x2x4z", BTreeMap::new()).into(),
        pod("search-7d9f8c6b5-x2x4z", labels).into(),
        named(WorkloadKind::Unit, "docker.service"),
        named(WorkloadKind::Cgroup, "/batch/jobs"),
        named(WorkloadKind::Host, "host"),
        outside("203.0.113.9", None),
        outside("203.0.113.10", None),
        outside("2001:db8::7", None),
        outside("203.0.113.9", Some("api.example.org")),
        outside("198.51.100.7", Some("cdn.example.org")),
        outside("198.51.100.8", Some("not a name")),
        named(WorkloadKind::Other, "other"),
        named(WorkloadKind::Unknown, "cgroup 7"),
    ]
}

const PROTOCOLS: [Protocol; 6] =
    [Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::IcmpV6, Protocol::Ip(47), Protocol::Other];
const PORTS: [u16; 5] = [0, 53, 80, 5_432, 40_000];

fn service_of(protocol: Protocol, port: u16) -> (Protocol, u16) {
    (protocol, if protocol.has_ports() { port } else { 0 })
}

/// The two ends, protocol and port by their places in the lists, and flows, failures, denials and days.
type Drawn = ((usize, usize), usize, usize, (u64, u64, u64, u64));

fn pasts() -> impl Strategy<Value = Vec<Past>> {
    let everybody = everybody();
    let ends = (0..everybody.len(), 0..everybody.len());
    let counts = (0_u64..3, 0_u64..3, 0_u64..3, 1_u64..4);
    let one = (ends, 0..PROTOCOLS.len(), 0..PORTS.len(), counts);
    proptest::collection::vec(one, 0..60).prop_map(move |all| {
        let past = |((source, target), protocol, port, (flows, failed, deny, days)): Drawn| {
            let (protocol, port) = service_of(PROTOCOLS[protocol], PORTS[port]);
            let seen = past(&everybody[source], &everybody[target], protocol, port);
            let edge = Edge {
                flows,
                attempts: flows + failed,
                bytes_received: flows,
                verdicts: Verdicts { allow: flows + failed, audit: 0, deny },
                ..seen.edge
            };
            (source != target).then_some(Past { edge, days, ..seen })
        };
        all.into_iter().filter_map(past).collect()
    })
}

/// As policies tell them apart: both sorts of echo are one.
fn judged(source: &Side, target: &Side, protocol: Protocol, port: u16) -> (Side, Side, Protocol, u16) {
    let protocol = if protocol == Protocol::IcmpV6 { Protocol::Icmp } else { protocol };
    (source.clone(), target.clone(), protocol, port)
}

proptest! {
    // Each compiles its policies and asks them about thousands of interactions.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_was_learned_passes_and_nothing_that_was_not(pasts in pasts(), min_days in 1_u64..4) {
        let options = Options { min_days, ..options() };
        let learned = learn(&pasts, &options).unwrap();
        let mut plan = plan(&learned);
        let seen = Seen::of(&pasts, &options);
        let (kept, left_out) = sort(&seen, &options);
        prop_assert_eq!(&left_out, &learned.left_out);
        let left: u64 = left_out.iter().map(|it| it.flows).sum();
        prop_assert_eq!(left + learned.explained, learned.flows);

        let keys: BTreeSet<_> = kept.iter().map(|(key, _)| (*key).clone()).collect();
        for Past { edge, .. } in &pasts {
            let Ok((source, target)) = Side::of(&edge.source).and_then(|it| Ok((it, Side::of(&edge.target)?))) else {
                continue;
            };
            if keys.contains(&(source, target, edge.protocol, edge.port)) {
                let verdict = verdict(&mut plan, &edge.source, &edge.target, edge.protocol, edge.port);
                prop_assert_eq!(verdict, Verdict::Allow, "{:?}\n{}", edge, &learned.text);
            }
        }

        let learned_of: BTreeSet<_> = keys.iter().flat_map(|(source, target, ..)| [source, target]).collect();
        let allowed: BTreeSet<_> = keys.iter().map(|(s, t, protocol, port)| judged(s, t, *protocol, *port)).collect();
        let here: Vec<_> = everybody()
            .into_iter()
            .filter(|it| !matches!(it.kind, WorkloadKind::Outside | WorkloadKind::Other | WorkloadKind::Unknown))
            .collect();
        let closed = |workload: &Workload, side: &Side| {
            workload.kind == WorkloadKind::Container && learned_of.contains(side)
        };
        for source in &here {
            for target in &here {
                let sides = (Side::of(source).unwrap(), Side::of(target).unwrap());
                if !closed(source, &sides.0) && !closed(target, &sides.1) {
                    continue;
                }
                for (protocol, port) in PROTOCOLS.iter().flat_map(|it| PORTS.map(|port| service_of(*it, port))) {
                    if protocol == Protocol::Other || allowed.contains(&judged(&sides.0, &sides.1, protocol, port)) {
                        continue;
                    }
                    let verdict = verdict(&mut plan, source, target, protocol, port);
                    prop_assert_eq!(verdict, Verdict::Deny, "{} -> {} {}\n{}", source, target, protocol.service(port), &learned.text);
                }
            }
        }
    }

    #[test]
    fn names_that_somebody_chose_never_break_the_text(
        names in proptest::collection::vec(("\\PC{1,40}|.{1,40}|[*?{}\\[\\]\\\\a]{1,9}", "\\PC{0,20}"), 1..12),
    ) {
        let web = service("web");
        let seen: Vec<_> = names.iter().flat_map(|(name, label)| {
            let labels = BTreeMap::from([("app".to_owned(), label.clone())]);
            let hostile = Workload { labels, ..Workload::named(WorkloadKind::Container, name.clone()) };
            let project = Workload { project: Some(name.clone()), service: Some(label.clone()), ..hostile.clone() };
            let far = outside("198.51.100.7", Some(name));
            [tcp(&hostile.into(), &web, 80), tcp(&project.into(), &web, 80), tcp(&web, &far, 443)]
        }).collect();
        let learned = learn(&seen, &options()).unwrap();
        let mut plan = plan(&learned);
        for Past { edge, .. } in &seen {
            if Side::of(&edge.source).is_ok() {
                let verdict = verdict(&mut plan, &edge.source, &edge.target, edge.protocol, edge.port);
                prop_assert_eq!(verdict, Verdict::Allow, "{:?}\n{}", edge, &learned.text);
            }
        }
    }
}
