//! What is told of two sets of policies.

use std::{net::IpAddr, sync::Arc};

use super::*;
use crate::{
    event::{Workload, WorkloadKind},
    policy::{
        ByDefault, Settings,
        samples::{self, SHOP},
    },
};

fn plan(text: &str, settings: Settings) -> Plan {
    samples::plan("shop.yaml", text, settings)
}

/// `shop/web`, `shop/api`, `shop/db`, two replicas of `ci/runner`, and `host`.
fn parties() -> Parties {
    let mut workloads: Vec<_> =
        ["shop/web", "shop/api", "shop/db"].map(samples::container).into_iter().map(Arc::new).collect();
    for id in ["one", "two"] {
        let replica = Workload { id: Some(id.to_owned()), ..samples::container("ci/runner") };
        workloads.push(Arc::new(replica));
    }
    workloads.push(Arc::new(Workload::host()));
    Parties { workloads }
}

fn compared(before: &str, after: &str, lanes: &[Lane<'_>]) -> Comparison {
    compare(&mut plan(before, samples::OPEN), &mut plan(after, samples::OPEN), parties(), lanes).unwrap()
}

/// One line for each change.
fn lines(comparison: &Comparison) -> Vec<String> {
    let line = |change: &Change| {
        let rule =
            |decided: &Decided| decided.rule.as_ref().map_or("-".to_owned(), |rule| rule.label.to_string());
        format!(
            "{} -> {} {}: {} ({}) -> {} ({})",
            change.source.label(),
            change.target.label(),
            change.services.join(", "),
            change.before.verdict,
            rule(&change.before),
            change.after.verdict,
            rule(&change.after)
        )
    };
    comparison.changes.iter().map(line).collect()
}

#[test]
fn equal_policies_change_nothing() {
    let comparison = compared(SHOP, SHOP, &[]);
    assert_eq!(comparison, Comparison::default());
}

#[test]
fn a_new_rule_is_told_for_all_whom_it_denies_something() {
    let told = lines(&compared("", SHOP, &[]));
    assert_eq!(
        told,
        [
            "ci/runner, host, outside (all others), shop/web -> shop/db any: allow (-) -> deny (shop#1)",
            "shop/api -> shop/db all but tcp/5432: allow (-) -> deny (shop#1)",
        ]
    );
}

#[test]
fn what_is_taken_away_is_told_by_the_rule_that_decided() {
    let told = lines(&compared(SHOP, "", &[]));
    assert!(
        told.contains(&"shop/api -> shop/db all but tcp/5432: deny (shop#1) -> allow (-)".to_owned()),
        "{told:?}"
    );
}

#[test]
fn one_port_more_is_one_line_and_ports_are_found_that_nobody_used() {
    let more = SHOP.replace("port: tcp/5432", "ports: [tcp/5432-5440, icmp]");
    let told = lines(&compared(SHOP, &more, &[]));
    assert_eq!(told, ["shop/api -> shop/db icmp, tcp/5433-5440, icmpv6: deny (shop#1) -> allow (shop#1)"]);
}

#[test]
fn a_whole_project_and_replicas_are_folded() {
    let denied = "policy: a
mode: enforce
rules:
  - {to: any, deny: [{from: {project: ci}}], allow: [{from: any}]}
  - {from: {name: shop/*}, deny: [{to: host, port: tcp/22}], allow: [{to: any}]}
";
    // The samples have no project but in their name.
    let denied = denied.replace("{project: ci}", "ci/runner");
    let told = lines(&compared("", &denied, &[]));
    assert_eq!(
        told,
        [
            "ci/runner -> ci/runner, host, shop/* any: allow (-) -> deny (a#1)",
            "shop/* -> host tcp/22: allow (-) -> deny (a#2)",
        ]
    );
}

#[test]
fn a_mode_is_told_as_the_verdict_that_it_changes() {
    let audit = SHOP.replace("mode: enforce", "mode: audit");
    let told = lines(&compared(&audit, SHOP, &[]));
    assert!(
        told.contains(&"shop/api -> shop/db all but tcp/5432: audit (shop#1) -> deny (shop#1)".to_owned()),
        "{told:?}"
    );
}

#[test]
fn networks_of_both_sides_are_compared_where_they_differ() {
    let to = |cidr: &str| {
        format!(
            "policy: a\nmode: enforce\nrules:\n  - {{from: shop/api, allow: [{{to: {{cidr: {cidr}}}}}]}}\n"
        )
    };
    let told = lines(&compared(&to("10.0.0.0/8"), &to("10.0.0.0/9"), &[]));
    assert_eq!(told, ["shop/api -> outside 10.0.0.0/8 any: allow (a#1) -> deny (a#1)"]);
    let told = lines(&compared(&to("10.0.0.0/9"), &to("0.0.0.0/0"), &[]));
    assert_eq!(told, ["shop/api -> outside 0.0.0.0/0 any: deny (a#1) -> allow (a#1)"]);
}

#[test]
fn names_of_both_sides_are_compared_and_what_was_seen_by_its_name() {
    let to = |name: &str| {
        format!(
            "policy: a\nmode: enforce\nrules:\n  - {{from: shop/api, allow: [{{to: {{dns: {name}}}, port: tcp/443}}]}}\n"
        )
    };
    let (one, all) = (to("api.example.org"), to("'*.example.org'"));
    let told = lines(&compared(&one, &all, &[]));
    assert_eq!(told, ["shop/api -> outside *.example.org tcp/443: deny (a#1) -> allow (a#1)"]);
    let api = samples::container("shop/api");
    let names = ["www.example.org".to_owned()];
    let seen = Seen { attempts: 3, last: "2026-11-24T10:00:00Z".parse().unwrap() };
    let target = End::Outside { address: Some([203, 0, 113, 7].into()), names: &names };
    let lane = Lane { source: End::Workload(&api), target, service: (6, 443), seen };
    let comparison = compared(&all, &one, &[lane]);
    assert_eq!(lines(&comparison), ["shop/api -> outside *.example.org tcp/443: allow (a#1) -> deny (a#1)"]);
    assert_eq!(comparison.changes[0].seen, Some(seen));
    // In a network that rules name as well it is told by itself.
    let both = |name: &str| to(name).replace("}]}", "}, {to: {cidr: 203.0.113.0/24}, port: tcp/80}]}");
    let told = lines(&compared(&both("'*.example.org'"), &both("api.example.org"), &[lane]));
    assert_eq!(
        told,
        [
            "shop/api -> outside *.example.org, outside www.example.org (203.0.113.7) tcp/443: allow (a#1) -> deny (a#1)"
        ]
    );
}

#[test]
fn one_interaction_is_decided_by_the_name_that_was_looked_up() {
    let text =
        "policy: a\nmode: enforce\nrules:\n  - {from: shop/api, allow: [{to: {dns: '*.example.org'}}]}\n";
    let api = samples::container("shop/api");
    let outside = |name: Option<&str>| Workload {
        dns_name: name.map(str::to_owned),
        ..Workload::named(WorkloadKind::Outside, "203.0.113.7")
    };
    let decided = |name| {
        let target = outside(name);
        let target = End::of(&target).unwrap();
        decide(&mut plan(text, samples::OPEN), End::Workload(&api), target, (6, 443)).unwrap().verdict
    };
    assert_eq!(decided(Some("api.example.org")), Verdict::Allow);
    assert_eq!(decided(Some("example.org")), Verdict::Deny);
    assert_eq!(decided(None), Verdict::Deny);
}

#[test]
fn what_was_seen_comes_first_and_says_how_often() {
    let (web, db) = (samples::container("shop/web"), samples::container("shop/db"));
    let address = samples::outside(IpAddr::from([203, 0, 113, 7]));
    let seen = Seen { attempts: 3, last: "2026-11-24T10:00:00Z".parse().unwrap() };
    let lane = Lane { source: End::Workload(&web), target: End::Workload(&db), service: (6, 5_432), seen };
    let other = Lane { source: address, ..lane };
    let mixed = SHOP.replace("from: shop/api", "from: [shop/api, ci/runner, host]");
    let comparison =
        compared(&mixed, &SHOP.replace("shop/api, port: tcp/5432", "shop/web, port: tcp"), &[lane, other]);
    let told = lines(&comparison);
    assert!(told[0].starts_with("shop/web -> shop/db tcp: deny"), "{told:?}");
    assert_eq!(comparison.changes[0].seen, Some(seen));
    assert!(comparison.changes[1..].iter().all(|change| change.seen.is_none()), "{told:?}");
    let comparison = compared("", SHOP, &[lane, other, Lane { service: (17, 53), ..lane }]);
    assert_eq!(comparison.changes[0].seen.map(|seen| seen.attempts), Some(9));
}

#[test]
fn defaults_are_compared_as_well() {
    let settings = Settings { default_ingress: ByDefault::Deny, ..samples::OPEN };
    let compared = compare(&mut plan("", samples::OPEN), &mut plan("", settings), parties(), &[]).unwrap();
    let [change] = &compared.changes[..] else { panic!("{:?}", lines(&compared)) };
    assert_eq!((change.target.label().as_str(), change.after.why), ("ci/runner, shop/*", Why::Default));
    assert!(change.after.rule.is_none());
}

#[test]
fn the_verdicts_are_those_that_the_kernel_gives() {
    use cofferdam_common::policy::judge_both;
    let after = SHOP.replace("tcp/5432}", "tcp/5432-5440}\n    deny: [{from: shop/api, port: tcp/5439}]");
    let (mut before, mut after) = (plan(SHOP, samples::OPEN), plan(&after, samples::OPEN));
    let (api, db) = (samples::container("shop/api"), samples::container("shop/db"));
    let pairs = [&mut before, &mut after]
        .map(|plan| [&api, &db].map(|workload| Party::of(&End::Workload(workload), plan).unwrap()));
    let of = |plan: &Plan, [source, target]: &[Party; 2]| Spans::between(plan, source, target);
    let found = differences(&before, &after, &[of(&before, &pairs[0]), of(&after, &pairs[1])]);
    for port in 0..=u16::MAX {
        let service = service(6, port);
        let judged = |plan: &Plan, [source, target]: &[Party; 2]| {
            judge_both(plan, 0, source.identity, target.identity, service).verdict
        };
        let differs = judged(&before, &pairs[0]) != judged(&after, &pairs[1]);
        let told =
            found.iter().any(|it| it.ranges.iter().any(|(first, last)| (*first..=*last).contains(&service)));
        assert_eq!(differs, told, "tcp/{port}");
    }
}

#[test]
fn a_large_host_is_compared_as_far_as_there_is_room_and_what_is_missing_is_counted() {
    const WORKLOADS: usize = 1_000;
    let name = |number: usize| format!("w{:04}", number % WORKLOADS);
    let rule = |number: usize| {
        let (to, from) = (name(number), name(number * 7 + number / WORKLOADS + 1));
        format!("  - {{to: {to}, allow: [{{from: {from}, port: tcp/5432}}]}}\n")
    };
    let policy = |rules: usize| {
        let rules: String = (0..rules).map(rule).collect();
        format!("policy: large\nmode: enforce\nrules:\n{rules}")
    };
    let (mut before, mut after) =
        (plan(&policy(10_000), samples::OPEN), plan(&policy(10_001), samples::OPEN));
    let workloads = (0..WORKLOADS).map(|number| Arc::new(samples::container(&name(number)))).collect();
    let (web, db) = (samples::container(&name(70_000 + 11)), samples::container(&name(10_000)));
    let seen = Seen { attempts: 3, last: "2026-11-24T10:00:00Z".parse().unwrap() };
    let lane = Lane { source: End::Workload(&web), target: End::Workload(&db), service: (6, 5_432), seen };
    let comparison = compare_some(&mut before, &mut after, Parties { workloads }, &[lane], 10_000).unwrap();
    // Each with each other, and with all peers outside in both directions.
    assert_eq!(comparison.not_compared, WORKLOADS * (WORKLOADS - 1) + 2 * WORKLOADS - 10_000);
    let [change] = &comparison.changes[..] else { panic!("{:?}", lines(&comparison)) };
    assert_eq!((change.services.join(", ").as_str(), change.seen), ("tcp/5432", Some(seen)));
}
