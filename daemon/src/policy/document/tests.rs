//! Texts in, policies and messages out.

use proptest::prelude::*;

use super::*;
use crate::{
    config::Selector,
    event::is_hostile,
    policy::model::{Direction, Entry, Mode, Network, Peer, Protocol, Rule, Services, Verdict},
};

const FILE: &str = "/etc/cofferdam/policies/shop.yaml";

fn documents(text: &str) -> Result<Vec<Document>, Problem> {
    read(&Path::new(FILE).into(), text, &mut Totals::default())
}

fn policies(text: &str) -> Vec<Policy> {
    match documents(text) {
        Ok(documents) => documents.into_iter().map(|document| document.policy).collect(),
        Err(problem) => panic!("{problem}"),
    }
}

fn problem(text: &str) -> Problem {
    match documents(text) {
        Ok(documents) => panic!("it was taken: {documents:?}"),
        Err(problem) => problem,
    }
}

fn broken(text: &str) -> String {
    problem(text).line().replace("/etc/cofferdam/policies/", "")
}

/// Text of rules, as part of a document that is fine otherwise.
fn rules(rules: &str) -> String {
    format!("policy: shop\ngroups: {{g: [a]}}\nrules:\n{rules}\n")
}

fn name(name: &str) -> Peer {
    Peer::Workload(serde_json::from_value::<Selector>(name.into()).unwrap())
}

fn keys(keys: serde_json::Value) -> Peer {
    Peer::Workload(serde_json::from_value::<Selector>(keys).unwrap())
}

fn network(cidr: &str, except: &[&str]) -> Peer {
    let except = except.iter().map(|network| network.parse().unwrap()).collect();
    Peer::Network(Network { cidr: cidr.parse().unwrap(), except })
}

fn place(line: u32, column: u32) -> Place {
    Place { file: Path::new(FILE).into(), line, column }
}

fn port(protocol: u8, first: u16, last: u16) -> Services {
    Services { protocol: Protocol::Number(protocol), ports: (first, last) }
}

#[test]
fn a_whole_document_is_read() {
    let text = "\
policy: shop
mode: enforce
groups:
  frontends: [shop/web, {project: shop, service: api}]
  bank: [{cidr: 203.0.113.0/24, except: [203.0.113.9]}]
rules:
  - name: db-from-api
    to: shop/db
    deny:
      - {from: {project: ci}}
    allow:
      - {from: shop/api, port: tcp/5432}
      - {from: {group: frontends}, ports: [tcp/8000-8999, udp/53]}
    audit:
      - {from: any, port: icmp}
  - from: [{project: shop}, {group: frontends}]
    allow:
      - {to: {group: bank}, port: tcp/443}
      - {to: [any], port: udp/53}
";
    let shop = |service: &str| keys(serde_json::json!({"project": "shop", "service": service}));
    let entry = |verdict, peers: &[Peer], services: &[Services], line| Entry {
        verdict,
        peers: peers.to_vec(),
        services: services.to_vec(),
        place: place(line, 9),
    };
    let icmp = Services { protocol: Protocol::Icmp, ports: Services::ALL.ports };
    let expected = Policy {
        name: "shop".into(),
        mode: Mode::Enforce,
        rules: vec![
            Rule {
                name: Some("db-from-api".into()),
                direction: Direction::Ingress,
                subjects: vec![name("shop/db")],
                entries: vec![
                    entry(Verdict::Deny, &[keys(serde_json::json!({"project": "ci"}))], &[Services::ALL], 10),
                    entry(Verdict::Allow, &[name("shop/api")], &[port(6, 5_432, 5_432)], 12),
                    entry(
                        Verdict::Allow,
                        &[name("shop/web"), shop("api")],
                        &[port(6, 8_000, 8_999), port(17, 53, 53)],
                        13,
                    ),
                    entry(Verdict::Audit, &[Peer::Any], &[icmp], 15),
                ],
                place: place(7, 5),
            },
            Rule {
                name: None,
                direction: Direction::Egress,
                subjects: vec![keys(serde_json::json!({"project": "shop"})), name("shop/web"), shop("api")],
                entries: vec![
                    entry(
                        Verdict::Allow,
                        &[network("203.0.113.0/24", &["203.0.113.9/32"])],
                        &[port(6, 443, 443)],
                        18,
                    ),
                    entry(Verdict::Allow, &[Peer::Any], &[port(17, 53, 53)], 19),
                ],
                place: place(16, 5),
            },
        ],
    };
    assert_eq!(policies(text), [expected]);
}

