//! Policies in, findings out.

use std::{path::Path, time::Instant};

use proptest::prelude::*;

use super::*;
use crate::{event::WorkloadKind, policy::folder::Set};

fn set(text: &str) -> Set {
    let mut set = Set::default();
    match set.add_text(Path::new("shop.yaml"), text.to_owned()) {
        Ok(()) => set,
        Err(problem) => panic!("{problem}"),
    }
}

/// One line for each finding.
fn findings(text: &str) -> String {
    let set = set(text);
    check(set.documents(), None).iter().map(line).collect()
}

fn line(finding: &Finding) -> String {
    let Finding { place, subject, message, .. } = finding;
    format!("{}:{}: {subject}: {message}\n", place.line, place.column)
}

#[test]
fn policies_without_anything_suspicious_have_no_findings() {
    let text = "\
policy: shop
mode: enforce
groups: {front: [shop/web]}
rules:
  - to: shop/db
    allow:
      - {from: shop/api, port: tcp/5432}
      - {from: {group: front}, port: tcp/5432}
      - {from: shop/api, port: udp/5432}
    deny:
      - {from: {project: ci}, port: tcp/5432}
    audit:
      - {from: shop/api, port: tcp}
  - from: {project: shop}
    allow: [{to: {cidr: 203.0.113.0/24, except: [203.0.113.9]}}, {to: {cidr: 203.0.113.9}}]
";
    assert_eq!(findings(text), "");
}

#[test]
fn a_pattern_of_dns_names_says_as_much_as_names_below_it() {
    let text = "\
policy: shop
mode: enforce
rules:
  - from: shop/api
    allow:
      - {to: {dns: '*.example.org'}}
      - {to: {dns: api.example.org}, port: tcp/443}
      - {to: [{dns: '*.x.example.org'}, {dns: example.org}]}
      - {to: shop/dns, port: udp/53}
";
    assert_eq!(findings(text), "7:9: shop#1: says nothing new: the entry at line 6 says as much or more\n");
}

#[test]
fn who_may_reach_a_name_should_be_allowed_to_ask_for_it() {
    let text = |other: &str| {
        format!(
            "\
policy: shop
mode: enforce
rules:
  - from: shop/api
    allow: [{{to: {{dns: api.example.org}}, port: tcp/443}}]
{other}"
        )
    };
    let told = "5:13: shop#1: no rule lets any of those whom it selects ask a resolver (udp/53): no address will have \
                this name for them\n";
    for in_vain in [
        "",
        "  - {from: shop/db, allow: [{to: any}]}\n",
        "  - {from: shop/api, allow: [{to: any, port: tcp}]}\n",
        "  - {from: shop/api, allow: [{to: {dns: resolver.example.org}}]}\n",
    ] {
        assert!(findings(&text(in_vain)).starts_with(told), "{in_vain}");
    }
    for enough in [
        "  - {from: shop/api, allow: [{to: {cidr: 192.0.2.53}, port: udp/53}]}\n",
        "  - {from: {project: shop}, allow: [{to: {cidr: 192.0.2.53}}]}\n",
    ] {
        assert_eq!(findings(&text(enough)), "", "{enough}");
    }
}

