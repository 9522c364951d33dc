//! Why an interaction is allowed or not: for both directions what decides, where that is written, and, where nothing
//! allows it, what comes nearest. Pure.

mod nearest;

mod text;

use std::{fmt, net::IpAddr};

use cofferdam_common::{
    network::{VERDICT_AUDIT, VERDICT_DENY},
    policy::{service, why},
};
use serde::{Deserialize, Serialize};

use super::{
    Plan, RuleInfo, Signature,
    decide::{self, Decision, Matches, Stand},
    model::{Direction, Place, Services},
    rules::Atom,
    spans,
};
use crate::{
    config::Mismatch,
    event::{Protocol, Verdict, Workload, WorkloadKind},
};

/// Most rules that are listed.
const LISTED: usize = 50;

/// Who is at one end.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    /// A workload of this host; one outside that goes by a name is nobody's, as far as rules go.
    Workload(&'a Workload),
    /// A peer outside. One that is known by name only has no address that a network could have.
    Outside {
        /// Its address.
        address: Option<IpAddr>,
        /// DNS names under which the other end knows it, or patterns of these: whole, or as in policies.
        names: &'a [String],
    },
}

/// Why, from both ends.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Explanation {
    /// Who sends.
    pub source: String,
    /// To whom.
    pub target: String,
    /// Protocol and port: `tcp/5432`.
    pub service: String,
    /// What comes of it.
    pub verdict: Verdict,
    /// The direction in which something speaks against it.
    pub decided_by: Option<Direction>,
    /// Whether the source may send.
    pub egress: Side,
    /// Whether the target may receive.
    pub ingress: Side,
}

/// Why, from one end.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Side {
    /// As the subject sees it.
    pub direction: Direction,
    /// Who is judged.
    pub subject: String,
    /// With whom it interacts.
    pub peer: String,
    /// What comes of it.
    pub verdict: Verdict,
    /// Why that.
    pub why: Why,
    /// The rule that decides.
    pub rule: Option<RuleInfo>,
    /// Of that rule, the entry that decides.
    pub entry: Option<Cited>,
    /// Rules that are about the subject: the first of them.
    pub selecting: Vec<RuleInfo>,
    /// How many these are in all.
    pub selecting_count: usize,
    /// Where nothing allows it: what nearly does.
    pub nearest: Option<Nearest>,
}

/// Why a verdict is what it is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The entry says so.
    Rule,
    /// The rule is about the subject, and neither it nor another allows this.
    NotAllowed,
    /// No rule is about the subject.
    Default,
}

/// An entry of a rule.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cited {
    /// The list that it stands in.
    pub list: Verdict,
    /// Where it begins.
    pub place: Place,
}

/// An entry that would allow it, but for something.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Nearest {
    /// Its rule.
    pub rule: RuleInfo,
    /// The entry.
    pub entry: Cited,
    /// All that is not as it wants it; never empty.
    pub misses: Vec<Miss>,
}

/// What is not as a rule wants it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Miss {
    /// What of it.
    pub part: Part,
    /// Of that, which field.
    #[serde(flatten)]
    pub mismatch: Mismatch,
}

/// Parts of a rule.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Whom it is about.
    Subject,
    /// With whom these may interact.
    Peer,
    /// By which protocol and port.
    Service,
}

impl Explanation {
    /// Whether a rule's list `audit` lets it pass: it would not be denied in any mode.
    #[must_use]
    pub fn is_only_reported(&self) -> bool {
        let decisive = [&self.egress, &self.ingress].into_iter().filter(|side| side.verdict == self.verdict);
        let is_listed = |side: &Side| side.entry.as_ref().is_some_and(|entry| entry.list == Verdict::Audit);
        self.verdict == Verdict::Audit && decisive.into_iter().all(is_listed)
    }
}

/// Why `source` may or may not interact with `target`. The protocol is the number in the IP header.
#[must_use]
pub fn explain(plan: &Plan, source: End<'_>, target: End<'_>, protocol: u8, port: u16) -> Explanation {
    let packet = (protocol, port);
    let egress = Scene { plan, subject: source, peer: target, direction: Direction::Egress, packet }.side();
    let ingress = Scene { plan, subject: target, peer: source, direction: Direction::Ingress, packet }.side();
    // As the kernel has it: of two that are as strict, the source's counts.
    let (verdict, direction) = if ingress.verdict > egress.verdict {
        (ingress.verdict, Direction::Ingress)
    } else {
        (egress.verdict, Direction::Egress)
    };
    Explanation {
        source: source.to_string(),
        target: target.to_string(),
        service: Protocol::from_number(protocol).service(port),
        verdict,
        decided_by: (verdict != Verdict::Allow).then_some(direction),
        egress,
        ingress,
    }
}

