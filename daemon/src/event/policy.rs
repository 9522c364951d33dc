//! Family policy: what was denied, or would have been.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Caller, Endpoint, Protocol, Verdict, id};

/// An interaction that a policy denied, or would have denied. Repeats are folded: `attempts`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Denial {
    /// Made of what it is about, so that repeats have the same: 16 hexadecimal digits. Empty in what daemons wrote that made none.
    #[serde(default)]
    pub id: String,
    /// Who sent. The port is 0, and the address unspecified, where it was told before it had chosen one.
    pub source: Endpoint,
    /// To whom.
    pub target: Endpoint,
    /// Transport protocol.
    pub protocol: Protocol,
    /// `deny`, or `audit` where it passed.
    pub verdict: Verdict,
    /// Of which end it was decided.
    pub direction: Direction,
    /// Why.
    pub reason: Reason,
    /// The rule that decided, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Arc<RuleName>>,
    /// Where in the kernel: `connect`, `egress`, `ingress`, `veth` or `lsm`.
    pub layer: String,
    /// Packets and calls of the same kind since the last such event, this one included.
    pub attempts: u64,
    /// Whose call it was, of several attempts the one that was told. Absent where that is not sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
}

/// A rule, and where it stands.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RuleName {
    /// Policy and rule: `shop#2`, `shop#db-from-api`.
    pub name: String,
    /// Which file.
    pub file: String,
    /// Line of the rule, from 1.
    pub line: u32,
}

/// Of which end a verdict is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// What the source sends.
    Egress,
    /// What the target receives.
    Ingress,
}

/// Why a verdict was given.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The rule says so.
    Rule,
    /// The rule selects the workload, and neither it nor another allows this.
    NotAllowed,
    /// No rule selects the workload, and the default of the direction denies.
    Default,
    /// It was not known yet who one of them is.
    Unresolved,
    /// The source's address is not its own.
    Forged,
}

impl Denial {
    /// With the id of what it is about: who, with whom, over what, and why. Replicas and the layer make no difference.
    #[must_use]
    pub fn with_id(self) -> Self {
        let Self { source, target, protocol, verdict, direction, reason, rule, .. } = &self;
        let service = protocol.service(target.port);
        let why = format!("{verdict:?} {direction:?} {reason:?}");
        let rule = rule.as_ref().map_or("", |rule| rule.name.as_str());
        let id = id([source.workload.name.as_str(), &target.workload.name, &service, &why, rule]);
        Self { id, ..self }
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, target, protocol, .. } = self;
        let service = protocol.service(target.port);
        let verdict = if self.verdict == Verdict::Deny { "denied" } else { "would be denied" };
        write!(f, "{} -> {} {service} {verdict}", source.workload, target.workload)?;
        match (self.reason, &self.rule) {
            (Reason::Rule, Some(rule)) => write!(f, " by {rule}")?,
            (Reason::NotAllowed, Some(rule)) => write!(f, ", not allowed by {rule}")?,
            (Reason::Unresolved, _) => f.write_str(" until it is known who it is")?,
            (Reason::Forged, _) => f.write_str(", for it sends with an address that is not its own")?,
            (Reason::Default, _) => f.write_str(" by default")?,
            // Removed since, or just coming into force.
            (Reason::Rule | Reason::NotAllowed, None) => f.write_str(" by a rule that is not known")?,
        }
        if self.attempts > 1 { write!(f, ", {} times", self.attempts) } else { Ok(()) }
    }
}

impl fmt::Display for RuleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{})", self.name, self.file, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{EventKind, Workload},
        sink::samples,
    };

    fn denial() -> Denial {
        match samples::denial().kind {
            EventKind::Denial(denial) => Denial { attempts: 1, ..denial },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_sentence_says_what_became_of_it_and_why() {
        let rule = "shop#2 (/etc/cofferdam/policies/shop.yaml:14)";
        let (deny, audit) = (Verdict::Deny, Verdict::Audit);
        let none = Denial { rule: None, ..denial() };
        for (denial, end) in [
            (Denial { reason: Reason::Rule, ..denial() }, format!("denied by {rule}")),
            (
                Denial { verdict: audit, reason: Reason::Rule, ..denial() },
                format!("would be denied by {rule}"),
            ),
            (Denial { verdict: deny, ..denial() }, format!("denied, not allowed by {rule}")),
            (Denial { verdict: audit, ..denial() }, format!("would be denied, not allowed by {rule}")),
            (Denial { reason: Reason::Default, ..none.clone() }, "denied by default".to_owned()),
            (
                Denial { reason: Reason::Unresolved, ..none.clone() },
                "denied until it is known who it is".to_owned(),
            ),
            // The policy has been removed meanwhile.
            (Denial { reason: Reason::Rule, ..none }, "denied by a rule that is not known".to_owned()),
        ] {
            assert_eq!(denial.to_string(), format!("shop/web -> shop/db tcp/5432 {end}"));
        }
    }

    #[test]
    fn what_is_about_the_same_has_the_same_id() {
        let id = denial().id;
        assert_eq!(id.len(), 16);
        let replica = Workload { id: Some("another".to_owned()), ..(*denial().source.workload).clone() };
        let source = Endpoint { workload: replica.into(), port: 1, ..denial().source };
        let again = Denial { source, layer: "egress".to_owned(), attempts: 7, ..denial() };
        assert_eq!(again.with_id().id, id);
        let port = |port| Denial { target: Endpoint { port, ..denial().target }, ..denial() };
        let others = [
            port(80),
            Denial { verdict: Verdict::Audit, ..denial() },
            Denial { direction: Direction::Egress, ..denial() },
            Denial { reason: Reason::Rule, ..denial() },
            Denial { rule: None, ..denial() },
            Denial { source: denial().target, target: denial().source, ..denial() },
        ];
        let ids: std::collections::BTreeSet<_> = others.into_iter().map(|it| it.with_id().id).collect();
        assert_eq!((ids.len(), ids.contains(&id)), (6, false));
    }

    #[test]
    fn repeats_are_told_by_their_number() {
        let folded = Denial { reason: Reason::Default, rule: None, attempts: 40, ..denial() };
        assert!(folded.to_string().ends_with(" denied by default, 40 times"), "{folded}");
    }

    #[test]
    fn what_has_no_ports_goes_by_its_protocol() {
        let mut ping = Denial { protocol: Protocol::Icmp, reason: Reason::Default, rule: None, ..denial() };
        ping.target.port = 0;
        assert_eq!(ping.to_string(), "shop/web -> shop/db icmp denied by default");
    }
}
