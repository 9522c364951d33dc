//! What is learned allows what was seen and nothing else, by the compiled policies.

mod law;

mod scene;

use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    event::{Kubernetes, Protocol, Scope, Verdict, Workload, WorkloadKind},
    interaction::{Edge, Failed, Verdicts},
    policy::{
        Plan,
        diff::decide,
        explain::End,
        samples::{self, OPEN},
    },
};

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn options() -> Options {
    Options {
        mode: Mode::Enforce,
        of: Vec::new(),
        min_days: 1,
        since: at("2026-11-20T00:00:00Z"),
        until: at("2026-11-27T00:00:00Z"),
    }
}

/// A replica of a service of Compose.
fn replica(project: &str, service: &str, number: u64) -> Arc<Workload> {
    Arc::new(Workload {
        id: Some(format!("{number:016x}{service}")),
        container_name: Some(format!("{project}-{service}-{number}")),
        project: Some(project.to_owned()),
        service: Some(service.to_owned()),
        ..Workload::named(WorkloadKind::Container, format!("{project}/{service}"))
    })
}

fn service(name: &str) -> Arc<Workload> {
    replica("shop", name, 1)
}

fn named(kind: WorkloadKind, name: &str) -> Arc<Workload> {
    Workload::named(kind, name).into()
}

fn outside(address: &str, name: Option<&str>) -> Arc<Workload> {
    let dns_name = name.map(str::to_owned);
    Workload { dns_name, ..Workload::named(WorkloadKind::Outside, address) }.into()
}

/// Seen 412 times on three days.
fn past(source: &Arc<Workload>, target: &Arc<Workload>, protocol: Protocol, port: u16) -> Past {
    let edge = Edge {
        source: source.clone(),
        target: target.clone(),
        protocol,
        port,
        via: None,
        flows: 412,
        attempts: 412,
        bytes_sent: 1,
        bytes_received: 1,
        packets_sent: 1,
        packets_received: 1,
        failed: Failed::default(),
        verdicts: Verdicts { allow: 412, ..Verdicts::default() },
        first_seen: at("2026-11-20T09:00:00Z"),
        last_seen: at("2026-11-26T10:02:00Z"),
        last_denied: None,
    };
    Past { edge, minutes: 300, days: 3 }
}

fn tcp(source: &Arc<Workload>, target: &Arc<Workload>, port: u16) -> Past {
    past(source, target, Protocol::Tcp, port)
}

fn plan(learned: &Learned) -> Plan {
    samples::plan("learned.yaml", &learned.text, OPEN)
}

fn verdict(plan: &mut Plan, source: &Workload, target: &Workload, protocol: Protocol, port: u16) -> Verdict {
    let (source, target) = (End::of(source).unwrap(), End::of(target).unwrap());
    decide(plan, source, target, (protocol.number().unwrap(), port)).unwrap().verdict
}