#[test]
fn what_a_document_leaves_out_has_its_default() {
    let policy = policies("policy: a\nrules: []\n").remove(0);
    assert_eq!((policy.mode, policy.rules.len()), (Mode::Audit, 0));
    let policy = policies("{policy: a, rules: [{to: any, allow: [{from: any}]}]}").remove(0);
    assert_eq!(policy.rules[0].entries[0].services, [Services::ALL]);
    assert_eq!(policy.rules[0].subjects, [Peer::Any]);
}

#[test]
fn a_file_can_have_several_documents_and_places_are_those_of_the_file() {
    let text = "\u{feff}# first\n---\npolicy: a\nrules: []\n--- # second\npolicy: b\nrules:\n\
        - {to: x}\n...\n---\n{policy: c, rules: []}\n---\n# nothing\n---\n";
    let read = documents(text).unwrap_or_else(|problem| panic!("{problem}"));
    let names: Vec<_> = read.iter().map(|document| (&*document.policy.name, document.place.line)).collect();
    assert_eq!(names, [("a", 3), ("b", 6), ("c", 11)]);
    assert_eq!(read[1].policy.rules[0].place, place(8, 3));
    for nothing in ["", "\n", "# nothing\n", "---\n", "---\n---\n# nothing", "\u{feff}"] {
        assert!(policies(nothing).is_empty(), "{nothing:?}");
    }
    let second = broken("policy: a\nrules: []\n---\nrules: []\npolcy: b\n");
    assert!(second.starts_with("shop.yaml:5:1: `polcy`: "), "{second}");
}

#[test]
fn a_marker_begins_a_document_only_at_the_beginning_of_a_line_and_alone() {
    let texts = |text| parts(text).iter().map(|part| (part.skipped, part.text)).collect::<Vec<_>>();
    assert_eq!(texts("a\n---\nb"), [(0, "a\n"), (1, "---\nb")]);
    assert_eq!(texts("a\r\n---\r\nb"), [(0, "a\r\n"), (1, "---\r\nb")]);
    assert_eq!(texts("--- a\n---\tb\n"), [(0, "--- a\n"), (1, "---\tb\n")]);
    assert_eq!(texts("a\n ---\n---a\n----\n"), [(0, "a\n ---\n---a\n----\n")]);
    assert_eq!(texts("# x\n---\n# y\n\n---\na"), [(4, "---\na")]);
}

#[test]
fn anchors_and_merges_are_taken_and_what_explodes_is_not() {
    let text = "policy: a\nrules:\n  - &r {to: x, allow: [&e {from: y}]}\n  - {<<: *r, to: z}\n  - {to: w, allow: [*e]}\n";
    let policy = policies(text).remove(0);
    assert_eq!(policy.rules[1].entries[0].peers, [name("y")]);
    assert_eq!(policy.rules[2].entries[0].place, place(5, 21));
    let laughs =
        (1..9).fold("policy: a\nrules: []\na0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, at| {
            text + &format!("a{at}: &a{at} [{}]\n", format!("*a{},", at - 1).repeat(10).trim_end_matches(','))
        });
    let peers = format!("policy: a\ngroups: {{g: [{}]}}\nrules:\n", "x,".repeat(PEERS));
    let rule = format!("- {{to: {{group: g}}, allow: [{}]}}\n", "{from: {group: g}},".repeat(2_000));
    for text in [
        laughs,
        "[".repeat(100_000),
        "{policy: ".repeat(100_000),
        format!("policy: a\ngroups: {{g: [{}]}}\nrules: []", "*a,".repeat(300)),
        peers + &rule,
    ] {
        problem(&text);
    }
}

