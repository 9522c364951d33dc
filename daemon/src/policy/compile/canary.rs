//! The daemon's own two workloads in a plan: they have identities as all have, and what holds for them is fixed.

use cofferdam_common::policy::{EGRESS, Identity};

use super::{
    Plan,
    admit::{Draft, key},
};
use crate::policy::{
    Signature,
    canary::{CLOSED, HIDDEN, OPEN, Role, nothing, only},
    limits::TooLarge,
    model::Direction,
    signature::Sort,
};

impl Plan {
    /// What holds for one of them, if it is one.
    pub(super) fn draw_canary(
        &mut self,
        identity: Identity,
        signature: &Signature,
        draft: &mut Draft,
    ) -> Result<(), TooLarge> {
        let Sort::Canary(role) = signature.sort else { return Ok(()) };
        let room = self.room.intervals;
        draft.subject.any = [self.spans.place(&nothing(), room)?; 2];
        let (sender, receiver) = match role {
            Role::Sender => {
                draft.subject.any[usize::from(EGRESS)] = self.spans.place(&only([OPEN, HIDDEN]), room)?;
                (Some(identity), self.canary(Role::Receiver))
            }
            Role::Receiver => (self.canary(Role::Sender), Some(identity)),
        };
        // Whoever comes second brings what holds between them.
        if let (Some(sender), Some(receiver)) = (sender, receiver) {
            let span = self.spans.place(&only([OPEN, CLOSED]), room)?;
            draft.pairs.push((key(receiver, sender, Direction::Ingress), span));
        }
        Ok(())
    }

    fn canary(&self, role: Role) -> Option<Identity> {
        self.known.get(&Signature { sort: Sort::Canary(role), atoms: Box::default() }).copied()
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_common::{
        network::{PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, VERDICT_ALLOW, VERDICT_DENY},
        policy::{INGRESS, judge, service},
    };

    use super::*;
    use crate::{
        event::{Workload, WorkloadKind},
        policy::samples,
    };

    /// Whatever somebody writes about everybody, and about names.
    const OF_ALL: &str = "policy: all
mode: enforce
rules:
  - from: any
    deny: [{to: any, port: tcp/7007}]
    allow: [{to: any}]
  - to: {name: cofferdam-canary-receiver}
  - {to: any, allow: [{from: any, port: tcp/7009}, {from: {name: \"cofferdam-*\"}}]}
  - {from: any, allow: [{to: {cidr: 169.254.0.0/16}}]}
";

    fn canary(role: Role) -> Workload {
        Workload::named(WorkloadKind::Canary, role.name())
    }

    fn admit(plan: &mut Plan, workload: &Workload) -> Identity {
        plan.admit(plan.signature(workload)).unwrap()
    }

    #[test]
    fn one_may_reach_the_other_as_is_fixed_whatever_others_write_and_whoever_comes_first() {
        for order in [Role::ALL, [Role::Receiver, Role::Sender]] {
            let mut plan = samples::plan("all.yaml", OF_ALL, samples::OPEN);
            let rules = plan.size().rules;
            let container = admit(&mut plan, &samples::container("cofferdam-canary-receiver"));
            for role in order {
                admit(&mut plan, &canary(role));
            }
            let late = admit(&mut plan, &samples::container("late"));
            let [sender, receiver] = Role::ALL.map(|role| admit(&mut plan, &canary(role)));
            assert_eq!(plan.size().rules, rules);
            let verdict = |direction, subject, peer, protocol, port| -> u8 {
                let judgement = judge(&plan, 0, direction, subject, peer, service(protocol, port));
                judgement.verdict
            };
            for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
                for (port, sends, receives) in [
                    (OPEN, VERDICT_ALLOW, VERDICT_ALLOW),
                    (CLOSED, VERDICT_DENY, VERDICT_ALLOW),
                    (HIDDEN, VERDICT_ALLOW, VERDICT_DENY),
                    (80, VERDICT_DENY, VERDICT_DENY),
                ] {
                    let outside = plan.identity_of_address("169.254.255.243".parse().unwrap());
                    for peer in [receiver, Identity::NOBODY, outside] {
                        assert_eq!(verdict(EGRESS, sender, peer, protocol, port), sends, "to {port}");
                    }
                    assert_eq!(verdict(INGRESS, receiver, sender, protocol, port), receives, "at {port}");
                    for peer in [container, late, Identity::NOBODY] {
                        assert_eq!(verdict(INGRESS, receiver, peer, protocol, port), VERDICT_DENY);
                    }
                    assert_eq!(verdict(EGRESS, receiver, sender, protocol, port), VERDICT_DENY);
                    assert_eq!(verdict(INGRESS, sender, receiver, protocol, port), VERDICT_DENY);
                }
            }
            assert_eq!(verdict(EGRESS, sender, receiver, PROTOCOL_ICMP, 8), VERDICT_DENY);
        }
    }

    #[test]
    fn where_there_are_none_a_plan_is_as_it_was() {
        let mut plan = samples::plan("shop.yaml", samples::SHOP, samples::OPEN);
        let before = plan.size();
        plan.take_additions();
        for role in Role::ALL {
            admit(&mut plan, &canary(role));
        }
        let (size, more) = (plan.size(), plan.take_additions());
        assert_eq!(
            (size.rules, size.identities, size.pairs),
            (before.rules, before.identities + 2, before.pairs + 1)
        );
        assert_eq!((more.pairs.len(), more.subjects.len()), (1, 2));
    }
}
