//! Scenes of policies: what is written, and what comes of it.

/// Policies, and what passes under them.
pub(super) struct Scene {
    pub(super) about: &'static str,
    pub(super) policies: &'static str,
    /// Source, target, service, and `passes` or `denied`.
    pub(super) cells: &'static str,
}

/// Workloads are `shop/web`, `shop/api`, `shop/db` and `ci/runner`; each answers on tcp/80, tcp/5432, udp/53 and udp/8125.
pub(super) const SCENES: &[Scene] = &[
    Scene {
        about: "without a policy everything passes",
        policies: "",
        cells: "
            runner db tcp/5432 passes
            web    db udp/53   passes",
    },
    Scene {
        about: "a workload that is selected receives what is allowed and nothing else",
        policies: "
policy: shop
mode: enforce
rules:
  - to: shop/db
    allow:
      - {from: shop/api, port: tcp/5432}
",
        cells: "
            api    db  tcp/5432 passes
            api    db  tcp/80   denied
            api    db  udp/53   denied
            web    db  tcp/5432 denied
            runner db  tcp/5432 denied
            db     web tcp/80   passes
            runner web tcp/80   passes",
    },
    Scene {
        about: "a policy in mode audit changes nothing",
        policies: "
policy: shop
rules:
  - to: shop/db
    allow:
      - {from: shop/api, port: tcp/5432}
",
        cells: "
            web    db tcp/5432 passes
            runner db udp/53   passes",
    },
    Scene {
        about: "what a workload sends is limited as well, and answers come back",
        policies: "
policy: shop
mode: enforce
rules:
  - from: ci/runner
    allow:
      - {to: shop/web, ports: [tcp/80, udp/53]}
",
        cells: "
            runner web tcp/80   passes
            runner web udp/53   passes
            runner web tcp/5432 denied
            runner web udp/8125 denied
            runner db  tcp/5432 denied
            db     runner tcp/80 passes
            db     runner udp/53 passes",
    },
    Scene {
        about: "both ends must allow it",
        policies: "
policy: a
mode: enforce
rules:
  - from: shop/web
    allow:
      - {to: {project: shop}, port: tcp}
---
policy: b
mode: enforce
rules:
  - to: shop/db
    allow:
      - {from: any, port: udp}
",
        cells: "
            web db  tcp/80  denied
            web db  udp/53  denied
            api db  udp/53  passes
            api db  tcp/80  denied
            web api tcp/80  passes
            web api udp/53  denied",
    },
    Scene {
        about: "deny wins over allow, whatever the order and the document",
        policies: "
policy: a
mode: enforce
rules:
  - to: shop/db
    deny:
      - {from: {project: ci}}
---
policy: b
mode: enforce
rules:
  - to: shop/db
    allow:
      - {from: any}
",
        cells: "
            runner db tcp/5432 denied
            runner db udp/53   denied
            web    db tcp/5432 passes
            api    db udp/8125 passes",
    },
    Scene {
        about: "documents add up",
        policies: "
policy: a
mode: enforce
rules:
  - to: shop/db
    allow: [{from: shop/api, port: tcp/5432}]
---
policy: b
mode: enforce
rules:
  - to: {project: shop}
    allow: [{from: ci/runner, port: tcp/80}]
",
        cells: "
            api    db  tcp/5432 passes
            runner db  tcp/80   passes
            runner db  tcp/5432 denied
            runner web tcp/80   passes
            api    web tcp/80   denied
            web    db  tcp/80   denied",
    },
    Scene {
        about: "labels, groups, lists and ranges of ports",
        policies: "
policy: shop
mode: enforce
groups:
  front: [shop/web, {labels: {tier: run*}}]
rules:
  - to: [shop/db, {labels: {tier: api}}]
    allow:
      - {from: {group: front}, port: tcp/70-90}
      - {from: {labels: {tier: api}}, ports: [udp/8000-9000, tcp/5432]}
",
        cells: "
            web    db  tcp/80   passes
            runner db  tcp/80   passes
            runner api tcp/80   passes
            web    api tcp/5432 denied
            api    db  tcp/5432 passes
            api    db  udp/8125 passes
            api    db  udp/53   denied
            api    db  tcp/80   denied",
    },
    Scene {
        about: "an entry that is only audited passes, and a rule that allows nothing closes",
        policies: "
policy: shop
mode: enforce
rules:
  - to: shop/db
    audit: [{from: shop/web}]
  - to: shop/api
    allow: []
",
        cells: "
            web    db  tcp/5432 passes
            runner db  tcp/5432 denied
            web    api tcp/80   denied
            web    api udp/53   denied
            api    web tcp/80   passes",
    },
    Scene {
        about: "networks are about peers outside, not about containers that have such an address",
        policies: "
policy: shop
mode: enforce
rules:
  - to: shop/db
    allow: [{from: {cidr: 198.18.0.0/15}}, {from: {cidr: \"fd00:c0ff:d::/48\"}}]
",
        cells: "
            web    db tcp/5432 denied
            runner db udp/53   denied",
    },
    Scene {
        about: "taken back",
        policies: "",
        cells: "
            runner db tcp/5432 passes
            web    api udp/53  passes",
    },
];
