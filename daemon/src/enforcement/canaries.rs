//! What the daemon's own workloads found when they last tried what is enforced.

use std::sync::PoisonError;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Finding, InForce, What};

/// How many faults are told one by one.
const TOLD: usize = 8;

/// What they found: a part of `GET /v1/status`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Tried {
    /// How it went.
    pub outcome: TriedOutcome,
    /// When that was.
    pub tried_at: Timestamp,
    /// When all last went as it must; absent where it never did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub right_at: Option<Timestamp>,
    /// What did not go as it must, or why nothing can be tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// Why of the layers the one that judges calls is not tried, where it is there; absent where it is tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub untried: Option<String>,
}

/// How it went.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TriedOutcome {
    /// What is allowed arrived, and what is denied did not.
    Right,
    /// Something arrived that must not, was denied elsewhere than it must be, or did not arrive that must.
    Wrong,
    /// It cannot be tried: of what is enforced that says nothing.
    Impossible,
}

impl TriedOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Right, Self::Wrong, Self::Impossible];

    /// As in JSON and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Wrong => "wrong",
            Self::Impossible => "impossible",
        }
    }
}

impl Tried {
    /// After a try; `before` is what was known until then, `untried` why one layer was left out.
    #[must_use]
    pub fn after(
        before: Option<&Self>,
        tried: Result<Vec<String>, String>,
        untried: Option<&str>,
        now: Timestamp,
    ) -> Self {
        let before = before.and_then(|before| before.right_at);
        let (outcome, right_at, faults) = match tried {
            Ok(faults) if faults.is_empty() => (TriedOutcome::Right, Some(now), faults),
            Ok(faults) => (TriedOutcome::Wrong, before, faults),
            Err(why) => (TriedOutcome::Impossible, before, vec![why]),
        };
        Self { outcome, tried_at: now, right_at, faults, untried: untried.map(str::to_owned) }
    }

    /// What is to be said of it. That it cannot be tried is no fault of what is enforced.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let fault = |fault: &String| match self.outcome {
            TriedOutcome::Impossible => Finding::noted(
                What::Canary,
                format!("canaries: it cannot be tried what is enforced: {fault}"),
            ),
            TriedOutcome::Right | TriedOutcome::Wrong => {
                Finding::open(What::Canary, format!("canary: {fault}"))
            }
        };
        let more = self.faults.len().saturating_sub(TOLD);
        let more = (more > 0)
            .then(|| Finding::open(What::Canary, format!("canaries: {more} more tries went wrong")));
        let untried = self.untried.as_ref().map(|why| {
            Finding::noted(What::Canary, format!("canaries: nothing is tried at the layer lsm: {why}"))
        });
        self.faults.iter().take(TOLD).map(fault).chain(more).chain(untried).collect()
    }
}

impl InForce {
    /// Keeps what was tried; `None` while nothing is. `untried` is why one layer was left out. Returns what is known now.
    pub fn set_tried(
        &self,
        tried: Option<Result<Vec<String>, String>>,
        untried: Option<&str>,
    ) -> Option<Tried> {
        let mut kept = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tried = tried.map(|tried| Tried::after(kept.tried.as_ref(), tried, untried, Timestamp::now()));
        kept.tried.clone()
    }

    /// What is to be said of what was tried last.
    #[must_use]
    pub fn tried_findings(&self) -> Vec<Finding> {
        let kept = self.verified.lock().unwrap_or_else(PoisonError::into_inner);
        kept.tried.as_ref().map(Tried::findings).unwrap_or_default()
    }

    /// How often the daemon's own workloads try what is enforced; `None` where they are turned off.
    #[must_use]
    pub fn tries_every(&self) -> Option<std::time::Duration> {
        let state = self.lock();
        let every = std::time::Duration::from_secs(state.config.canaries_every_seconds.get().into());
        state.config.canaries.then_some(every)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enforcement::{Look, Outcome, Verified};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn each_outcome_goes_by_one_name() {
        for outcome in TriedOutcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.name());
        }
    }

    #[test]
    fn what_went_wrong_is_a_fault_and_that_nothing_can_be_tried_is_none() {
        let right = Tried::after(None, Ok(Vec::new()), None, at(5));
        assert_eq!(
            (right.outcome, right.right_at, right.findings()),
            (TriedOutcome::Right, Some(at(5)), Vec::new())
        );
        let wrong = Tried::after(Some(&right), Ok(vec!["it arrived".to_owned()]), None, at(65));
        assert_eq!((wrong.tried_at, wrong.right_at), (at(65), Some(at(5))));
        let [finding] = &wrong.findings()[..] else { panic!("{wrong:?}") };
        assert_eq!((finding.outcome, finding.text.as_str()), (Outcome::Open, "canary: it arrived"));
        let many = Tried::after(None, Ok(vec!["it arrived".to_owned(); TOLD + 2]), None, at(65)).findings();
        assert_eq!((many.len(), many[TOLD].text.as_str()), (TOLD + 1, "canaries: 2 more tries went wrong"));
        let impossible = Tried::after(Some(&wrong), Err("no veth".to_owned()), None, at(125));
        assert_eq!(impossible.right_at, Some(at(5)));
        let look = |tried: &Tried| Look { left: tried.findings(), ..Look::default() };
        assert!(!Verified::after(None, look(&wrong), at(66)).verified);
        let verified = Verified::after(None, look(&impossible), at(126));
        assert!(verified.verified && verified.foreign == 0);
        assert!(verified.noted().next().is_some_and(|it| it.text.ends_with("no veth")));
    }

    #[test]
    fn a_layer_that_is_not_tried_is_noted_and_no_fault() {
        let tried = Tried::after(None, Ok(Vec::new()), Some("no such cgroup"), at(5));
        assert_eq!((tried.outcome, tried.right_at), (TriedOutcome::Right, Some(at(5))));
        let [finding] = &tried.findings()[..] else { panic!("{tried:?}") };
        assert_eq!(
            (finding.outcome, finding.text.as_str()),
            (Outcome::Noted, "canaries: nothing is tried at the layer lsm: no such cgroup")
        );
    }
}