/// As many as a list may have.
const PEERS: usize = 1_024;

#[test]
fn groups_that_no_rule_names_are_known_with_their_place() {
    let text = "policy: a\ngroups:\n  used: x\n  spare: [y]\nrules:\n  - {to: {group: used}}\n";
    let spare = &documents(text).unwrap_or_else(|problem| panic!("{problem}"))[0].spare_groups;
    assert_eq!(*spare, [("spare".into(), place(4, 10))]);
}

#[test]
fn a_problem_is_told_with_its_place_and_key() {
    let all = MALFORMED.iter().map(|text| {
        let line = broken(text);
        format!("{text:?}\n    {line}\n")
    });
    insta::assert_snapshot!(all.collect::<String>(), @r##"
    "rules: []"
        shop.yaml:1:1: the file: lacks `policy`
    "policy: a"
        shop.yaml:1:1: the file: lacks `rules`
    "policy:\nrules: []"
        shop.yaml:1:7: `policy`: null is not allowed here
    "policy: ''\nrules: []"
        shop.yaml:1:9: `policy`: must be a name of 1 to 63 letters and digits of ASCII, `.`, `_` and `-`
    "policy: a b\nrules: []"
        shop.yaml:1:9: `policy`: must be a name of 1 to 63 letters and digits of ASCII, `.`, `_` and `-`
    "policy: größe\nrules: []"
        shop.yaml:1:9: `policy`: must be a name of 1 to 63 letters and digits of ASCII, `.`, `_` and `-`
    "policy: [a]\nrules: []"
        shop.yaml:1:9: `policy`: expected text
    "policy: a\npolicy: b\nrules: []"
        shop.yaml:2:1: the file: duplicate mapping key `policy` is not allowed here
    "polcy: a\nrules: []"
        shop.yaml:1:1: `polcy`: unknown field `polcy`, expected one of policy, mode, groups, rules; did you mean `policy`?
    "policy: a\nrule: []"
        shop.yaml:2:1: `rule`: unknown field `rule`, expected one of policy, mode, groups, rules; did you mean `rules`?
    "policy: a\nmode: enforced\nrules: []"
        shop.yaml:2:7: `mode`: unknown variant `enforced`, expected one of audit, enforce; did you mean `enforce`?
    "policy: a\nmode: off\nrules: []"
        shop.yaml:2:7: `mode`: unknown variant `off`, expected one of audit, enforce
    "policy: a\nmode:\nrules: []"
        shop.yaml:2:5: `mode`: unknown variant `~`, expected one of audit, enforce
    "policy: a\nrules: {}"
        shop.yaml:2:8: `rules`: expected a list
    "policy: a\nrules:"
        shop.yaml:2:6: `rules`: expected a list
    "policy: a\nrules: [shop/db]"
        shop.yaml:2:9: `rules[0]`: expected keys and values
    "policy: a\ngroups: [a]\nrules: []"
        shop.yaml:2:9: `groups`: expected keys and values
    "policy: a\ngroups:\n  g:\nrules: []"
        shop.yaml:3:3: `groups.g`: invalid type: unit value, expected a name in quotes, or keys such as `name`, `group` and `cidr`, or a list of these
    "policy: a\ngroups:\n  g: []\nrules: []"
        shop.yaml:3:6: `groups.g`: must not be empty; `any` is everybody
    "policy: a\ngroups:\n  g h: [a]\nrules: []"
        shop.yaml:3:3: `groups.g h`: must be a name of 1 to 63 letters and digits of ASCII, `.`, `_` and `-`
    "policy: a\ngroups:\n  g: [{group: h}]\n  h: [a]\nrules: []"
        shop.yaml:3:7: `groups.g[0]`: a group does not name other groups
    "policy: a\nrules:\n  - allow: []"
        shop.yaml:3:5: `rules[0]`: lacks `to` or `from`: whom it is about
    "policy: a\nrules:\n  - name: x\n    to: a\n    from: b"
        shop.yaml:3:5: `rules[0]`: has both `to` and `from`: write two rules
    "policy: a\nrules:\n  - to:"
        shop.yaml:3:5: `rules[0].to`: invalid type: unit value, expected a name in quotes, or keys such as `name`, `group` and `cidr`, or a list of these
    "policy: a\nrules:\n  - to: []"
        shop.yaml:3:9: `rules[0].to`: must not be empty; `any` is everybody
    "policy: a\nrules:\n  - to: ''"
        shop.yaml:3:9: `rules[0].to`: must be a pattern of 1 to 256 bytes
    "policy: a\nrules:\n  - to: {}"
        shop.yaml:3:9: `rules[0].to`: must ask for something; `name: "*"` selects all workloads
    "policy: a\nrules:\n  - to: 5432"
        shop.yaml:3:5: `rules[0].to`: invalid type: integer `5432`, expected a name in quotes, or keys such as `name`, `group` and `cidr`, or a list of these
    "policy: a\nrules:\n  - to: [a, [b]]"
        shop.yaml:3:13: `rules[0].to[1]`: invalid type: sequence, expected a name in quotes, or keys such as `name`, `group` and `cidr`
    "policy: a\nrules:\n  - to: '[a'"
        shop.yaml:3:9: `rules[0].to`: `[a` is no pattern: unclosed character class; missing ']'
    "policy: a\nrules:\n  - to: 203.0.113.0/24"
        shop.yaml:3:9: `rules[0].to`: `203.0.113.0/24` is a network: write `{cidr: "203.0.113.0/24"}`
    "policy: a\nrules:\n  - to: {cidr: 203.0.113.0/24}"
        shop.yaml:3:9: `rules[0].to`: a rule is about workloads of this host, and `cidr` is about peers outside
    "policy: a\ngroups: {g: [{cidr: '::/0'}]}\nrules:\n  - from: [a, {group: g}]"
        shop.yaml:4:15: `rules[0].from[1]`: a rule is about workloads of this host, and `cidr` is about peers outside
    "policy: a\nrules:\n  - to: {nmae: a}"
        shop.yaml:3:10: `rules[0].to.nmae`: unknown field `nmae`, expected one of name, image, labels, runtime, project, service, namespace, pod, unit, group, cidr, except; did you mean `name`?
    "policy: a\nrules:\n  - to: {workload: a}"
        shop.yaml:3:10: `rules[0].to.workload`: unknown field `workload`, expected one of name, image, labels, runtime, project, service, namespace, pod, unit, group, cidr, except
    "policy: a\nrules:\n  - to: {runtime: dokcer}"
        shop.yaml:3:19: `rules[0].to.runtime`: unknown variant `dokcer`, expected one of docker, podman, containerd, crio, systemd; did you mean `docker`?
    "policy: a\nrules:\n  - to: {labels: {tier: [a]}}"
        shop.yaml:3:25: `rules[0].to.labels.tier`: expected text
    "policy: a\nrules:\n  - to: {labels: {value: '[a'}}"
        shop.yaml:3:26: `rules[0].to.labels.value`: `[a` is no pattern: unclosed character class; missing ']'
    "policy: a\nrules:\n  - {name: 7, to: a}"
        shop.yaml:3:12: `rules[0].name`: is a number, and rules without a name go by their number
    "policy: a\nrules:\n  - {name: x, to: a}\n  - {name: x, to: b}"
        shop.yaml:4:12: `rules[1].name`: `x` is also the name of the rule at line 3
    "policy: a\nrules:\n  - to: a\n    alow: []"
        shop.yaml:4:5: `rules[0].alow`: unknown field `alow`, expected one of name, to, from, allow, deny, audit; did you mean `allow`?
    "policy: a\nrules:\n  - to: a\n    allow: {from: b}"
        shop.yaml:4:12: `rules[0].allow`: expected a list
    "policy: a\nrules:\n  - to: a\n    allow: [b]"
        shop.yaml:4:13: `rules[0].allow[0]`: expected keys and values
    "policy: a\nrules:\n  - to: a\n    allow:"
        shop.yaml:4:10: `rules[0].allow`: expected a list
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {form: b}"
        shop.yaml:5:10: `rules[0].allow[0].form`: unknown field `form`, expected one of from, to, port, ports; did you mean `from`?
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {to: b}"
        shop.yaml:5:14: `rules[0].allow[0].to`: the rule says `to`, so its entries say `from`: write `from` here
    "policy: a\nrules:\n  - from: a\n    deny:\n      - {to: b}\n      - {port: tcp, from: [b]}"
        shop.yaml:6:27: `rules[0].deny[1].from`: the rule says `from`, so its entries say `to`: write `to` here
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, to: c}"
        shop.yaml:5:9: `rules[0].allow[0]`: has both `from` and `to`: one of them stands in the rule
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {port: tcp/1}"
        shop.yaml:5:9: `rules[0].allow[0]`: lacks the other side: `from` in a rule with `to`, or `to` with `from`
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port: 5432}"
        shop.yaml:5:25: `rules[0].allow[0].port`: `5432` lacks its protocol, as in tcp/5432
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port: tcp/99999}"
        shop.yaml:5:25: `rules[0].allow[0].port`: `tcp/99999`: ports are 1 to 65535, as in tcp/443 or tcp/8000-8999
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port: [tcp/1, udp/1]}"
        shop.yaml:5:25: `rules[0].allow[0].port`: expected text
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, ports: tcp/1}"
        shop.yaml:5:26: `rules[0].allow[0].ports`: expected a list
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, ports: [tcp/1, udp/x]}"
        shop.yaml:5:34: `rules[0].allow[0].ports[1]`: `udp/x`: ports are 1 to 65535, as in udp/443 or udp/8000-8999
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, ports: []}"
        shop.yaml:5:9: `rules[0].allow[0]`: has no ports: leave `ports` out if all are meant
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port: tcp, ports: [udp]}"
        shop.yaml:5:9: `rules[0].allow[0]`: has both `port` and `ports`: write `ports` only
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port:}"
        shop.yaml:5:23: `rules[0].allow[0].port`: null is not allowed here
    "policy: a\nrules:\n  - to: a\n    audit:\n      - from: {group: bnak}\ngroups: {bank: [x]}"
        shop.yaml:5:15: `rules[0].audit[0].from`: there is no group `bnak` in this document; did you mean `bank`?
    "policy: a\nrules:\n  - to: {group: g}"
        shop.yaml:3:9: `rules[0].to`: there is no group `g` in this document: it has no `groups`
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {group: g, name: b}}"
        shop.yaml:5:16: `rules[0].allow[0].from`: `group` and `cidr` stand alone: write a list to name several peers
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.0/24, project: b}}"
        shop.yaml:5:16: `rules[0].allow[0].from`: `group` and `cidr` stand alone: write a list to name several peers
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {except: [203.0.113.0/24]}}"
        shop.yaml:5:16: `rules[0].allow[0].from`: `except` belongs to a `cidr`
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.7/24}}"
        shop.yaml:5:23: `rules[0].allow[0].from.cidr`: `203.0.113.7/24` has bits beyond the length of its prefix; did you mean 203.0.113.0/24?
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: example.com}}"
        shop.yaml:5:23: `rules[0].allow[0].from.cidr`: `example.com` is not a network, as in 203.0.113.0/24 or 2001:db8::/32
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.0/24, except: [203.0.114.0]}}"
        shop.yaml:5:16: `rules[0].allow[0].from`: 203.0.114.0/32 in `except` does not lie in 203.0.113.0/24
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.0/24, except: [203.0.113.0/24]}}"
        shop.yaml:5:16: `rules[0].allow[0].from`: 203.0.113.0/24 in `except` leaves nothing of it
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.0/24, except: 203.0.113.9}}"
        shop.yaml:5:47: `rules[0].allow[0].from.except`: expected a list
    "policy: a\nrules:\n  - to: *x"
        shop.yaml:3:9: `rules[0]`: reference to unknown value
    "policy: a\nrules: ["
        shop.yaml:2:8: `rules`: unclosed bracket '['
    "policy: a\nrules:\n - to: a\n- to: b"
        shop.yaml:4:3: the file: while parsing a block mapping, did not find expected key
    "policy: a\nrules:\n\t- to: a"
        shop.yaml:3:2: the file: tabs disallowed within this context (block indentation)
    "##);
}

