//! Objects of Kubernetes, one by one.

use super::{imported, missing, notes, refused};

/// A policy of namespace `shop` with this in its `spec`.
fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: db\n  namespace: shop\nspec:\n{spec}"
    )
}

/// The rules that come of it.
fn rules(spec: &str) -> String {
    let text = imported(&policy(spec));
    text.split_once("\nrules:").expect("rules").1.trim_start_matches('\n').to_owned()
}

#[test]
fn a_policy_and_what_comes_of_it_are_as_the_documentation_has_them() {
    let page = include_str!("../../../../../docs/policy.md");
    let text = page.split_once("```yml\n# networkpolicy.yaml\n").expect("an example").1;
    let (text, rest) = text.split_once("```").expect("its end");
    let imported =
        imported(&format!("# networkpolicy.yaml\n{text}")).replace("file.yaml", "networkpolicy.yaml");
    let imported = imported.replace("mode: enforce", "mode: audit");
    assert!(rest.contains(&imported), "docs/policy.md lacks\n{imported}");
}

#[test]
fn no_rules_deny_all_but_the_node() {
    let node = "    allow:\n      # Kubernetes lets the node";
    for spec in
        ["  podSelector: {}\n", "  ingress: []\n", "  podSelector: {}\n  egress: []\n", "  policyTypes: []\n"]
    {
        let rules = rules(spec);
        let begin = format!("  - name: ingress\n    to: {{namespace: shop}}\n{node}");
        assert!(rules.starts_with(&begin), "{rules}");
        assert!(rules.ends_with("      - {from: [host, {unit: \"*\"}]}\n"), "{rules}");
        assert!(!rules.contains("egress"), "{rules}");
    }
    let both = rules("  policyTypes: [Ingress, Egress]\n");
    assert!(both.contains("  - name: egress\n    from: {namespace: shop}\n"), "{both}");
}

#[test]
fn an_empty_rule_allows_all_and_so_do_empty_lists() {
    for rule in ["{}", "{from: [], ports: []}", "{from: null, ports: null}"] {
        assert_eq!(
            rules(&format!("  ingress: [{rule}]\n")),
            "  - name: ingress\n    to: {namespace: shop}\n    allow:\n      - {from: any}\n"
        );
    }
    let egress = rules("  policyTypes: [Egress]\n  egress: [{ports: [{port: 53, protocol: UDP}]}]\n");
    assert!(egress.starts_with(
        "  - name: egress\n    from: {namespace: shop}\n    allow:\n      - {to: any, port: udp/53}\n"
    ));
}

#[test]
fn a_peer_with_two_selectors_is_both_and_two_peers_are_either() {
    let both = rules(
        "  ingress:
    - from:
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: web}}
          podSelector: {matchLabels: {app: api}}\n",
    );
    assert!(both.contains("- {from: {namespace: web, labels: {app: api}}}\n"), "{both}");
    let either = rules(
        "  ingress:
    - from:
        - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: web}}
        - podSelector: {matchLabels: {app: api}}
        - namespaceSelector: {}
          podSelector: {matchLabels: {app: all}}\n",
    );
    let peers =
        "[{namespace: web}, {namespace: shop, labels: {app: api}}, {namespace: \"*\", labels: {app: all}}]";
    assert!(either.contains(&format!("- {{from: {peers}}}\n")), "{either}");
}

#[test]
fn expressions_become_selectors_or_are_missing() {
    let told = rules(
        "  podSelector:
    matchLabels: {app: db}
    matchExpressions:
      - {key: tier, operator: In, values: [a, b, a]}
      - {key: app, operator: Exists}
      - {key: zone, operator: Exists}\n",
    );
    let [a, b] =
        ["a", "b"].map(|tier| format!("{{namespace: shop, labels: {{app: db, tier: {tier}, zone: \"*\"}}}}"));
    assert!(told.contains(&format!("    to: [{a}, {b}]\n")), "{told}");

    for (expression, why) in [
        ("{key: a, operator: NotIn, values: [b]}", "cannot say `NotIn`"),
        ("{key: a, operator: DoesNotExist}", "cannot say `DoesNotExist`"),
        ("{key: a, operator: In}", "`In` needs `values`"),
        ("{key: a, operator: Exists, values: [b]}", "`Exists` has no `values`"),
        ("{key: a, operator: In, values: ['']}", "a label without a value"),
        ("{key: a, operator: In, values: ['*']}", "is no value that a label can have"),
    ] {
        let (lines, text) =
            missing(&policy(&format!("  podSelector: {{matchExpressions: [{expression}]}}\n")));
        assert_eq!(lines.len(), 1);
        assert!(lines[0].starts_with("file.yaml:7:"), "{lines:?}");
        assert!(
            lines[0].contains("`spec.podSelector.matchExpressions[0]") && lines[0].contains(why),
            "{lines:?}"
        );
        // Nobody knows whom it was about.
        assert!(!text.contains("policy:") && text.starts_with("# Missing: NetworkPolicy shop/db"), "{text}");
    }
    let (lines, _) = missing(&policy("  podSelector: {matchLabels: {a: '*'}}\n"));
    assert!(lines[0].contains("`spec.podSelector.matchLabels.a`: is no value"), "{lines:?}");
}

