//! What a plan says of an interaction, as the kernel finds it (`Case::judge` of cofferdam-common): both ends, and of a peer
//! outside also by its names where nothing allows it by its address. Pure.

use cofferdam_common::policy::{EGRESS, INGRESS, Identity, Judgement, judge};

use super::{Plan, TooLarge, explain::End};

/// One end, as a plan knows it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Party {
    /// Of a peer outside, that of its address.
    pub(super) identity: Identity,
    /// Of a peer outside, by each name under which the source knows it. Those that no pattern means add nothing.
    pub(super) by_name: Box<[Identity]>,
}

impl Party {
    /// Whoever is at an end.
    ///
    /// # Errors
    /// There is no room for him.
    pub(super) fn of(end: &End<'_>, plan: &mut Plan) -> Result<Self, TooLarge> {
        match end {
            End::Workload(workload) => plan.admit(plan.signature(workload)).map(Self::from),
            End::Outside { address, names } => {
                let identity = address.map_or(Identity::NOBODY, |address| plan.identity_of_address(address));
                let by_name = names.iter().filter_map(|name| plan.identity_of_pattern(plan.pattern_of(name)));
                Ok(Self { identity, by_name: by_name.collect() })
            }
        }
    }
}

impl From<Identity> for Party {
    fn from(identity: Identity) -> Self {
        Self { identity, by_name: Box::default() }
    }
}

/// What holds for the source, and what for the target.
pub(super) fn judge_ends(plan: &Plan, source: &Party, target: &Party, service: u32) -> [Judgement; 2] {
    let sends = |peer| judge(plan, 0, EGRESS, source.identity, peer, service);
    let receives = judge(plan, 0, INGRESS, target.identity, source.identity, service);
    let by_name = target.by_name.iter().map(|identity| sends(*identity));
    [sends(target.identity).or_by_names(by_name), receives]
}