const MALFORMED: &[&str] = &[
    "rules: []",
    "policy: a",
    "policy:\nrules: []",
    "policy: ''\nrules: []",
    "policy: a b\nrules: []",
    "policy: größe\nrules: []",
    "policy: [a]\nrules: []",
    "policy: a\npolicy: b\nrules: []",
    "polcy: a\nrules: []",
    "policy: a\nrule: []",
    "policy: a\nmode: enforced\nrules: []",
    "policy: a\nmode: off\nrules: []",
    "policy: a\nmode:\nrules: []",
    "policy: a\nrules: {}",
    "policy: a\nrules:",
    "policy: a\nrules: [shop/db]",
    "policy: a\ngroups: [a]\nrules: []",
    "policy: a\ngroups:\n  g:\nrules: []",
    "policy: a\ngroups:\n  g: []\nrules: []",
    "policy: a\ngroups:\n  g h: [a]\nrules: []",
    "policy: a\ngroups:\n  g: [{group: h}]\n  h: [a]\nrules: []",
    "policy: a\nrules:\n  - allow: []",
    "policy: a\nrules:\n  - name: x\n    to: a\n    from: b",
    "policy: a\nrules:\n  - to:",
    "policy: a\nrules:\n  - to: []",
    "policy: a\nrules:\n  - to: ''",
    "policy: a\nrules:\n  - to: {}",
    "policy: a\nrules:\n  - to: 5432",
    "policy: a\nrules:\n  - to: [a, [b]]",
    "policy: a\nrules:\n  - to: '[a'",
    "policy: a\nrules:\n  - to: 203.0.113.0/24",
    "policy: a\nrules:\n  - to: {cidr: 203.0.113.0/24}",
    "policy: a\ngroups: {g: [{cidr: '::/0'}]}\nrules:\n  - from: [a, {group: g}]",
    "policy: a\nrules:\n  - to: {nmae: a}",
    "policy: a\nrules:\n  - to: {workload: a}",
    "policy: a\nrules:\n  - to: {runtime: dokcer}",
    "policy: a\nrules:\n  - to: {labels: {tier: [a]}}",
    "policy: a\nrules:\n  - to: {labels: {value: '[a'}}",
    "policy: a\nrules:\n  - {name: 7, to: a}",
    "policy: a\nrules:\n  - {name: x, to: a}\n  - {name: x, to: b}",
    "policy: a\nrules:\n  - to: a\n    alow: []",
    "policy: a\nrules:\n  - to: a\n    allow: {from: b}",
    "policy: a\nrules:\n  - to: a\n    allow: [b]",
    "policy: a\nrules:\n  - to: a\n    allow:",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {form: b}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {to: b}",
    "policy: a\nrules:\n  - from: a\n    deny:\n      - {to: b}\n      - {port: tcp, from: [b]}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, to: c}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {port: tcp/1}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port: 5432}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port: tcp/99999}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port: [tcp/1, udp/1]}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, ports: tcp/1}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, ports: [tcp/1, udp/x]}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, ports: []}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port: tcp, ports: [udp]}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: b, port:}",
    "policy: a\nrules:\n  - to: a\n    audit:\n      - from: {group: bnak}\ngroups: {bank: [x]}",
    "policy: a\nrules:\n  - to: {group: g}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {group: g, name: b}}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.0/24, project: b}}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {except: [203.0.113.0/24]}}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.7/24}}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: example.com}}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.0/24, except: [203.0.114.0]}}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.0/24, except: [203.0.113.0/24]}}",
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.0/24, except: 203.0.113.9}}",
    "policy: a\nrules:\n  - to: *x",
    "policy: a\nrules: [",
    "policy: a\nrules:\n - to: a\n- to: b",
    "policy: a\nrules:\n\t- to: a",
];