#[test]
fn the_text_says_who_and_how_often_and_what_is_left_out() {
    let (web, db) = (service("web"), service("db"));
    let denied = tcp(&replica("ci", "runner", 1), &db, 5_432);
    let verdicts = Verdicts { deny: 9, ..Verdicts::default() };
    let edge = Edge { attempts: 0, flows: 0, bytes_received: 0, verdicts, ..denied.edge };
    let failed = tcp(&web, &db, 22);
    let failed = Edge { flows: 0, bytes_received: 0, attempts: 2, ..failed.edge };
    let seen = [
        tcp(&web, &db, 5_432),
        tcp(&replica("shop", "web", 2), &db, 5_432),
        tcp(&outside("203.0.113.9", None), &web, 80),
        tcp(&web, &outside("198.51.100.7", Some("api.example.org")), 443),
        past(&web, &named(WorkloadKind::Unit, "docker.service"), Protocol::Udp, 53),
        Past { edge, ..denied },
        Past { edge: failed, minutes: 1, days: 1 },
    ];
    let learned = learn(&seen, &options()).unwrap();
    insta::assert_snapshot!(learned.text, @r#"
    # Learned from what was seen from 2026-11-20 00:00 to 2026-11-27 00:00 (UTC).
    # Left out, since it was only ever denied:
    #   ci/runner -> shop/db  tcp/5432, seen 9 times
    # Left out, since it never opened: all attempts failed:
    #   shop/web -> shop/db  tcp/22, seen 2 times
    policy: shop
    mode: enforce
    rules:
      - name: to-db
        to: {project: shop, service: db}
        allow:
          # seen 824 times on 3 days, first 2026-11-20, last 2026-11-26 10:02
          - {from: {project: shop, service: web}, port: tcp/5432}
      # It was not seen to send to anybody.
      - name: from-db
        from: {project: shop, service: db}
      - name: to-web
        to: {project: shop, service: web}
        allow:
          # seen 412 times on 3 days, first 2026-11-20, last 2026-11-26 10:02
          - {from: {cidr: 203.0.113.9/32}, port: tcp/80}
      - name: from-web
        from: {project: shop, service: web}
        allow:
          # seen 412 times on 3 days, first 2026-11-20, last 2026-11-26 10:02
          - {to: {unit: docker.service}, port: udp/53}
          # seen 824 times on 3 days, first 2026-11-20, last 2026-11-26 10:02
          - {to: {project: shop, service: db}, port: tcp/5432}
          # seen 412 times on 3 days, first 2026-11-20, last 2026-11-26 10:02
          - {to: {dns: api.example.org}, port: tcp/443}
    "#);
    assert_eq!((learned.rules, learned.workloads, learned.flows, learned.explained), (4, 2, 2_071, 2_060));
    assert!(include_str!("../../../../docs/policy.md").contains(&learned.text), "docs/policy.md has another");
}

/// How somebody is selected, as it is written.
fn selected(workload: Workload) -> String {
    let learned = learn(&[tcp(&workload.into(), &outside("203.0.113.9", None), 443)], &options()).unwrap();
    let line = learned.text.lines().find_map(|line| line.trim().strip_prefix("from: ")).unwrap();
    line.to_owned()
}

#[test]
fn workloads_go_by_what_stays_when_their_container_is_replaced() {
    let container = |name: &str| Workload::named(WorkloadKind::Container, name);
    let labelled = |name: &str, labels: &[(&str, &str)]| Workload {
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        image: Some("registry.example/job:1.4".to_owned()),
        ..container(name)
    };
    let pod = |pod: &str, labels: &[(&str, &str)]| Workload {
        kubernetes: Some(Kubernetes {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            container: Some("nginx".to_owned()),
        }),
        ..labelled(&format!("shop/{pod}/nginx"), labels)
    };
    let swarm = [("com.docker.swarm.service.name", "shop_web")];
    let app = [("app.kubernetes.io/name", "web"), ("app.kubernetes.io/component", "front"), ("app", "other")];
    for (workload, selector) in [
        ((*service("web")).clone(), "{project: shop, service: web}"),
        (container("backup"), "{name: backup}"),
        (container("odd*name"), r"{name: odd\*name}"),
        (labelled("zen_bell7", &[]), "{image: registry.example/job:1.4}"),
        (labelled("zen_bell7", &[("app", "job")]), "{labels: {app: job}}"),
        (container("zen_bell7"), "{name: zen_bell7}"),
        (labelled("shop_web.1.x2x4z", &swarm), "{labels: {com.docker.swarm.service.name: shop_web}}"),
        (
            pod("web-7d9f8c6b5-x2x4z", &app),
            "{namespace: shop, labels: {app.kubernetes.io/component: front, app.kubernetes.io/name: web}}",
        ),
        (pod("web-7d9f8c6b5-x2x4z", &app[2..]), "{namespace: shop, labels: {app: other}}"),
        (
            pod("web-7d9f8c6b5-x2x4z", &[]),
            r#"{namespace: shop, pod: "web-{????????,?????????,??????????}-?????"}"#,
        ),
        (pod("toolbox", &[]), "{namespace: shop, pod: toolbox}"),
    ] {
        assert_eq!(selected(workload), selector);
    }
}

#[test]
fn units_are_selected_only_if_they_are_chosen_and_the_host_never() {
    let (host, unit) = (named(WorkloadKind::Host, "host"), named(WorkloadKind::Unit, "session-3.scope"));
    let far = outside("203.0.113.9", None);
    let seen = [tcp(&host, &far, 443), tcp(&unit, &far, 443)];
    let learned = learn(&seen, &options()).unwrap();
    assert_eq!((learned.rules, learned.flows), (0, 0));
    let everybody = serde_json::from_value("*".into()).unwrap();
    let chosen = learn(&seen, &Options { of: vec![everybody], ..options() }).unwrap();
    assert_eq!((chosen.rules, chosen.flows), (2, 412));
    assert!(chosen.text.contains("from: {unit: session-*.scope}"), "{}", chosen.text);
}

#[test]
fn only_those_who_were_chosen_are_closed() {
    let (web, api, db) = (service("web"), service("api"), service("db"));
    let of = vec![serde_json::from_value("shop/web".into()).unwrap()];
    let learned = learn(&[tcp(&web, &api, 80), tcp(&api, &db, 5_432)], &Options { of, ..options() }).unwrap();
    assert_eq!((learned.rules, learned.workloads, learned.flows), (2, 1, 412));
    let mut plan = plan(&learned);
    assert_eq!(verdict(&mut plan, &web, &db, Protocol::Tcp, 5_432), Verdict::Deny);
    assert_eq!(verdict(&mut plan, &db, &api, Protocol::Tcp, 80), Verdict::Allow);
}

#[test]
fn what_was_seen_on_too_few_days_is_left_out_and_replicas_count_together() {
    let one_day = |number, day: &str| {
        let past = tcp(&replica("shop", "web", number), &service("api"), 80);
        let (first_seen, last_seen) = (at(&format!("{day}T09:00:00Z")), at(&format!("{day}T10:00:00Z")));
        Past { edge: Edge { first_seen, last_seen, ..past.edge }, minutes: 1, days: 1 }
    };
    let options = Options { min_days: 2, ..options() };
    let rare = learn(&[one_day(1, "2026-11-25")], &options).unwrap();
    assert_eq!(rare.left_out.iter().map(|it| it.why).collect::<Vec<_>>(), [Why::Rare]);
    assert!(rare.text.contains("# Left out, since it was seen on fewer than 2 days:"), "{}", rare.text);
    let daily = learn(&[one_day(1, "2026-11-25"), one_day(2, "2026-11-26")], &options).unwrap();
    assert_eq!((daily.left_out.len(), daily.explained), (0, 824));
}

#[test]
fn what_only_went_on_and_what_is_sent_to_a_group_is_learned() {
    let (web, api) = (service("web"), service("api"));
    let open = tcp(&web, &api, 80);
    let open = Edge { attempts: 0, flows: 0, verdicts: Verdicts::default(), ..open.edge };
    let group = Workload { scope: Some(Scope::Multicast), ..(*outside("224.0.0.251", None)).clone() };
    let group = past(&web, &group.into(), Protocol::Udp, 5_353);
    let group = Edge { flows: 0, bytes_received: 0, ..group.edge };
    let seen = [open, group].map(|edge| Past { edge, minutes: 1, days: 1 });
    assert_eq!(learn(&seen, &options()).unwrap().left_out, []);
}

#[test]
fn whom_no_policy_can_tell_is_left_out_with_the_reason() {
    let web = service("web");
    let seen = [
        tcp(&web, &named(WorkloadKind::Other, "other"), 0),
        tcp(&named(WorkloadKind::Unknown, "cgroup 7"), &web, 80),
        tcp(&web, &named(WorkloadKind::Container, &"x".repeat(300)), 80),
        tcp(&web, &outside("office", None), 80),
        past(&web, &service("api"), Protocol::Other, 0),
    ];
    let learned = learn(&seen, &options()).unwrap();
    let why: Vec<_> = learned.left_out.iter().map(|it| it.why).collect();
    assert_eq!(why, [Why::Unknown, Why::Many, Why::Many, Why::Many, Why::Unsayable]);
    assert_eq!((learned.rules, learned.explained, learned.flows), (0, 0, 5 * 412));
}

#[test]
fn comments_are_bounded_and_cannot_end() {
    let evil = named(WorkloadKind::Unknown, "evil\npolicy: all\nrules: []");
    let seen: Vec<_> = (1..=300).map(|port| tcp(&service("web"), &evil, port)).collect();
    let text = learn(&seen, &options()).unwrap().text;
    assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    assert!(text.ends_with("# And 200 more that are left out.\n"), "{text}");
}

#[test]
fn a_service_for_everybody_and_one_that_asks_many_are_few_lines() {
    let web = service("web");
    let clients = (1..=200).map(|first| tcp(&outside(&format!("{first}.7.7.7"), None), &web, 443));
    let names: Vec<_> = (0..40).map(|number| format!("node{number}.cdn.example.org")).collect();
    let targets = names.iter().map(|name| tcp(&web, &outside("198.51.100.7", Some(name)), 443));
    let learned = learn(&clients.chain(targets).collect::<Vec<_>>(), &options()).unwrap();
    let entries: Vec<_> = learned.text.lines().filter(|line| line.contains("- {")).map(str::trim).collect();
    assert_eq!(
        entries,
        [
            r"- {from: {cidr: 0.0.0.0/0}, port: tcp/443}",
            r#"- {to: {dns: "*.cdn.example.org"}, port: tcp/443}"#
        ]
    );
    assert!(learned.text.contains("# made of 200 peers"), "{}", learned.text);
}
