//! Documents that are not taken, and what is said about each.

use super::broken;

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
    "policy: a\nrules:\n  - to: 10.0.0.0/33",
    "policy: a\nrules:\n  - to: {cidr: 203.0.113.0/24}",
    "policy: a\ngroups: {g: [{cidr: '::/0'}]}\nrules:\n  - from: [a, {group: g}]",
    "policy: a\nrules:\n  - to: {dns: a.b}",
    "policy: a\ngroups: {g: [{dns: a.b}]}\nrules:\n  - from: [a, {group: g}]",
    "policy: a\nrules:\n  - to: x\n    allow:\n      - {from: [a, {dns: a.b}]}",
    "policy: a\nrules:\n  - from: x\n    deny:\n      - {to: {dns: a.b}}",
    "policy: a\ngroups: {g: [a, {dns: a.b}]}\nrules:\n  - from: x\n    deny:\n      - {to: {group: g}}",
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: a.b, cidr: 203.0.113.0/24}}",
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: a.b, name: c}}",
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: '*'}}",
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: a.*.b}}",
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: 203.0.113.7}}",
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: größe.example}}",
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: a..b}}",
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: 'https://a.b/c'}}",
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: [a.b]}}",
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
        shop.yaml:3:4: `groups.g`: lacks a value; `any` is everybody
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
        shop.yaml:3:7: `rules[0].to`: lacks a value; `any` is everybody
    "policy: a\nrules:\n  - to: []"
        shop.yaml:3:9: `rules[0].to`: must not be empty; `any` is everybody
    "policy: a\nrules:\n  - to: ''"
        shop.yaml:3:9: `rules[0].to`: must be a pattern of 1 to 256 bytes
    "policy: a\nrules:\n  - to: {}"
        shop.yaml:3:9: `rules[0].to`: must ask for something; `name: "*"` selects all workloads
    "policy: a\nrules:\n  - to: 5432"
        shop.yaml:3:9: `rules[0].to`: `5432` is no text: a name like that needs quotes
    "policy: a\nrules:\n  - to: [a, [b]]"
        shop.yaml:3:13: `rules[0].to[1]`: must not be a list: lists hold no lists
    "policy: a\nrules:\n  - to: '[a'"
        shop.yaml:3:9: `rules[0].to`: `[a` is no pattern: unclosed character class; missing ']'
    "policy: a\nrules:\n  - to: 203.0.113.0/24"
        shop.yaml:3:9: `rules[0].to`: `203.0.113.0/24` is a network: write `{cidr: "203.0.113.0/24"}`
    "policy: a\nrules:\n  - to: 10.0.0.0/33"
        shop.yaml:3:9: `rules[0].to`: `10.0.0.0/33` is no name: a network is written as `{cidr: 192.0.2.0/24}`
    "policy: a\nrules:\n  - to: {cidr: 203.0.113.0/24}"
        shop.yaml:3:9: `rules[0].to`: a rule is about workloads of this host, and `cidr` is about peers outside
    "policy: a\ngroups: {g: [{cidr: '::/0'}]}\nrules:\n  - from: [a, {group: g}]"
        shop.yaml:4:15: `rules[0].from[1]`: a rule is about workloads of this host, and `cidr` is about peers outside
    "policy: a\nrules:\n  - to: {dns: a.b}"
        shop.yaml:3:9: `rules[0].to`: a rule is about workloads of this host, and `dns` is about peers outside: it stands in `to` of an entry
    "policy: a\ngroups: {g: [{dns: a.b}]}\nrules:\n  - from: [a, {group: g}]"
        shop.yaml:4:15: `rules[0].from[1]`: a rule is about workloads of this host, and `dns` is about peers outside: it stands in `to` of an entry
    "policy: a\nrules:\n  - to: x\n    allow:\n      - {from: [a, {dns: a.b}]}"
        shop.yaml:5:20: `rules[0].allow[0].from[1]`: `dns` is about whom a workload sends to, by the name that it has looked up; of who sends to it only the address is known: write `cidr`
    "policy: a\nrules:\n  - from: x\n    deny:\n      - {to: {dns: a.b}}"
        shop.yaml:5:14: `rules[0].deny[0].to`: `dns` only allows: whoever dials the address without looking it up would not be denied. Write `cidr`, or allow what may be sent and leave this out
    "policy: a\ngroups: {g: [a, {dns: a.b}]}\nrules:\n  - from: x\n    deny:\n      - {to: {group: g}}"
        shop.yaml:6:14: `rules[0].deny[0].to`: `dns` only allows: whoever dials the address without looking it up would not be denied. Write `cidr`, or allow what may be sent and leave this out
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: a.b, cidr: 203.0.113.0/24}}"
        shop.yaml:5:14: `rules[0].allow[0].to`: `dns` stands alone: write a list to name several peers
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: a.b, name: c}}"
        shop.yaml:5:14: `rules[0].allow[0].to`: `group`, `cidr` and `dns` stand alone: write a list to name several peers
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: '*'}}"
        shop.yaml:5:20: `rules[0].allow[0].to.dns`: `*` is every name: `any` is everybody, and `cidr` has peers outside by address
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: a.*.b}}"
        shop.yaml:5:20: `rules[0].allow[0].to.dns`: `a.*.b` has a `*` elsewhere than as its first label, as in `*.example.org`
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: 203.0.113.7}}"
        shop.yaml:5:20: `rules[0].allow[0].to.dns`: `203.0.113.7` is no name: write `{cidr: "203.0.113.7"}`
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: größe.example}}"
        shop.yaml:5:20: `rules[0].allow[0].to.dns`: `größe.example` is not as it is looked up: write it as punycode (`xn--…`)
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: a..b}}"
        shop.yaml:5:20: `rules[0].allow[0].to.dns`: `a..b` is no DNS name: its labels have 1 to 63 letters and digits of ASCII, `-` and `_`
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: 'https://a.b/c'}}"
        shop.yaml:5:20: `rules[0].allow[0].to.dns`: `https://a.b/c` is no DNS name: its labels have 1 to 63 letters and digits of ASCII, `-` and `_`
    "policy: a\nrules:\n  - from: x\n    allow:\n      - {to: {dns: [a.b]}}"
        shop.yaml:5:20: `rules[0].allow[0].to.dns`: expected text
    "policy: a\nrules:\n  - to: {nmae: a}"
        shop.yaml:3:10: `rules[0].to.nmae`: unknown field `nmae`, expected one of name, image, labels, runtime, project, service, namespace, pod, unit, group, cidr, except, dns; did you mean `name`?
    "policy: a\nrules:\n  - to: {workload: a}"
        shop.yaml:3:10: `rules[0].to.workload`: unknown field `workload`, expected one of name, image, labels, runtime, project, service, namespace, pod, unit, group, cidr, except, dns
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
        shop.yaml:5:16: `rules[0].allow[0].from`: `group`, `cidr` and `dns` stand alone: write a list to name several peers
    "policy: a\nrules:\n  - to: a\n    allow:\n      - {from: {cidr: 203.0.113.0/24, project: b}}"
        shop.yaml:5:16: `rules[0].allow[0].from`: `group`, `cidr` and `dns` stand alone: write a list to name several peers
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
