//! Signatures: all that rules can tell of a workload. Workloads of one signature have one identity.

use std::collections::HashMap;

use super::{
    canary::Role,
    model::Peer,
    rules::{Atom, Rules},
};
use crate::{
    config::Selector,
    event::{Workload, WorkloadKind},
};

/// Which selectors of the policies select somebody, and what sort he is of. Of use with the plan that made it only.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Signature {
    pub(super) sort: Sort,
    /// Ascending.
    pub(super) atoms: Box<[Atom]>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Sort {
    /// Defaults are for containers.
    Container,
    /// Another workload of this host.
    Here,
    /// A peer, but never a subject.
    Outside,
    /// One of the daemon's own, about which no rule is.
    Canary(Role),
}

impl Signature {
    /// A peer that no rule names.
    pub(super) fn nobody() -> Self {
        Self::outside(Box::default())
    }

    /// Whether rules may be about it.
    pub(super) fn is_here(&self) -> bool {
        matches!(self.sort, Sort::Container | Sort::Here)
    }

    /// One of the daemon's own.
    fn canary(name: &str) -> Self {
        Role::of(name)
            .map_or_else(Self::nobody, |role| Self { sort: Sort::Canary(role), atoms: Box::default() })
    }

    /// A peer within all these networks, or of all these patterns of names.
    pub(super) fn outside(atoms: Box<[Atom]>) -> Self {
        Self { sort: Sort::Outside, atoms }
    }
}

/// The selectors of all policies, so ordered that those which ask for a name need not be tried.
#[derive(Debug)]
pub(super) struct Selectors {
    named: HashMap<Box<str>, Vec<(Atom, Selector)>>,
    others: Vec<(Atom, Selector)>,
}

impl Selectors {
    pub(super) fn new(rules: &Rules) -> Self {
        let (mut named, mut others) = (HashMap::<Box<str>, Vec<_>>::new(), Vec::new());
        for (atom, peer) in rules.atoms() {
            let Peer::Workload(selector) = peer else { continue };
            let kept = (atom, selector.clone());
            match selector.exact_name() {
                Some(name) => named.entry(name.into()).or_default().push(kept),
                None => others.push(kept),
            }
        }
        Self { named, others }
    }

    pub(super) fn signature(&self, workload: &Workload) -> Signature {
        let sort = match workload.kind {
            WorkloadKind::Container => Sort::Container,
            // A cgroup of which nothing could be learned is one of this host all the same: rules about all mean it.
            WorkloadKind::Unit | WorkloadKind::Host | WorkloadKind::Cgroup | WorkloadKind::Unknown => {
                Sort::Here
            }
            WorkloadKind::Outside | WorkloadKind::Other => return Signature::nobody(),
            WorkloadKind::Canary => return Signature::canary(&workload.name),
        };
        let named = workload.names().filter_map(|name| self.named.get(name)).flatten();
        let selecting = named.chain(&self.others).filter(|(_, selector)| selector.selects(workload));
        let mut atoms: Vec<_> = selecting.map(|(atom, _)| *atom).collect();
        atoms.sort_unstable();
        atoms.dedup();
        Signature { sort, atoms: atoms.into() }
    }
}
