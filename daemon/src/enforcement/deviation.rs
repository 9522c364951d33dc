//! What other policies would have decided of what was seen. Pure, but for reading the folder.

use std::{cmp::Reverse, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{InForce, Refused};
use crate::{
    event::{Protocol, Verdict, Workload},
    interaction::Edge,
    policy::{
        Plan, RuleNumbers,
        diff::Decided,
        folder::{NamedText, Set},
    },
};

/// Most deviations that are told.
pub const MOST_FINDINGS: usize = 10_000;
/// Most workloads that can be chosen.
const MOST_CHOSEN: usize = 64;

/// An interaction that would have been decided otherwise.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Deviation {
    /// Who began it.
    pub source: Arc<Workload>,
    /// With whom.
    pub target: Arc<Workload>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// The server's port.
    pub port: u16,
    /// What was decided.
    pub was: Verdict,
    /// What would have been.
    pub would_be: Decided,
    /// How often it was begun, or denied. None where only a connection went on that was open before.
    pub attempts: u64,
    /// When it was seen last.
    pub last_seen: Timestamp,
}

/// What an edge counts.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    /// Attempts, by verdict.
    pub(super) attempts: [u64; 3],
    pub(super) packets: u64,
}

const VERDICTS: [Verdict; 3] = [Verdict::Allow, Verdict::Audit, Verdict::Deny];

impl InForce {
    /// The plan of the folder's policies, as they would be with these files. Blocks.
    pub(super) fn plan_with(&self, files: &[NamedText]) -> Result<Plan, Refused> {
        let folder = self.lock().config.folder.path().to_owned();
        let set = Set::load_with(&folder, files).map_err(Refused::Broken)?;
        let plan = Plan::new(set.into_parts().0, self.settings(), &mut RuleNumbers::default());
        plan.map_err(|error| Refused::Unfit(error.to_string()))
    }
}

/// What would have been decided otherwise.
pub(super) fn deviations(edge: &Edge, seen: Counts, would_be: &Decided) -> Vec<Deviation> {
    let deviation = |was, attempts| Deviation {
        source: edge.source.clone(),
        target: edge.target.clone(),
        protocol: edge.protocol,
        port: edge.port,
        was,
        would_be: would_be.clone(),
        attempts,
        last_seen: edge.last_seen,
    };
    if seen.attempts == [0; 3] && would_be.verdict == Verdict::Deny {
        return vec![deviation(Verdict::Allow, 0)];
    }
    let otherwise = VERDICTS.into_iter().zip(seen.attempts);
    let otherwise = otherwise.filter(|(was, attempts)| *attempts > 0 && *was != would_be.verdict);
    otherwise.map(|(was, attempts)| deviation(was, attempts)).collect()
}

/// Keeps as many as are told: what would be stricter comes first, and of that what is seen most. Says how many are left out.
pub(super) fn first_of(found: &mut Vec<Deviation>) -> usize {
    found.sort_by_key(|deviation| (!deviation.is_stricter(), Reverse(deviation.attempts)));
    let left_out = found.len().saturating_sub(MOST_FINDINGS);
    found.truncate(MOST_FINDINGS);
    left_out
}

/// Whether it is an interaction of somebody who is called so; everybody's is where nobody is chosen.
pub(super) fn is_chosen(edge: &Edge, of: &[String]) -> bool {
    let called = |workload: &Workload| of.iter().any(|name| workload.is_called(name));
    of.is_empty() || called(&edge.source) || called(&edge.target)
}

pub(super) fn check_chosen(of: &[String]) -> Result<(), Refused> {
    if of.len() > MOST_CHOSEN {
        return Err(Refused::Unfit(format!("{MOST_CHOSEN} workloads can be chosen at most")));
    }
    Ok(())
}

impl Deviation {
    /// Whether less would have passed.
    #[must_use]
    pub fn is_stricter(&self) -> bool {
        self.would_be.verdict > self.was
    }

    /// Whether it passed and would be denied.
    #[must_use]
    pub fn is_newly_denied(&self) -> bool {
        self.was != Verdict::Deny && self.would_be.verdict == Verdict::Deny
    }
}

impl Counts {
    pub(super) fn of(edge: &Edge) -> Self {
        let verdicts = edge.verdicts;
        Self {
            attempts: [verdicts.allow, verdicts.audit, verdicts.deny],
            packets: edge.packets_sent + edge.packets_received,
        }
    }

    pub(super) fn minus(self, before: Self) -> Self {
        let mut attempts = self.attempts;
        for (count, before) in attempts.iter_mut().zip(before.attempts) {
            *count = count.saturating_sub(before);
        }
        Self { attempts, packets: self.packets.saturating_sub(before.packets) }
    }
}