/// One direction of an interaction.
#[derive(Clone, Copy)]
struct Scene<'a> {
    plan: &'a Plan,
    subject: End<'a>,
    peer: End<'a>,
    direction: Direction,
    packet: (u8, u16),
}

impl Scene<'_> {
    fn side(&self) -> Side {
        let (about, stand) = self.plan.stand(&self.subject.signature(self.plan), self.direction);
        let (decision, entry) = self.decide(&about, &stand);
        let Decision { verdict, why, rule } = decision;
        let verdict = decide::verdict(verdict);
        let why = match why {
            why::RULE => Why::Rule,
            why::NOT_ALLOWED => Why::NotAllowed,
            _ => Why::Default,
        };
        Side {
            direction: self.direction,
            subject: self.subject.to_string(),
            peer: self.peer.to_string(),
            verdict,
            why,
            rule: rule.map(|index| self.plan.info(index)),
            entry: entry.map(|index| self.cited(index)),
            selecting: about.iter().take(LISTED).map(|index| self.plan.info(*index)).collect(),
            selecting_count: about.len(),
            nearest: match (verdict, why) {
                (Verdict::Deny | Verdict::Audit, Why::NotAllowed) => self.nearly_allowed(&about, rule),
                (Verdict::Deny, Why::Default) => self.nearly_about(),
                _ => None,
            },
        }
    }

    /// What the rules say, and which entry is the reason: by the peer's address, and where nothing allows that by the name
    /// that allows most.
    fn decide(&self, about: &[u32], stand: &Stand) -> (Decision, Option<u32>) {
        let mut decided = self.decide_by(about, stand, &self.peer.signature(self.plan).atoms);
        if decided.0.why == why::NOT_ALLOWED && self.direction == Direction::Egress {
            for atoms in self.peer.by_name(self.plan) {
                let by_name = self.decide_by(about, stand, &atoms);
                if (by_name.0.verdict, by_name.0.why) < (decided.0.verdict, decided.0.why) {
                    decided = by_name;
                }
            }
        }
        decided
    }

    /// What they say of a peer of whom this is so.
    fn decide_by(&self, about: &[u32], stand: &Stand, atoms: &[Atom]) -> (Decision, Option<u32>) {
        let rules = self.plan.rules();
        let mut matches = Matches::default();
        let mut matching = Vec::new();
        for index in about.iter().flat_map(|index| rules.rule(*index).entries()) {
            let entry = rules.entry(index);
            if entry.peers.means(atoms) && self.is_about_packet(&rules.written_entry(index).services) {
                let mode = rules.rule(entry.rule).mode;
                matches[mode as usize][entry.verdict as usize].get_or_insert(entry.rule);
                matching.push(index);
            }
        }
        let decision = stand.decide(&matches);
        let lists: &[Verdict] = match decision.verdict {
            VERDICT_DENY => &[Verdict::Deny],
            // In mode audit also what is denied is only reported; in mode enforce none that denies matches here.
            VERDICT_AUDIT => &[Verdict::Deny, Verdict::Audit],
            _ => &[Verdict::Allow],
        };
        let reason = lists.iter().find_map(|list| {
            let is_reason = |index: &&u32| {
                let entry = rules.entry(**index);
                Some(entry.rule) == decision.rule && entry.verdict == *list
            };
            matching.iter().find(is_reason).copied()
        });
        (decision, reason.filter(|_| decision.why == why::RULE))
    }

    fn is_about_packet(&self, services: &[Services]) -> bool {
        let service = service(self.packet.0, self.packet.1);
        services.iter().flat_map(spans::ranges).any(|range| range.contains(&service))
    }

    fn cited(&self, entry: u32) -> Cited {
        let written = self.plan.rules().written_entry(entry);
        Cited { list: written.verdict, place: written.place.clone() }
    }
}

impl<'a> End<'a> {
    /// Who is at an end of an edge; `None` where rules cannot judge him: many in one, or a network that was given a name.
    #[must_use]
    pub fn of(workload: &'a Workload) -> Option<Self> {
        match workload.kind {
            WorkloadKind::Outside => {
                let address = Some(workload.name.parse().ok()?);
                Some(End::Outside { address, names: workload.dns_name.as_slice() })
            }
            WorkloadKind::Other => None,
            _ => Some(End::Workload(workload)),
        }
    }
}