#[test]
fn a_problem_shows_the_line_and_the_key_in_question() {
    let text = rules("  - to: shop/db\n    allow: [{ form: shop/api }]");
    insta::assert_snapshot!(problem(&text).to_string(), @r##"
    error: `rules[0].allow[0].form`: unknown field `form`, expected one of from, to, port, ports; did you mean `from`?
     --> /etc/cofferdam/policies/shop.yaml:5:15
      |
    3 | rules:
    4 |   - to: shop/db
    5 |     allow: [{ form: shop/api }]
      |               ^^^^ unknown field `form`, expected one of from, to, port, ports; did you mean `from`?
    "##);
    let text = rules("  - to: shop/db\n    allow:\n      - {from: {group: h}, port: tcp/5432}\n  - to: x");
    insta::assert_snapshot!(problem(&text).to_string(), @r##"
    error: `rules[0].allow[0].from`: there is no group `h` in this document; did you mean `g`?
     --> /etc/cofferdam/policies/shop.yaml:6:16
      |
    4 |   - to: shop/db
    5 |     allow:
    6 |       - {from: {group: h}, port: tcp/5432}
      |                ^ there is no group `h` in this document; did you mean `g`?
    7 |   - to: x
      |
    "##);
}

#[test]
fn a_full_set_is_taken_and_one_rule_more_is_not() {
    let text = (0..1_000).fold("policy: a\nrules:\n".to_owned(), |text, number| {
        text + &format!("- {{to: w{number}, allow: [{{from: v{number}, port: tcp/5432}}]}}\n")
    });
    // So much text is enough for as many rules as there may be, and its YAML costs no more than it may.
    assert!(text.len() * RULES_LIMIT / 1_000 < 16 << 20);
    let mut totals = Totals { rules: RULES_LIMIT - 1_000, ..Totals::default() };
    let full =
        read(&Path::new(FILE).into(), &text, &mut totals).unwrap_or_else(|problem| panic!("{problem}"));
    assert_eq!(full[0].policy.rules.len(), 1_000);
    let problem = read(&Path::new(FILE).into(), &text, &mut totals).unwrap_err();
    assert!(problem.line().contains("shop.yaml:3:3: `rules[0]`: is one rule too many"), "{problem}");
}

#[test]
fn too_many_of_anything_are_told_at_the_first_too_many() {
    let many = |part: &str, count: usize| vec![part; count].join(", ");
    let documents = (0..=DOCUMENTS_LIMIT).map(|at| format!("---\npolicy: p{at}\nrules: []\n"));
    let groups = (0..=GROUPS_LIMIT).map(|at| format!("g{at:04}: a")).collect::<Vec<_>>();
    let all = [
        documents.collect(),
        format!("policy: a\ngroups: {{{}}}\nrules: []", groups.join(", ")),
        rules(&format!("  - to: [{}]", many("a", PEERS + 1))),
        rules(&format!("  - to: a\n    allow: [{}]", many("{from: a}", ENTRIES_LIMIT + 1))),
        rules(&format!("  - to: a\n    allow: [{{from: a, ports: [{}]}}]", many("tcp", 257))),
        rules(&format!(
            "  - to: a\n    allow: [{{from: {{cidr: '::/0', except: [{}]}}}}]",
            many("'::1'", 257)
        )),
    ];
    let all = all.map(|text| broken(&text) + "\n").join("");
    insta::assert_snapshot!(all, @r##"
    shop.yaml:3074:9: `policy`: is one document too many: a file has 1024 at most
    shop.yaml:2:10257: `groups.g1024`: is one group too many: a document has 1024 at most
    shop.yaml:4:9: `rules[0].to`: has more than 1024 peers
    shop.yaml:5:12: `rules[0].allow`: has more than 4096 items
    shop.yaml:5:30: `rules[0].allow[0].ports`: has more than 256 items
    shop.yaml:5:20: `rules[0].allow[0].from`: `except` has 257 networks, 256 at most
    "##);
    let over_all_files = [
        Totals { entries: ALL_ENTRIES_LIMIT, ..Totals::default() },
        Totals { peers: ALL_PEERS_LIMIT - 1, ..Totals::default() },
        Totals { expressions: EXPRESSIONS_LIMIT, ..Totals::default() },
    ];
    let all = over_all_files.map(|mut totals| {
        let text = rules("  - to: a\n    allow: [{from: 'b*c'}]");
        let problem = read(&Path::new(FILE).into(), &text, &mut totals).unwrap_err();
        problem.line().to_owned() + "\n"
    });
    insta::assert_snapshot!(all.join(""), @r##"
    /etc/cofferdam/policies/shop.yaml:5:13: `rules[0].allow[0]`: is one entry too many: there can be 1000000 over all files
    /etc/cofferdam/policies/shop.yaml:4:9: `rules[0].to`: is one peer too many: there can be 2000000 over all files, groups written out
    /etc/cofferdam/policies/shop.yaml:5:20: `rules[0].allow[0].from`: is one pattern too many: 10000 over all files can have wildcards other than one `*` at their end
    "##);
}

#[test]
fn a_message_repeats_nothing_that_a_terminal_would_obey_and_stays_short() {
    let long = "é".repeat(32_768);
    for text in [
        "\"a\\e[2Jb\": 1".to_owned(),
        "policy: \"\u{202e}x\\nerror: y\"\nrules: []".to_owned(),
        "poli\u{9b}cy: 1".to_owned(),
        format!("policy: {long}\nrules: []"),
        format!("{long}: 1"),
        rules(&format!("  - to: {long}")),
        rules(&format!("  - {{to: a, {long}: b}}")),
        rules(&format!("  - {{to: a, allow: [{{from: a, port: {long}}}]}}")),
        rules(&format!("  - {{to: [{}, {{group: nobody}}]}}", "\"\u{202e}\", ".repeat(1_000))),
        rules("  - {to: \"[\\e]0;x\\a\"}"),
        rules("  - {to: a, allow: [{from: {cidr: \"\\u202e\\e[2J\"}}]}"),
        rules("  - {to: {group: \"\\e[2J\"}}"),
        rules(&format!("  - {{to: a}} # {}\n  - {{to: []}}", "\u{1b}[2J\u{202e}".repeat(5_000))),
    ] {
        let problem = problem(&text);
        let shown = problem.to_string();
        assert!(!shown.contains(|it| it != '\n' && is_hostile(it)), "{shown:?}");
        assert!(!problem.line().contains(is_hostile), "{:?}", problem.line());
        assert!(shown.lines().count() < 12 && shown.len() < 5_000, "{} {shown}", shown.len());
        assert!(problem.line().len() < 2_000, "{}", problem.line());
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_say_something_harmful(
        text in "\\PC*|.*|((policy|rules|groups|to|from|allow|deny|port|group|cidr|a|any|tcp/1): ?|[-:{}\\[\\],&*!|> \n\"'#a0/.]){0,60}",
    ) {
        if let Err(problem) = documents(&text) {
            prop_assert!(!problem.to_string().contains(|it| it != '\n' && is_hostile(it)));
            prop_assert!(!problem.line().contains(is_hostile));
        }
    }

    #[test]
    fn no_rule_makes_it_panic(rule in "((to|from|allow|deny|audit|port|ports|group|cidr|except|name): ?|[-{}\\[\\], \n'a0/.]|any|tcp/1){0,40}") {
        let _ = documents(&rules(&format!("  - {rule}")));
    }
}
