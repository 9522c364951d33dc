//! Whether what one entry is about holds all that another is about, by what is written alone. When in doubt, no.

use crate::policy::model::{Network, Peer, Protocol, Services};

/// Comparisons that a check may cost: some seconds. Whoever writes so many policies that it is not enough has them
/// written by a program.
const MOST: u64 = 100_000_000;

/// How much comparing is left.
#[derive(Debug)]
pub(super) struct Work {
    left: u64,
    told: bool,
}

impl Default for Work {
    fn default() -> Self {
        Self { left: MOST, told: false }
    }
}

impl Work {
    /// Takes some of it; without it nothing may be compared.
    pub(super) fn take(&mut self, comparisons: usize) -> bool {
        let comparisons = u64::try_from(comparisons).unwrap_or(u64::MAX);
        let enough = comparisons <= self.left;
        self.left = if enough { self.left - comparisons } else { 0 };
        enough
    }

    /// Whether nothing is left; said once.
    pub(super) fn ended_now(&mut self) -> bool {
        let ended = self.left == 0 && !self.told;
        self.told |= ended;
        ended
    }
}

/// Whether a peer is one name, of workloads or of the DNS, which covers nothing but itself.
pub(super) fn is_narrow(peer: &Peer) -> bool {
    match peer {
        Peer::Workload(selector) => selector.exact_name().is_some(),
        Peer::Name(pattern) => pattern.is_whole(),
        Peer::Any | Peer::Network(_) => false,
    }
}

/// Whether each of the narrow is covered by one of the wide.
pub(super) fn covers_peers(wide: &[Peer], narrow: &[Peer], work: &mut Work) -> bool {
    work.take(wide.len().saturating_add(narrow.len()))
        && (wide == narrow
            || work.take(wide.len().saturating_mul(narrow.len()))
                && narrow.iter().all(|narrow| wide.iter().any(|wide| covers_peer(wide, narrow))))
}

pub(super) fn covers_peer(wide: &Peer, narrow: &Peer) -> bool {
    match (wide, narrow) {
        (Peer::Any, _) => true,
        (Peer::Workload(wide), Peer::Workload(narrow)) => wide.covers(narrow),
        (Peer::Network(wide), Peer::Network(narrow)) => covers_network(wide, narrow),
        (Peer::Name(wide), Peer::Name(narrow)) => wide.covers(narrow),
        _ => false,
    }
}

fn covers_network(wide: &Network, narrow: &Network) -> bool {
    let apart = |hole: &ipnet::IpNet| !hole.contains(&narrow.cidr) && !narrow.cidr.contains(hole);
    wide.cidr.contains(&narrow.cidr)
        && wide
            .except
            .iter()
            .all(|hole| apart(hole) || narrow.except.iter().any(|other| other.contains(hole)))
}

/// Whether each of the narrow is covered by one of the wide.
pub(super) fn covers_services(wide: &[Services], narrow: &[Services], work: &mut Work) -> bool {
    let covers = |wide: &Services, narrow: &Services| {
        wide.protocol == Protocol::Any
            || (wide.protocol == narrow.protocol
                && wide.ports.0 <= narrow.ports.0
                && narrow.ports.1 <= wide.ports.1)
    };
    work.take(wide.len().saturating_mul(narrow.len()))
        && narrow.iter().all(|narrow| wide.iter().any(|wide| covers(wide, narrow)))
}