impl End<'_> {
    pub(super) fn signature(&self, plan: &Plan) -> Signature {
        match self {
            Self::Workload(workload) => plan.signature(workload),
            Self::Outside { address: Some(address), .. } => plan.signature_of_address(*address),
            Self::Outside { address: None, .. } => Signature::nobody(),
        }
    }

    /// What rules can tell of it by each of its names alone. Names that no pattern means are left out.
    fn by_name(&self, plan: &Plan) -> Vec<Box<[Atom]>> {
        let names = match self {
            Self::Workload(_) => &[],
            Self::Outside { names, .. } => *names,
        };
        names.iter().filter_map(|name| Some(plan.signature_of_name(name)?.atoms)).collect()
    }
}

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload(workload) => workload.fmt(f),
            Self::Outside { address: Some(address), names: [] } => write!(f, "outside {address}"),
            Self::Outside { address: Some(address), names } => {
                write!(f, "outside {} ({address})", names.join(", "))
            }
            Self::Outside { address: None, names } => write!(f, "outside {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;
    use crate::policy::{
        ByDefault, RuleNumbers, Settings,
        model::{Entry, Mode, Peer, Policy},
        samples,
    };

    const TEXT: &str = r#"policy: shop
rules:
  - to: shop/db
    allow:
      - {from: {name: "shop/*", runtime: docker}, port: tcp/5432}
      - {from: 192.0.2.0/24 except 192.0.2.128/25, port: tcp/5433}
"#;

    fn policy() -> Policy {
        let selected = samples::selected(json!({"name": "shop/*", "runtime": "docker"}));
        let entry = |peer: Peer, port, line| Entry {
            services: vec![samples::tcp(port, port)],
            place: samples::place(line, 9),
            ..samples::entry(vec![peer])
        };
        let net = samples::network("192.0.2.0/24", &["192.0.2.128/25"]);
        let entries = vec![entry(selected, 5_432, 5), entry(net, 5_433, 6)];
        Policy { rules: vec![samples::rule_with(entries)], ..samples::policy("shop") }
    }

    fn plan(policy: Policy, settings: Settings) -> Plan {
        Plan::new(vec![policy.into()], settings, &mut RuleNumbers::default()).unwrap()
    }

    fn api() -> Workload {
        Workload { runtime: Some(crate::event::Runtime::Docker), ..samples::container("shop/api") }
    }

    fn text(explanation: &Explanation) -> String {
        explanation.text(&HashMap::from([(Path::new("/etc/cofferdam/policies/shop.yaml"), TEXT)]))
    }

    #[test]
    fn what_nothing_allows_is_explained_by_the_entry_that_comes_nearest() {
        let plan = plan(policy(), samples::OPEN);
        let (runner, db) = (samples::container("ci/runner"), samples::container("shop/db"));
        let denied = explain(&plan, End::Workload(&runner), End::Workload(&db), 6, 5_432);
        assert_snapshot!(text(&denied), @r#"
        ✖ DENIED  ci/runner → shop/db  tcp/5432
          because  policy "shop"  /etc/cofferdam/policies/shop.yaml:3  rule shop#1: nothing lets shop/db receive from ci/runner
                  3 │   - to: shop/db
                    │     ^ is about shop/db: it may receive only from whom an entry allows
                  5 │       - {from: {name: "shop/*", runtime: docker}, port: tcp/5432}
                    │         ^ ci/runner does not match: name is "ci/runner" (the rule wants "shop/*"), it has no runtime (the rule wants "docker")
        "#);
        let api = api();
        let port = explain(&plan, End::Workload(&api), End::Workload(&db), 6, 80);
        assert_snapshot!(text(&port), @r#"
        ✖ DENIED  shop/api → shop/db  tcp/80
          because  policy "shop"  /etc/cofferdam/policies/shop.yaml:3  rule shop#1: nothing lets shop/db receive from shop/api
                  3 │   - to: shop/db
                    │     ^ is about shop/db: it may receive only from whom an entry allows
                  5 │       - {from: {name: "shop/*", runtime: docker}, port: tcp/5432}
                    │         ^ the port does not match: it is tcp/80 (the rule wants tcp/5432)
        "#);
        let outside = explain(&plan, samples::outside([192, 0, 2, 200].into()), End::Workload(&db), 6, 5_433);
        assert_snapshot!(text(&outside), @r#"
        ✖ DENIED  outside 192.0.2.200 → shop/db  tcp/5433
          because  policy "shop"  /etc/cofferdam/policies/shop.yaml:3  rule shop#1: nothing lets shop/db receive from outside 192.0.2.200
                  3 │   - to: shop/db
                    │     ^ is about shop/db: it may receive only from whom an entry allows
                  6 │       - {from: 192.0.2.0/24 except 192.0.2.128/25, port: tcp/5433}
                    │         ^ outside 192.0.2.200 does not match: address is "192.0.2.200" (the rule wants "192.0.2.0/24 but not 192.0.2.128/25")
        "#);
    }

    #[test]
    fn what_is_allowed_is_explained_from_both_ends() {
        let plan = plan(policy(), samples::OPEN);
        let (api, db) = (api(), samples::container("shop/db"));
        let allowed = explain(&plan, End::Workload(&api), End::Workload(&db), 6, 5_432);
        assert_snapshot!(text(&allowed), @r#"
        ✔ ALLOWED  shop/api → shop/db  tcp/5432
          egress   no rule for egress is about shop/api: it is allowed
          ingress  policy "shop"  /etc/cofferdam/policies/shop.yaml:3  rule shop#1: shop/db may receive from shop/api
                  3 │   - to: shop/db
                    │     ^ is about shop/db
                  5 │       - {from: {name: "shop/*", runtime: docker}, port: tcp/5432}
                    │         ^ matches shop/api and the port: `allow`
        "#);
    }

    #[test]
    fn what_mode_audit_would_deny_is_told_from_what_is_denied() {
        let plan = plan(Policy { mode: Mode::Audit, ..policy() }, samples::OPEN);
        let (runner, db) = (samples::container("ci/runner"), samples::container("shop/db"));
        let reported = explain(&plan, End::Workload(&runner), End::Workload(&db), 17, 53);
        assert_snapshot!(text(&reported), @r#"
        ▲ REPORTED  ci/runner → shop/db  udp/53
          because  policy "shop"  /etc/cofferdam/policies/shop.yaml:3  rule shop#1: nothing lets shop/db receive from ci/runner
                   The policy is in mode audit: it passes, and is reported.
                  3 │   - to: shop/db
                    │     ^ is about shop/db: it may receive only from whom an entry allows
                  5 │       - {from: {name: "shop/*", runtime: docker}, port: tcp/5432}
                    │         ^ ci/runner does not match: name is "ci/runner" (the rule wants "shop/*"), it has no runtime (the rule wants "docker"); the port does not match: it is udp/53 (the rule wants tcp/5432)
        "#);
    }

    const BY_NAME: &str = "policy: shop
mode: enforce
rules:
  - from: shop/api
    deny:
      - {to: {cidr: 203.0.113.9}}
    allow:
      - {to: {dns: '*.example.org'}, port: tcp/443}
    audit:
      - {to: {dns: api.example.org}, port: tcp/80}
";

    fn by_name(address: Option<&str>, names: &[&str], port: u16) -> String {
        let file = "/etc/cofferdam/policies/shop.yaml";
        let plan = samples::plan(file, BY_NAME, samples::OPEN);
        let (api, names) = (api(), names.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>());
        let outside = End::Outside { address: address.map(|it| it.parse().unwrap()), names: &names };
        let explanation = explain(&plan, End::Workload(&api), outside, 6, port);
        explanation.text(&HashMap::from([(Path::new(file), BY_NAME)]))
    }

    #[test]
    fn what_a_name_allows_is_explained_by_the_entry_that_names_it() {
        assert_snapshot!(by_name(Some("203.0.113.7"), &["x.example.net", "www.example.org"], 443), @r#"
        ✔ ALLOWED  shop/api → outside x.example.net, www.example.org (203.0.113.7)  tcp/443
          egress   policy "shop"  /etc/cofferdam/policies/shop.yaml:4  rule shop#1: shop/api may send to outside x.example.net, www.example.org (203.0.113.7)
                  4 │   - from: shop/api
                    │     ^ is about shop/api
                  8 │       - {to: {dns: '*.example.org'}, port: tcp/443}
                    │         ^ matches outside x.example.net, www.example.org (203.0.113.7) and the port: `allow`
          ingress  no rule for ingress is about outside x.example.net, www.example.org (203.0.113.7): it is allowed
        "#);
        assert_snapshot!(by_name(None, &["api.example.org"], 80), @r#"
        ▲ REPORTED  shop/api → outside api.example.org  tcp/80
          because  policy "shop"  /etc/cofferdam/policies/shop.yaml:4  rule shop#1: shop/api may send to outside api.example.org, and it is reported
                  4 │   - from: shop/api
                    │     ^ is about shop/api
                 10 │       - {to: {dns: api.example.org}, port: tcp/80}
                    │         ^ matches outside api.example.org and the port: `audit`
        "#);
    }

    #[test]
    fn what_no_name_allows_is_explained_by_the_name_that_would() {
        assert_snapshot!(by_name(Some("203.0.113.7"), &["example.org"], 443), @r#"
        ✖ DENIED  shop/api → outside example.org (203.0.113.7)  tcp/443
          because  policy "shop"  /etc/cofferdam/policies/shop.yaml:4  rule shop#1: nothing lets shop/api send to outside example.org (203.0.113.7)
                  4 │   - from: shop/api
                    │     ^ is about shop/api: it may send only to whom an entry allows
                  8 │       - {to: {dns: '*.example.org'}, port: tcp/443}
                    │         ^ outside example.org (203.0.113.7) does not match: name is "example.org" (the rule wants "*.example.org")
        "#);
        assert_snapshot!(by_name(Some("203.0.113.7"), &[], 443), @r#"
        ✖ DENIED  shop/api → outside 203.0.113.7  tcp/443
          because  policy "shop"  /etc/cofferdam/policies/shop.yaml:4  rule shop#1: nothing lets shop/api send to outside 203.0.113.7
                  4 │   - from: shop/api
                    │     ^ is about shop/api: it may send only to whom an entry allows
                  8 │       - {to: {dns: '*.example.org'}, port: tcp/443}
                    │         ^ outside 203.0.113.7 does not match: no name is known for it (the rule wants "*.example.org")
        "#);
        // Whatever it is called.
        assert_snapshot!(by_name(Some("203.0.113.9"), &["api.example.org"], 443), @r#"
        ✖ DENIED  shop/api → outside api.example.org (203.0.113.9)  tcp/443
          because  policy "shop"  /etc/cofferdam/policies/shop.yaml:4  rule shop#1: shop/api may not send to outside api.example.org (203.0.113.9)
                  4 │   - from: shop/api
                    │     ^ is about shop/api
                  6 │       - {to: {cidr: 203.0.113.9}}
                    │         ^ matches outside api.example.org (203.0.113.9) and the port: `deny`
        "#);
    }

    #[test]
    fn a_default_that_denies_is_explained_by_the_rule_that_would_allow_others_this() {
        let plan = plan(policy(), Settings { default_ingress: ByDefault::Deny, ..samples::OPEN });
        let (api, web) = (api(), samples::container("shop/web"));
        let denied = explain(&plan, End::Workload(&api), End::Workload(&web), 6, 5_432);
        assert_snapshot!(text(&denied), @r#"
        ✖ DENIED  shop/api → shop/web  tcp/5432
          because  no rule for ingress is about shop/web: the default is deny
                  3 │   - to: shop/db
                    │     ^ shop/web does not match: name is "shop/web" (the rule wants "shop/db")
        "#);
    }

    #[test]
    fn what_is_told_to_machines_has_the_reasons_as_words() {
        let plan = plan(policy(), samples::OPEN);
        let (runner, db) = (samples::container("ci/runner"), samples::container("shop/db"));
        let denied = explain(&plan, End::Workload(&runner), End::Workload(&db), 6, 5_432);
        let json = serde_json::to_value(&denied).unwrap();
        assert_eq!(json["verdict"], "deny");
        assert_eq!(json["decided_by"], "ingress");
        assert_eq!(json["egress"]["why"], "default");
        assert_eq!(json["ingress"]["why"], "not_allowed");
        assert_eq!(json["ingress"]["rule"]["label"], "shop#1");
        assert_eq!(json["ingress"]["rule"]["place"]["line"], 3);
        let miss = json!({"part": "peer", "field": "name", "wanted": "shop/*", "found": "ci/runner"});
        assert_eq!(json["ingress"]["nearest"]["misses"][0], miss);
    }

    #[test]
    fn characters_that_a_terminal_would_obey_are_not_in_the_text() {
        let plan = plan(policy(), samples::OPEN);
        let (hostile, db) = (samples::container("a\u{1b}[2Jb"), samples::container("shop/db"));
        let denied = explain(&plan, End::Workload(&hostile), End::Workload(&db), 6, 5_432);
        assert!(!text(&denied).contains('\u{1b}'));
    }
}
