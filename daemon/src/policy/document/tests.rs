//! Texts in, policies and messages out.

mod malformed;

use proptest::prelude::*;

use super::*;
use crate::{
    config::Selector,
    event::is_hostile,
    policy::{
        model::{Direction, Entry, Mode, Network, Peer, Protocol, Rule, Services, Verdict},
        samples,
    },
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
fn dns_names_are_read_in_one_spelling_also_by_way_of_a_group() {
    let text = "\
policy: a
groups: {updates: [{dns: 'DEB.debian.org.'}, {dns: '*.Ubuntu.com'}]}
rules:
  - from: x
    allow: [{to: {group: updates}, port: tcp/443}]
    audit: [{to: [{dns: db}, y]}]
";
    let rule = policies(text).remove(0).rules.remove(0);
    let [one, two] = &rule.entries[..] else { panic!("{rule:?}") };
    assert_eq!(one.peers, [samples::dns("deb.debian.org"), samples::dns("*.ubuntu.com")]);
    assert_eq!((two.verdict, &two.peers[..]), (Verdict::Audit, &[samples::dns("db"), name("y")][..]));
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
    let second = broken("policy: a\nrules: []\n---\n# second\npolicy: b\n");
    assert_eq!(second, "shop.yaml:5:1: the file: lacks `rules`");
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
fn a_problem_shows_the_line_and_the_key_in_question() {
    let shown = problem("policy: shop\nrules:\n  - to: shop/db\n    allow: [{ form: shop/api }]").to_string();
    assert!(include_str!("../../../../docs/policy.md").contains(&shown), "docs/policy.md lacks\n{shown}");
    let text = rules("  - to: shop/db\n    allow:\n      - {from: {group: h}, port: tcp/5432}\n  - to: x");
    insta::assert_snapshot!(problem(&text).to_string(), @r##"
    error: `rules[0].allow[0].from`: there is no group `h` in this document
     --> /etc/cofferdam/policies/shop.yaml:6:16
      |
    4 |   - to: shop/db
    5 |     allow:
    6 |       - {from: {group: h}, port: tcp/5432}
      |                ^ there is no group `h` in this document
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

/// The documents that the documentation shows. What is a list has expectations.
fn examples() -> Vec<&'static str> {
    let page = include_str!("../../../../docs/policy.md");
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|text| !text.starts_with("- ")).collect()
}

#[test]
fn the_examples_of_the_documentation_are_policies() {
    let examples = examples();
    assert!(examples.len() >= 4);
    for text in examples {
        assert_eq!(policies(text).len(), 1, "{text}");
    }
}

#[test]
fn the_schema_takes_the_examples_and_refuses_what_is_refused() {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler.add_resource("policy.json", schema().to_value()).unwrap();
    let index = compiler.compile("policy.json", &mut schemas).unwrap();
    let takes = |text: &str| {
        let value = parse(&Text::new(Path::new(FILE), text), text, 0, COST);
        let value: serde_json::Value = value.unwrap_or_else(|problem| panic!("{problem}"));
        schemas.validate(&value, index).map_err(|error| error.to_string())
    };
    for text in examples() {
        assert_eq!(takes(text), Ok(()), "{text}");
    }
    for text in [
        "policy: a",
        "policy: a b\nrules: []",
        "policy: a\nrule: []\nrules: []",
        "policy: a\nmode: off\nrules: []",
        "policy: a\nrules: [{allow: []}]",
        "policy: a\nrules: [{to: a, from: b}]",
        "policy: a\nrules: [{to: {}}]",
        "policy: a\nrules: [{to: {nmae: a}}]",
        "policy: a\nrules: [{to: {group: g, name: a}}]",
        "policy: a\nrules: [{to: {runtime: lxc}}]",
        "policy: a\nrules: [{to: []}]",
        "policy: a\nrules: [{to: a, allow: [b]}]",
        "policy: a\nrules: [{to: a, allow: [{port: tcp}]}]",
        "policy: a\nrules: [{to: a, allow: [{from: b, port: tpc}]}]",
        "policy: a\nrules: [{to: a, allow: [{from: b, ports: tcp}]}]",
    ] {
        assert!(takes(text).is_err(), "{text}");
        problem(text);
    }
}