#[test]
fn what_contradicts_itself_selects_nobody() {
    let spec =
        "  podSelector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [c]}]}\n";
    assert!(imported(&policy(spec)).ends_with("rules: []\n"));
    assert!(notes(&policy(spec))[0].contains("selects nobody"));
    let peer = "  ingress: [{from: [{podSelector: {matchLabels: {a: b}, matchExpressions: [{key: a, operator: In, values: [c]}]}}]}]\n";
    assert!(!rules(peer).contains("namespace: shop, labels"));
}

#[test]
fn a_selector_that_would_be_too_many_is_missing() {
    let values: Vec<_> = (0..40).map(|number| format!("v{number}")).collect();
    let expression = |key: &str| format!("{{key: {key}, operator: In, values: [{}]}}", values.join(", "));
    let spec = format!("  podSelector: {{matchExpressions: [{}, {}]}}\n", expression("a"), expression("b"));
    assert!(missing(&policy(&spec)).0[0].contains("becomes more than 1024 selectors"));
}

#[test]
fn what_cannot_be_told_of_a_rule_is_left_out_and_never_becomes_all() {
    for (rule, key, why) in [
        ("ports: [{port: http}]", "ingress[0].ports[0]", "only the pods' own specification says"),
        ("ports: [{endPort: 90}]", "ingress[0].ports[0]", "`endPort` needs a `port`"),
        ("ports: [{port: 90, endPort: 80}]", "ingress[0].ports[0]", "less than `port`"),
        ("ports: [{port: 0}]", "ingress[0].ports[0]", "1 to 65535"),
        ("ports: [{port: 70000}]", "ingress[0].ports[0]", "1 to 65535"),
        ("from: [{}]", "ingress[0].from[0]", "must have selectors or an `ipBlock`"),
        ("from: [{podSelector: {}, ipBlock: {cidr: 10.0.0.0/8}}]", "ingress[0].from[0]", "and not both"),
        ("from: [{ipBlock: {cidr: 10.0.0.1}}]", "ingress[0].from[0].ipBlock.cidr", "is no network"),
        (
            "from: [{ipBlock: {cidr: \"::ffff:192.0.2.0/120\"}}]",
            "ingress[0].from[0].ipBlock.cidr",
            "is no network",
        ),
        (
            "from: [{ipBlock: {cidr: 10.0.0.0/8, except: [192.0.2.0/24]}}]",
            "ingress[0].from[0].ipBlock.except[0]",
            "does not lie within 10.0.0.0/8",
        ),
        (
            "from: [{namespaceSelector: {matchLabels: {team: a}}}]",
            "ingress[0].from[0].namespaceSelector.matchLabels.team",
            "labels of namespaces are not known",
        ),
        (
            "from: [{podSelector: {matchExpressions: [{key: a, operator: DoesNotExist}]}}]",
            "ingress[0].from[0].podSelector.matchExpressions[0]",
            "cannot say",
        ),
    ] {
        let (lines, text) = missing(&policy(&format!("  ingress:\n    - {rule}\n")));
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0].starts_with("file.yaml:8:"), "{lines:?}");
        assert!(lines[0].contains(&format!("`spec.{key}`")) && lines[0].contains(why), "{rule}: {lines:?}");
        assert!(text.contains(&format!("# Missing: {}", lines[0])), "{text}");
        assert!(!text.contains("any") && text.contains("{unit: \"*\"}"), "{text}");
    }
    let some = "  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: http}, {port: 80}]}]\n";
    assert!(missing(&policy(some)).1.contains("{from: {cidr: 10.0.0.0/8}, port: tcp/80}"));
}

