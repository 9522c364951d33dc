//! Expectations beside a policy: what must be allowed and what must not, tried without a daemon. Pure.
//!
//! ```yaml
//! - {from: shop/api, to: shop/db, port: tcp/5432, expect: allow}
//! - {from: {name: ci/runner, labels: {tier: ci}}, to: shop/db, port: tcp/5432, expect: deny, by: shop#1}
//! - {from: shop/api, to: 192.0.2.7, port: tcp/443, expect: audit}
//! - {from: shop/api, to: {dns: api.example.org}, port: tcp/443, expect: allow}
//! ```

mod end;

use std::{fmt, path::Path, sync::Arc};

use cofferdam_common::policy::service;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;

pub use self::end::Whom;
use super::{
    Plan, TooLarge, decide,
    explain::{Explanation, explain},
    judge::{Party, judge_ends},
};
use crate::{
    config::{self, Cost, Problem, Text},
    event::{Protocol, UnknownProtocol, Verdict, Workload},
};

/// How much the YAML of a file of expectations may cost.
const COST: Cost = Cost { nodes: 200_000 };

/// What should come of an interaction.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Expectation {
    /// Who sends.
    pub from: Whom,
    /// To whom.
    pub to: Whom,
    /// By which protocol and port of the target.
    pub port: Port,
    /// The verdict.
    pub expect: Verdict,
    /// The rule that must be the one which decides, if that matters: `shop#2`.
    #[serde(default)]
    pub by: Option<String>,
    /// The line of its file on which it begins, from 1.
    #[serde(skip)]
    pub line: usize,
}

/// A protocol and a port: `tcp/5432`; without a port where there are none: `icmp`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(try_from = "String")]
pub struct Port {
    protocol: u8,
    port: u16,
}

/// What came of it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Outcome {
    /// The line of the expectation, from 1.
    pub line: usize,
    /// The expectation, in words: `shop/api -> shop/db tcp/5432`.
    pub interaction: String,
    /// What was expected.
    pub expected: Verdict,
    /// Which rule was.
    pub expected_by: Option<String>,
    /// What the policies say.
    pub verdict: Verdict,
    /// The rules that decide: at most one for each direction.
    pub by: Vec<Arc<str>>,
    /// Whether it is as expected.
    pub met: bool,
    /// Why the policies say so.
    pub explanation: Explanation,
}

/// Reads a file of expectations.
///
/// # Errors
/// What is wrong with it; of several problems the first.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Expectation>, Problem> {
    let lines = Text::new(path, text);
    let items: Vec<Spanned<Expectation>> = config::parse(&lines, text, 0, COST)?;
    if let Some((number, item)) = items.iter().enumerate().find(|(_, item)| item.value.from.is_dns()) {
        let message = "`dns` is about whom something is sent to: write an address";
        let mark = config::mark(&item.referenced);
        return Err(Problem::at(&lines, mark, &format!("[{number}].from"), message));
    }
    let line = |item: &Spanned<Expectation>| config::mark(&item.referenced).line;
    Ok(items.into_iter().map(|item| Expectation { line: line(&item), ..item.value }).collect())
}

/// Tries them all. A name means the workload in `known` that is called so; where there is none, one of which nothing
/// but what the name says is known.
///
/// # Errors
/// The policies and these workloads are more than there is room for.
pub fn run(
    expectations: &[Expectation],
    plan: &mut Plan,
    known: &[Arc<Workload>],
) -> Result<Vec<Outcome>, TooLarge> {
    expectations.iter().map(|expectation| expectation.run(plan, known)).collect()
}

impl Expectation {
    fn run(&self, plan: &mut Plan, known: &[Arc<Workload>]) -> Result<Outcome, TooLarge> {
        let Port { protocol, port } = self.port;
        let (from, to) = (self.from.resolve(known), self.to.resolve(known));
        let (source, target) = (Party::of(&from.end(), plan)?, Party::of(&to.end(), plan)?);
        let [sends, receives] = judge_ends(plan, &source, &target, service(protocol, port));
        let verdict = decide::verdict(sends.and(receives).verdict);
        let explanation = explain(plan, from.end(), to.end(), protocol, port);
        // What both ends let pass can be allowed by a rule for each.
        let sides = [&explanation.egress, &explanation.ingress].into_iter();
        let by: Vec<_> = sides
            .filter(|side| side.verdict == verdict)
            .filter_map(|side| side.rule.as_ref())
            .map(|rule| Arc::clone(&rule.label))
            .collect();
        let met = verdict == self.expect
            && self.by.as_ref().is_none_or(|wanted| by.iter().any(|label| **label == **wanted));
        Ok(Outcome {
            line: self.line,
            interaction: format!("{} -> {} {}", explanation.source, explanation.target, self.port),
            expected: self.expect,
            expected_by: self.by.clone(),
            verdict,
            by,
            met,
            explanation,
        })
    }
}