#[test]
fn what_is_suspicious_is_told_with_its_rule_and_place() {
    let text = "\
policy: shop
mode: enforce
groups: {front: [shop/web], back: [shop/db]}
rules:
  - name: everything
    to: any
    allow: [{from: any}]
  - from: [ho*]
    allow: [{to: {group: front}}]
  - to: shop/db
  - to: shop/db
    deny: [{from: ci/*, port: tcp}]
  - to: shop/db
    allow:
      - {from: shop/*}
      - {from: shop/api, port: tcp/5432}
      - {from: ci/runner, port: tcp/5432}
      - {from: [ci/runner, shop/db], port: tcp/5432}
---
policy: later
rules:
  - to: host
    audit: [{from: ops}]
";
    insta::assert_snapshot!(findings(text), @r##"
    3:35: shop: no rule names the group `back`
    5:5: shop#everything: selects the host itself: only what is allowed reaches its own services, SSH among them
    8:5: shop#2: selects the host itself: only what is allowed leaves it, DNS and updates among it
    10:5: shop#3: allows nothing: everything that is sent to whom it selects is denied, unless another rule allows it
    11:5: shop#4: allows nothing: everything that is sent to whom it selects is denied, unless another rule allows it
    16:9: shop#5: says nothing new: the entry at line 15 says as much or more
    17:9: shop#5: nothing of this passes: shop#4 denies all of it (shop.yaml:12)
    22:5: later#1: selects the host itself: once the policy is enforced, only what is allowed reaches its own services, SSH among them
    "##);
}

#[test]
fn an_entry_is_shadowed_by_an_earlier_one_that_says_as_much_or_more_and_by_no_other() {
    for (earlier, later, expected) in [
        ("from: b", "from: b", true),
        ("from: b", "from: b, port: tcp", true),
        ("from: b, port: tcp", "from: b", false),
        ("from: b, port: tcp/1-9", "from: b, port: tcp/5-7", true),
        ("from: b, port: tcp/1-9", "from: b, port: tcp/5-10", false),
        ("from: b, port: tcp/1-9", "from: b, port: udp/5", false),
        ("from: b, ports: [tcp/1, udp]", "from: b, ports: [udp/9, tcp/1]", true),
        ("from: any", "from: {cidr: 203.0.113.0/24}", true),
        ("from: '*'", "from: {cidr: 203.0.113.0/24}", false),
        ("from: '*'", "from: any", false),
        ("from: [b, c]", "from: c", true),
        ("from: c", "from: [b, c]", false),
        ("from: [c, d, b]", "from: [b, c]", true),
        ("from: {project: p*}", "from: {project: pq, service: s}", true),
        ("from: {cidr: 10.0.0.0/8}", "from: {cidr: 10.1.0.0/16}", true),
        ("from: {cidr: 10.1.0.0/16}", "from: {cidr: 10.0.0.0/8}", false),
        ("from: {cidr: 10.0.0.0/8, except: [10.1.0.0/24]}", "from: {cidr: 10.1.0.0/16}", false),
        ("from: {cidr: 10.0.0.0/8, except: [10.2.0.0/24]}", "from: {cidr: 10.1.0.0/16}", true),
        (
            "from: {cidr: 10.0.0.0/8, except: [10.1.0.0/24]}",
            "from: {cidr: 10.1.0.0/16, except: [10.1.0.0/20]}",
            true,
        ),
    ] {
        let text = format!("policy: p\nrules:\n- to: a\n  allow:\n  - {{{earlier}}}\n  - {{{later}}}\n");
        let expected = if expected {
            "6:5: p#1: says nothing new: the entry at line 5 says as much or more\n"
        } else {
            ""
        };
        assert_eq!(findings(&text), expected, "{earlier} / {later}");
        let other_list =
            format!("policy: p\nrules:\n- to: a\n  allow: [{{{earlier}}}]\n  audit: [{{{later}}}]\n");
        assert_eq!(findings(&other_list), "", "{earlier} / {later}");
    }
}

#[test]
fn an_entry_that_another_denies_as_a_whole_is_told_and_one_that_passes_in_part_is_not() {
    for (subject, denied, allowed, expected) in [
        ("a", "from: b", "from: b, port: tcp/1", true),
        ("a", "from: b, port: tcp/2", "from: b, port: tcp/1", false),
        ("'*'", "from: b", "from: b", true),
        ("a", "from: 'b*'", "from: b", true),
        ("a", "from: 'b*'", "from: bc*", true),
        ("a", "from: 'bc*'", "from: b*", false),
        ("a", "from: '*'", "from: {project: x, name: y}", true),
        ("a", "from: '?'", "from: b", true),
        ("any", "from: any", "from: {cidr: 10.0.0.0/8}", true),
        ("[c, a]", "from: [d, b]", "from: b", true),
        ("c", "from: b", "from: b", false),
        ("a", "from: b", "from: [b, c]", false),
        ("{project: x}", "from: b", "from: b", false),
    ] {
        let policy = |name: &str, mode: &str, subject: &str, list: &str, entry: &str| {
            format!("policy: {name}\nmode: {mode}\nrules:\n- to: {subject}\n  {list}: [{{{entry}}}]\n---\n")
        };
        let told =
            |text: &str| findings(text).contains("nothing of this passes: d#1 denies all of it (shop.yaml:");
        for (mode, list) in [("audit", "allow"), ("enforce", "audit")] {
            let other = policy("z", mode, "a", list, allowed);
            assert_eq!(
                told(&(policy("d", "enforce", subject, "deny", denied) + &other)),
                expected,
                "{denied}"
            );
            assert_eq!(told(&(other.clone() + &policy("d", "enforce", subject, "deny", denied))), expected);
            // What is only audited denies nothing to others.
            assert!(!told(&(policy("d", "audit", subject, "deny", denied) + &other)));
        }
        let other_direction =
            policy("z", "audit", "a", "allow", allowed).replace("from", "x").replace("to", "from");
        assert!(!told(
            &(policy("d", "enforce", subject, "deny", denied) + &other_direction.replace("x:", "to:"))
        ));
    }
}

#[test]
fn a_rule_that_selects_nobody_is_told_when_it_is_known_who_is_here() {
    let container = Workload {
        container_name: Some("shop-db-1".to_owned()),
        project: Some("shop".to_owned()),
        ..Workload::named(WorkloadKind::Container, "shop/db")
    };
    let workloads = vec![container.into(), Workload::named(WorkloadKind::Unit, "nginx.service").into()];
    let here = Here { workloads, ..Here::default() };
    let subjects =
        ["shop/db", "shop-db-1", "shop/*", "{project: shop}", "nginx.service", "{unit: nginx*}", "any"];
    let nobody = ["shop/web", "ci/*", "{project: ci}", "{unit: shop/db}"];
    for (subject, expected) in subjects.map(|it| (it, false)).into_iter().chain(nobody.map(|it| (it, true))) {
        let told = |text: &str| -> Vec<String> {
            let found = check(set(text).documents(), Some(&here)).into_iter().map(|it| it.message);
            found.filter(|message| message.contains("selects nobody")).collect()
        };
        let as_subject = told(&format!("policy: p\nrules: [{{to: {subject}, allow: [{{from: any}}]}}]"));
        assert_eq!(!as_subject.is_empty(), expected, "{subject}");
        let as_peer =
            told(&format!("policy: p\nrules: [{{to: any, allow: [{{from: [shop/db, {subject}]}}]}}]"));
        assert_eq!(!as_peer.is_empty(), expected, "{subject}");
        if subject == "shop/web" {
            assert_eq!(as_peer, ["`shop/web` selects nobody who is here now"]);
        }
    }
}

#[test]
fn a_rule_that_cannot_be_enforced_wholly_says_for_whom() {
    let named = |name| Arc::new(Workload::named(WorkloadKind::Container, name));
    let all = ["a1", "a2", "a3", "a4", "db"].map(named).to_vec();
    let here = Here { partial: all[..4].to_vec(), workloads: all };
    let told = |policy: &str| -> Vec<String> {
        let found = check(set(policy).documents(), Some(&here)).into_iter().map(|it| it.message);
        found.filter(|message| message.contains("partial")).collect()
    };
    let from = |subject: &str| {
        format!("policy: p\nmode: enforce\nrules: [{{from: {subject}, allow: [{{to: any}}]}}]")
    };
    assert_eq!(
        told(&from("a1")),
        [
            "is partial for `a1`: the layer `lsm` is missing on this host, so frames that they send past the IP stack are \
          not judged"
        ]
    );
    assert!(told(&from("'a*'"))[0].starts_with("is partial for `a1`, `a2`, `a3` and 1 more: "));
    assert_eq!(told(&from("db")), [""; 0]);
    assert_eq!(told(&from("a1").replace("enforce", "audit")), [""; 0]);
    assert_eq!(told("policy: p\nmode: enforce\nrules: [{to: a1, allow: [{from: any}]}]"), [""; 0]);
}

#[test]
fn a_check_of_very_many_rules_ends_soon() {
    let mut text = "policy: p\nmode: enforce\nrules:\n".to_owned();
    for at in 0..1_000 {
        text +=
            &format!("- {{to: w{at}, allow: [{{from: v{at}, port: tcp/1}}], deny: [{{from: x{at}*}}]}}\n");
    }
    let set = set(&text);
    let begun = Instant::now();
    // A name is looked up by how it begins, and nothing is compared with everything.
    assert_eq!(check(set.documents(), None), []);
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}

#[test]
fn where_there_is_too_much_to_compare_it_says_so() {
    let peers = (0..1_000).map(|at| format!("b{at}")).collect::<Vec<_>>().join(", ");
    let entries =
        (0..20).map(|at| format!("{{from: [u{at}, 'a*', {peers}]}}")).collect::<Vec<_>>().join(", ");
    let found = findings(&format!("policy: p\nrules:\n- to: a\n  allow: [{entries}]\n"));
    assert_eq!(found, "3:3: p: not all entries from here on were compared with others: there are too many\n");
}

proptest! {
    #[test]
    fn no_policies_make_it_panic(
        rules in prop::collection::vec(
            ("(to|from)", "(a|b|'a\\*'|any|host)", "(allow|deny|audit)", "(a|b|'a\\*'|any|\\{cidr: '::/0'\\})", "(tcp|tcp/1|any|icmp)"),
            0..8,
        ),
    ) {
        let rules = rules.iter().map(|(own, subject, list, peer, port)| {
            let other = if own == "to" { "from" } else { "to" };
            format!("- {{{own}: {subject}, {list}: [{{{other}: {peer}, port: {port}}}]}}\n")
        });
        let rules: String = rules.collect();
        prop_assume!(!rules.is_empty());
        findings(&format!("policy: p\nmode: enforce\nrules:\n{rules}"));
    }
}

#[test]
fn policies_that_need_more_than_there_is_room_for_by_default_are_told_before_they_are_loaded() {
    // Each port is a range of its own, and so is what lies between: 2 x 100 + 1 for each of 2,000 rules.
    let ports: Vec<_> = (1..=100).map(|port| format!("tcp/{}", port * 2)).collect();
    let rule = |number: usize| {
        format!("  - {{to: db{number}, allow: [{{from: web, ports: [{}]}}]}}\n", ports.join(","))
    };
    let text =
        |rules| format!("policy: shop\nmode: enforce\nrules:\n{}", (0..rules).map(rule).collect::<String>());
    assert_eq!(findings(&text(1_900)), "");
    assert_eq!(
        findings(&text(2_000)),
        "1:9: shop: all policies together need more than there is room for by default, if all workloads run here that they \
         name: there is room for 393216 intervals of ports, and the policies need 404003: raise `policies.room.intervals` \
         and restart the daemon\n"
    );
}