#[test]
fn blocks_and_ports_are_told_as_they_are() {
    let rules = rules(
        "  ingress:
    - from: [{ipBlock: {cidr: 10.1.2.3/8, except: [10.1.0.0/16, 10.2.0.0/16]}}, {ipBlock: {cidr: \"2001:db8::/32\"}}]
      ports:
        - {port: 80}
        - {port: 8000, endPort: 8999, protocol: TCP}
        - {port: 53, protocol: UDP}
        - {protocol: SCTP}
        - {}\n",
    );
    let peers = "[{cidr: 10.0.0.0/8, except: [10.1.0.0/16, 10.2.0.0/16]}, {cidr: 2001:db8::/32}]";
    let ports = "[tcp/80, tcp/8000-8999, udp/53, sctp, tcp]";
    let entry = format!(
        "      # Peers outside only; some networks of Kubernetes mean pods by it, too.\n      - {{from: {peers}, ports: {ports}}}\n"
    );
    assert!(rules.contains(&entry), "{rules}");
}

#[test]
fn more_ports_and_peers_than_one_entry_has_become_several() {
    let ports: Vec<_> = (1..=300).map(|port| format!("{{port: {port}}}")).collect();
    let peers: Vec<_> =
        (0..1_100).map(|number| format!("{{podSelector: {{matchLabels: {{a: v{number}}}}}}}")).collect();
    let rules =
        rules(&format!("  ingress: [{{from: [{}], ports: [{}]}}]\n", peers.join(", "), ports.join(", ")));
    assert_eq!(rules.matches("- {from: [{namespace").count(), 4);
}

#[test]
fn policy_types_say_which_lists_count() {
    let spec = "  policyTypes: [Egress]\n  ingress: [{}]\n";
    assert!(!rules(spec).contains("ingress"));
    assert!(notes(&policy(spec))[0].contains("`ingress` means nothing"), "{:?}", notes(&policy(spec)));
    let both = rules("  ingress: [{}]\n  egress: [{}]\n");
    assert!(both.contains("name: ingress") && both.contains("name: egress"));
    assert!(!rules("  egress: []\n").contains("name: egress"));
}

#[test]
fn a_slip_is_refused_and_opens_nothing() {
    for (spec, why) in [
        ("  podSelektor: {}\n", "`spec.podSelektor`: unknown field"),
        ("  ingress: [{form: []}]\n", "did you mean `from`?"),
        ("  ingress: [{from: [{podSelector: {matchLabel: {}}}]}]\n", "unknown field `matchLabel`"),
        ("  policyTypes: [ingress]\n", "unknown variant"),
        ("  ingress: [null]\n", "file.yaml:7:"),
    ] {
        let problem = refused(&policy(spec));
        assert!(problem.starts_with("file.yaml:7:") && problem.contains(why), "{problem}");
    }
}

#[test]
fn the_namespace_is_said_or_given_or_noted() {
    let text = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a}\n";
    assert!(imported(text).contains("policy: default.a\n"));
    assert!(notes(text)[0].contains("is taken for one of `default`"));
    let odd = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: '*'}\n";
    assert!(missing(odd).0[0].contains("`metadata.namespace`: is no name"));
}

#[test]
fn lists_and_documents_are_read_and_other_kinds_are_noted() {
    let one = "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: NAME, namespace: n}}";
    let [a, b] = ["a", "b"].map(|name| one.replace("NAME", name));
    let service = "{apiVersion: v1, kind: Service, metadata: {name: web}, spec: {ports: [{port: 80}]}}";
    let names = |text: &str| {
        let text = imported(text);
        let names = text.lines().filter_map(|line| line.strip_prefix("policy: ")).map(str::to_owned);
        names.collect::<Vec<_>>()
    };
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {service}\n- {a}\n- {service}\n- {b}\n");
    assert_eq!(names(&list), ["n.a", "n.b"]);
    assert_eq!(notes(&list)[0], "file.yaml:4: Service web (v1) is not imported");
    // Its items need not say what they are, and keys have no order.
    let bare = "{spec: {ingress: [{}]}, metadata: {name: c, namespace: n}}";
    let own = format!("items:\n- {bare}\n- {a}\nkind: NetworkPolicyList\napiVersion: networking.k8s.io/v1\n");
    assert_eq!(names(&own), ["n.c", "n.a"]);
    let documents = format!("---\n{service}\n---\n# none\n---\n{a}\n---\n{b}\n");
    assert_eq!(names(&documents), ["n.a", "n.b"]);
    let other = a.replace("networking.k8s.io/v1", "crd.projectcalico.org/v1");
    assert_eq!(
        notes(&format!("---\n{other}\n")),
        ["file.yaml:2: NetworkPolicy a (crd.projectcalico.org/v1) is not imported"]
    );
    let broken =
        format!("kind: List\nitems:\n- {service}\n- {}\n", a.replace("metadata", "spec: {x: 1}, metadata"));
    assert!(refused(&broken).contains("file.yaml:4:"), "{}", refused(&broken));
    let untold = format!(
        "kind: List\nitems:\n- {service}\n- {}\n",
        a.replace("metadata", "spec: {ingress: [{ports: [{port: x}]}]}, metadata")
    );
    assert!(missing(&untold).0[0].contains("`items[1].spec.ingress[0].ports[0]`"), "{:?}", missing(&untold));
}

#[test]
fn what_nobody_reads_may_be_deep() {
    let deep = format!("kind: CustomResourceDefinition\nspec: {}1{}\n", "{a: ".repeat(50), "}".repeat(50));
    assert_eq!(notes(&deep).len(), 1);
}