impl TryFrom<String> for Port {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (name, port) = text.split_once('/').map_or((&*text, None), |(name, port)| (name, Some(port)));
        let protocol: Protocol = name.parse().map_err(|error: UnknownProtocol| error.to_string())?;
        let number = protocol.number().ok_or("must be one protocol")?;
        let port = match port {
            Some(port) => port.parse().map_err(|_| format!("`{port}` is no port from 0 to 65535"))?,
            None if protocol.has_ports() => return Err(format!("must have a port, as in `{name}/443`")),
            None => 0,
        };
        Ok(Self { protocol: number, port })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Protocol::from_number(self.protocol).service(self.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{
        RuleNumbers,
        model::{Entry, Policy},
        samples,
    };

    /// Only `shop/api` may send to `shop/db`, and only to its port.
    fn plan() -> Plan {
        let api = samples::selected(serde_json::json!({"name": "shop/api", "labels": {"tier": "back"}}));
        let entry = Entry { services: vec![samples::tcp(5_432, 5_432)], ..samples::entry(vec![api]) };
        let policy = Policy { rules: vec![samples::rule_with(vec![entry])], ..samples::policy("shop") };
        Plan::new(vec![policy.into()], samples::OPEN, &mut RuleNumbers::default()).unwrap()
    }

    fn read(text: &str) -> Result<Vec<Expectation>, Problem> {
        parse(Path::new("shop.test.yaml"), text)
    }

    #[test]
    fn each_expectation_says_whether_it_is_met_and_what_came_instead() {
        let text = "
- {from: {name: shop/api, labels: {tier: back}}, to: shop/db, port: tcp/5432, expect: allow, by: shop#1}
- {from: shop/api, to: shop/db, port: tcp/5432, expect: deny, by: 'shop#1'}
- {from: ci/runner, to: shop/db, port: tcp/5432, expect: allow}
- {from: 192.0.2.1, to: shop/db, port: icmp, expect: deny, by: other#1}
- {from: shop/db, to: '2001:db8::1', port: udp/53, expect: allow}
";
        let outcomes = run(&read(text).unwrap(), &mut plan(), &[]).unwrap();
        assert_eq!(outcomes.iter().map(|it| it.line).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
        let told: Vec<_> = outcomes
            .iter()
            .map(|it| (it.interaction.as_str(), it.verdict, it.by.first().map(|by| &**by), it.met))
            .collect();
        let rule = Some("shop#1");
        let expected = [
            ("shop/api -> shop/db tcp/5432", Verdict::Allow, rule, true),
            ("shop/api -> shop/db tcp/5432", Verdict::Deny, rule, true),
            ("ci/runner -> shop/db tcp/5432", Verdict::Deny, rule, false),
            ("outside 192.0.2.1 -> shop/db icmp", Verdict::Deny, rule, false),
            ("shop/db -> outside 2001:db8::1 udp/53", Verdict::Allow, None, true),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_peer_outside_is_tried_by_its_dns_name() {
        let text = "policy: shop
mode: enforce
rules:
  - {from: shop/api, allow: [{to: {dns: '*.example.org'}, port: tcp/443}]}
";
        let mut plan = samples::plan("shop.yaml", text, samples::OPEN);
        let text = "
- {from: shop/api, to: {dns: API.example.org}, port: tcp/443, expect: allow, by: shop#1}
- {from: shop/api, to: {dns: example.org}, port: tcp/443, expect: deny, by: shop#1}
- {from: shop/api, to: 203.0.113.7, port: tcp/443, expect: deny}
- {from: shop/api, to: api.example.org, port: tcp/443, expect: deny}
";
        let outcomes = run(&read(text).unwrap(), &mut plan, &[]).unwrap();
        assert!(outcomes.iter().all(|outcome| outcome.met), "{outcomes:#?}");
        assert_eq!(outcomes[0].interaction, "shop/api -> outside api.example.org tcp/443");
    }

    #[test]
    fn a_name_means_the_known_workload_of_that_name() {
        let labels = [("tier".to_owned(), "back".to_owned())].into();
        let api = Workload { labels, ..samples::container("shop/api") };
        let expectations = read("- {from: shop/api, to: shop/db, port: tcp/5432, expect: allow}").unwrap();
        let met = |known: &[Arc<Workload>]| run(&expectations, &mut plan(), known).unwrap()[0].met;
        assert!(met(&[api.into()]) && !met(&[]));
    }

    #[test]
    fn the_example_of_the_documentation_is_understood() {
        let page = include_str!("../../../docs/policy.md");
        let (_, text) = page.split_once("```yaml\n- {from").unwrap();
        let text = format!("- {{from{}", text.split("```").next().unwrap());
        assert_eq!(read(&text).unwrap_or_else(|problem| panic!("{problem}")).len(), 4);
    }

    #[test]
    fn what_cannot_be_understood_is_refused_where_it_stands() {
        for (item, why) in [
            ("{from: a, to: b, port: tcp, expect: deny}", "must have a port"),
            ("{from: a, to: b, port: tcp/66000, expect: deny}", "no port from 0 to 65535"),
            ("{from: a, to: b, port: tpc/1, expect: deny}", "is no protocol"),
            ("{from: 10.0.0.0/8, to: b, port: tcp/1, expect: deny}", "write a name or one address"),
            ("{from: 10.0.0.256, to: b, port: tcp/1, expect: deny}", "write a name or one address"),
            ("{from: any, to: b, port: tcp/1, expect: deny}", "write a name or one address"),
            ("{from: a, to: b, port: tcp/1, expect: no}", "unknown variant"),
            ("{from: [], to: b, port: tcp/1, expect: deny}", "a name, an address, or keys"),
            ("{from: {nmae: a}, to: b, port: tcp/1, expect: deny}", "unknown field"),
            ("{from: a, to: b, port: tcp/1}", "lacks `expect`"),
            ("{from: {image: a}, to: b, port: tcp/1, expect: deny}", "lacks `name`"),
            ("{from: {dns: a.b}, to: b, port: tcp/1, expect: deny}", "write an address"),
            ("{from: a, to: {dns: a.b, image: c}, port: tcp/1, expect: deny}", "`dns` stands alone"),
            ("{from: a, to: {dns: 'a b'}, port: tcp/1, expect: deny}", "is no DNS name"),
        ] {
            let problem = read(&format!("- {item}\n")).unwrap_err();
            assert!(problem.line().contains(why), "{item}: {}", problem.line());
            assert!(problem.line().starts_with("shop.test.yaml:1:"), "{}", problem.line());
        }
    }
}
