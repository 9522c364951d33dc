//! A policy out of an alert: what denies the interaction that it is about, or lets it pass. Pure.

use std::{collections::BTreeSet, sync::Arc};

use cofferdam_common::network::PROTOCOL_TCP;
use serde::{Deserialize, Serialize};

use super::learn::{
    services::services,
    side::{Here, Side},
};
use crate::{
    config::Problem,
    event::{Alert, Verdict, Workload},
    policy::{
        Plan, RuleNumbers, Settings, TooLarge,
        explain::{Cited, End, Explanation, Why, explain},
        model::{Direction, Mode, Policy, Services},
        write::{Document, Entry, Names, Peer, Rule, checked, key},
    },
};

/// How many digits of an alert's id its policy is called by.
const DIGITS: usize = 8;

/// What is to become of what an alert is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Will {
    /// It passes, and is reported.
    Audit,
    /// It is denied.
    Deny,
    /// It passes.
    Allow,
}

/// Why there is no such policy.
#[derive(Debug, thiserror::Error)]
pub enum NoRule {
    /// There are many at the other end, or it is about names.
    #[error("it is not about one peer: no rule can say it")]
    NoPeer,
    /// It has no name that stays, or stands for many.
    #[error("no policy can say who {0} is")]
    Unsayable(String),
    /// Nobody stops it.
    #[error("it passes: nothing that is in force stops it, so that no rule has to allow it")]
    Passes,
    /// What is denied stays denied, whatever allows it.
    #[error("{0} denies it, whatever allows it: that entry would have to go")]
    Denied(String),
    /// It would be no policy.
    #[error(transparent)]
    Unfit(#[from] Problem),
    /// What is in force cannot be read.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The policy, beside these that are in force.
///
/// # Errors
/// No rule can say that, or none has to.
pub fn policy(
    alert: &Alert,
    (mut in_force, settings): (Vec<Arc<Policy>>, Settings),
    will: Will,
) -> Result<String, NoRule> {
    let target = alert.target.as_deref().ok_or(NoRule::NoPeer)?;
    let ends = Ends::of(&alert.source, target)?;
    if will == Will::Deny {
        // For what is enforced, those that only watch are not there: they neither open nor close anything.
        in_force.retain(|policy| policy.mode == Mode::Enforce);
    }
    let plan = Plan::new(in_force, settings, &mut RuleNumbers::default())?;
    let service = alert.protocol.zip(alert.port);
    let said = service.and_then(|(protocol, port)| Some((protocol.number()?, port)));
    let (number, port) = said.unwrap_or((PROTOCOL_TCP, 0));
    let end = |workload| End::of(workload).ok_or_else(|| unsayable(workload));
    let stands = explain(&plan, end(&alert.source)?, end(target)?, number, port);
    let services = match service {
        Some(service) => services(&BTreeSet::from([service])).0,
        None => vec![Services::ALL],
    };
    let (mode, rules) = match will {
        Will::Audit => (Mode::Audit, vec![ends.denied(&stands, services)?]),
        Will::Deny => (Mode::Enforce, vec![ends.denied(&stands, services)?]),
        // What only watches opens nothing that is enforced.
        Will::Allow if stands.verdict == Verdict::Deny => (Mode::Enforce, ends.allowed(&stands, &services)?),
        Will::Allow => (Mode::Audit, ends.allowed(&stands, &services)?),
    };
    let name = format!("alert-{}", alert.id.get(..DIGITS).unwrap_or(&alert.id));
    let document = Document { comments: Vec::new(), name, groups: Vec::new(), rules };
    let Alert { id, severity, kind, began, sentence, .. } = alert;
    let began = began.strftime("%F %H:%M");
    let about = format!("Alert {id}, {severity} {kind}, first seen {began} (UTC).");
    Ok(checked(&[sentence.clone(), about], vec![document], mode)?)
}

fn unsayable(workload: &Workload) -> NoRule {
    NoRule::Unsayable(workload.to_string())
}

/// Who interacts.
struct Ends {
    source: Side,
    target: Side,
}

impl Ends {
    fn of(source: &Workload, target: &Workload) -> Result<Self, NoRule> {
        let side = |workload| Side::of(workload).map_err(|_| unsayable(workload));
        Ok(Self { source: side(source)?, target: side(target)? })
    }

    /// Denies it where it arrives, or where it leaves if that is outside.
    fn denied(&self, stands: &Explanation, services: Vec<Services>) -> Result<Rule, NoRule> {
        let (direction, [own, peer], subject, side) = match (&self.source, &self.target) {
            (_, Side::Here(target)) => {
                (Direction::Ingress, [&self.target, &self.source], target, &stands.ingress)
            }
            (Side::Here(source), Side::Outside(..)) => {
                (Direction::Egress, [&self.source, &self.target], source, &stands.egress)
            }
            (Side::Outside(..), Side::Outside(..)) => return Err(NoRule::NoPeer),
        };
        let mut rule = begun(direction, subject);
        // A name only allows.
        let denied = match peer {
            Side::Here(here) => here.peer.clone(),
            Side::Outside(address, _) => Peer::network(&address.to_string()),
        };
        rule.deny = vec![Entry::new(vec![denied], services)];
        if side.why == Why::Default && side.verdict == Verdict::Allow {
            rule.comments = vec![format!(
                "Nothing else is about {}: without `allow` this would close it to all others.",
                own.label()
            )];
            rule.allow = vec![Entry::all(vec![Peer::any()])];
        }
        Ok(rule)
    }

    /// Allows it at each end that stops it, or only where it is reported if none does.
    fn allowed(&self, stands: &Explanation, services: &[Services]) -> Result<Vec<Rule>, NoRule> {
        let mut rules = Vec::new();
        for (direction, subject, peer, side) in [
            (Direction::Egress, &self.source, &self.target, &stands.egress),
            (Direction::Ingress, &self.target, &self.source, &stands.ingress),
        ] {
            let Side::Here(subject) = subject else { continue };
            if side.verdict != stands.verdict || side.verdict == Verdict::Allow {
                continue;
            }
            let denies = side.entry.as_ref().filter(|entry| entry.list == Verdict::Deny);
            if let (Some(rule), Some(Cited { place, .. })) = (&side.rule, denies) {
                let place = format!("{}:{}", place.file.display(), place.line);
                return Err(NoRule::Denied(format!("rule {} ({place})", rule.label)));
            }
            let allowed = match peer {
                Side::Here(here) => here.peer.clone(),
                Side::Outside(_, Some(name)) => Peer::dns(name.as_str()),
                Side::Outside(address, None) => Peer::network(&address.to_string()),
            };
            let mut rule = begun(direction, subject);
            rule.allow = vec![Entry::new(vec![allowed], services.to_vec())];
            rules.push(rule);
        }
        if rules.is_empty() { Err(NoRule::Passes) } else { Ok(rules) }
    }
}

/// A rule about somebody that says nothing yet.
fn begun(direction: Direction, subject: &Here) -> Rule {
    let name = Names::default().give(&format!("{}-{}", key(direction), subject.name));
    Rule::new(name, direction, vec![subject.peer.clone()])
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        event::{EventKind, WorkloadKind},
        policy::{
            folder::Set,
            samples::{OPEN, SHOP, plan},
        },
        sink::samples,
    };

    /// A service of Compose.
    fn service(name: &str) -> Workload {
        let (project, service) = name.split_once('/').unwrap();
        Workload {
            project: Some(project.to_owned()),
            service: Some(service.to_owned()),
            ..Workload::named(WorkloadKind::Container, name)
        }
    }

    /// `shop/web` talks to `shop/db` at tcp/5432.
    fn alert() -> Alert {
        let EventKind::Alert(alert) = samples::alert().kind else { panic!("no alert") };
        Alert { source: service("shop/web").into(), target: Some(service("shop/db").into()), ..*alert }
    }

    fn to_outside(name: Option<&str>) -> Alert {
        let mut target = Workload::named(WorkloadKind::Outside, "203.0.113.9");
        target.dns_name = name.map(str::to_owned);
        Alert { target: Some(Arc::new(target)), port: Some(443), ..alert() }
    }

    fn answer(alert: &Alert, in_force: &str, will: Will) -> Result<String, NoRule> {
        let mut set = Set::default();
        set.add_text(Path::new("shop.yaml"), in_force.to_owned()).unwrap();
        policy(alert, (set.into_parts().0, OPEN), will)
    }

    fn made(alert: &Alert, in_force: &str, will: Will) -> String {
        answer(alert, in_force, will).unwrap_or_else(|error| panic!("{error}"))
    }

    fn refused(alert: &Alert, in_force: &str, will: Will) -> String {
        answer(alert, in_force, will).unwrap_err().to_string()
    }

    /// Who may reach the database, of those who are asked about.
    fn may(policies: &[&str]) -> [Verdict; 3] {
        let plan = plan("all.yaml", &policies.join("---\n"), OPEN);
        ["shop/web", "shop/api", "ci/runner"].map(|name| {
            let [source, target] = [name, "shop/db"].map(service);
            explain(&plan, End::Workload(&source), End::Workload(&target), PROTOCOL_TCP, 5_432).verdict
        })
    }

    const NOTHING: &str = "policy: nothing\nmode: enforce\nrules: []\n";

    #[test]
    fn where_no_policy_is_about_the_target_only_this_is_denied() {
        let text = made(&alert(), NOTHING, Will::Deny);
        insta::assert_snapshot!(text, @r"
        # shop/web has never talked to shop/db in 21 days; now tcp/5432, 3 times, from the same image
        # Alert 9f2c41d07ab3e865, critical new_edge, first seen 2026-11-24 09:58 (UTC).
        policy: alert-9f2c41d0
        mode: enforce
        rules:
          # Nothing else is about shop/db: without `allow` this would close it to all others.
          - name: to-db
            to: {project: shop, service: db}
            allow:
              - {from: any}
            deny:
              - {from: {project: shop, service: web}, port: tcp/5432}
        ");
        assert_eq!(may(&[&text]), [Verdict::Deny, Verdict::Allow, Verdict::Allow]);
    }

    #[test]
    fn where_one_is_it_opens_nothing() {
        let open_to_web = SHOP.replace("shop/api", "shop/*");
        let text = made(&alert(), &open_to_web, Will::Deny);
        assert!(!text.contains("allow"), "{text}");
        assert_eq!(may(&[&open_to_web]), [Verdict::Allow, Verdict::Allow, Verdict::Deny]);
        assert_eq!(may(&[&open_to_web, &text]), [Verdict::Deny, Verdict::Allow, Verdict::Deny]);
    }

    #[test]
    fn what_one_only_watches_does_not_count_for_what_is_enforced() {
        let watched = SHOP.replace("enforce", "audit");
        let text = made(&alert(), &watched, Will::Deny);
        let reported = [Verdict::Audit, Verdict::Allow, Verdict::Audit];
        assert_eq!(may(&[&watched]), reported);
        // Nobody but who is meant is denied.
        assert_eq!(may(&[&watched, &text]).map(|it| it == Verdict::Deny), [true, false, false], "{text}");
        let text = made(&alert(), &watched, Will::Audit);
        assert!(text.contains("mode: audit") && !text.contains("allow"), "{text}");
        assert_eq!(may(&[&watched, &text]), reported);
        let text = made(&alert(), &watched, Will::Allow);
        assert!(text.contains("mode: audit"), "{text}");
        assert_eq!(may(&[&watched, &text]), [Verdict::Allow, Verdict::Allow, Verdict::Audit]);
    }

    #[test]
    fn what_a_policy_denies_is_allowed_and_nothing_else() {
        let text = made(&alert(), SHOP, Will::Allow);
        assert_eq!(may(&[SHOP]), [Verdict::Deny, Verdict::Allow, Verdict::Deny]);
        assert_eq!(may(&[SHOP, &text]), [Verdict::Allow, Verdict::Allow, Verdict::Deny], "{text}");
        let refused = refused(&alert(), NOTHING, Will::Allow);
        assert_eq!(refused, "it passes: nothing that is in force stops it, so that no rule has to allow it");
    }

    #[test]
    fn what_an_entry_denies_no_rule_can_allow() {
        let denied = made(&alert(), NOTHING, Will::Deny);
        let refused = refused(&alert(), &denied, Will::Allow);
        assert_eq!(
            refused,
            "rule alert-9f2c41d0#to-db (shop.yaml:12) denies it, whatever allows it: that entry would have to go"
        );
    }

    #[test]
    fn a_peer_outside_is_denied_by_its_address_and_allowed_by_its_name() {
        let named = to_outside(Some("api.example.org"));
        let denied = made(&named, NOTHING, Will::Deny);
        assert!(denied.contains("from: {project: shop, service: web}"), "{denied}");
        assert!(denied.contains(r#"- {to: {cidr: "203.0.113.9"}, port: tcp/443}"#), "{denied}");
        let closed = "policy: closed\nmode: enforce\nrules: [{from: shop/web}]\n";
        let allowed = made(&named, closed, Will::Allow);
        assert!(allowed.contains("- {to: {dns: api.example.org}, port: tcp/443}"), "{allowed}");
        let allowed = made(&to_outside(None), closed, Will::Allow);
        assert!(allowed.contains(r#"- {to: {cidr: "203.0.113.9"}, port: tcp/443}"#), "{allowed}");
    }

    #[test]
    fn what_no_rule_can_say_is_refused() {
        let scan = Alert { target: None, protocol: None, port: None, ..alert() };
        assert_eq!(refused(&scan, NOTHING, Will::Deny), "it is not about one peer: no rule can say it");
        let nobody = Workload::named(WorkloadKind::Unknown, "cgroup 17");
        let unknown = Alert { target: Some(Arc::new(nobody)), ..alert() };
        assert_eq!(refused(&unknown, NOTHING, Will::Deny), "no policy can say who cgroup 17 is");
    }
}
