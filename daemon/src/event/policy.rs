//! Family policy: what was denied, or would have been.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Endpoint, Protocol, Verdict};

/// An interaction that a policy denied, or would have denied. Repeats are folded: `attempts`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Denial {
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
    use crate::{event::EventKind, sink::samples};

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
