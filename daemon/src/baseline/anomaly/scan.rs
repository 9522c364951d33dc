//! Fan-out and fan-in: one that tries many, and many that try one.

use super::{
    book::Finding,
    gain::Gain,
    novelty::World,
    settings::{DAY, HOUR, MINUTE},
    subject::Subject,
    words,
};
use crate::alert::{AlertKind, Severity};

/// How many times as much is a scan of one that is still learned: it may look for its peers.
const BLATANT: usize = 5;

impl World<'_> {
    /// Whether what a workload has tried is a scan; `gain` is some of it, and whether any of it failed just now.
    pub(super) fn fan_out(
        &self,
        name: &str,
        subject: &Subject,
        gain: &Gain,
        failing: bool,
    ) -> Option<Finding> {
        let (tries, now, settings) = (&subject.tries, self.now, self.settings);
        let young = subject.is_young(now, settings);
        let factor = if young { BLATANT } else { 1 };
        let source = &gain.source;
        let failed = |span: i64, least: usize| {
            let count = tries.failed(now - span);
            (failing && count >= least * factor).then(|| {
                let span = words::span(span);
                let what =
                    format!("{source} tried {count} hosts and ports in {span} that it never used before");
                (count, format!("{what}, and nothing came of it: a scan"))
            })
        };
        let reached = || {
            let count = tries.reached(now - HOUR);
            (count >= settings.burst() && !young).then(|| {
                (
                    count,
                    format!(
                        "{source} reached {count} workloads within an hour that it never talked to before"
                    ),
                )
            })
        };
        let burst = failed(10 * MINUTE, settings.burst());
        let (level, sentence) = failed(DAY, settings.many()).or(burst).or_else(reached)?;
        Some(Finding {
            subject: name.to_owned(),
            kind: AlertKind::FanOut,
            severity: Severity::Critical,
            source: source.clone(),
            target: None,
            service: None,
            about: String::new(),
            level: level as u64,
            sentence,
        })
    }

    /// Whether many that never did so reach a workload; `gain` is what one of them did.
    pub(super) fn fan_in(&self, gain: &Gain) -> Option<Finding> {
        let target = self.subjects.get(&gain.peer)?;
        let count = target.callers.recent(self.now).count();
        (count >= self.settings.burst() && !target.is_young(self.now, self.settings)).then(|| Finding {
            subject: gain.peer.clone(),
            kind: AlertKind::FanIn,
            severity: Severity::Warning,
            source: gain.source.clone(),
            target: Some(gain.target.clone()),
            service: None,
            about: String::new(),
            level: count as u64,
            sentence: format!(
                "{count} workloads reached {} within an hour that never did so before; {} is one of them",
                gain.target, gain.source
            ),
        })
    }
}
