//! The policies of the bench, as somebody would write them.

use std::fmt::Write as _;

/// Who sends what is measured. Each rule allows it, and none is about it.
pub(super) const SENDER: &str = "bench/sender";

/// So many rules, which name so many workloads.
pub(super) struct Written {
    pub(super) rules: usize,
    pub(super) workloads: usize,
}

/// What a workload is called.
pub(super) fn name(number: usize) -> String {
    format!("bench/{number}")
}

impl Written {
    /// Workloads that rules are about, from the first on.
    pub(super) fn subjects(&self) -> usize {
        self.rules.min(self.workloads)
    }

    pub(super) fn text(&self) -> String {
        self.with(|_| true, |_| None)
    }

    /// The rule in the middle allows another port.
    pub(super) fn text_with_another_port(&self) -> String {
        self.with(|_| true, |rule| (rule == self.rules / 2).then_some(80))
    }

    /// The rule in the middle is not there.
    pub(super) fn text_with_a_rule_less(&self) -> String {
        self.with(|rule| rule != self.rules / 2, |_| None)
    }

    /// Rules take turns in being about each workload, each time with another port, and name others as peers, so many that
    /// all are named. One of ten allows the sender.
    fn with(&self, is_there: impl Fn(usize) -> bool, other_port: impl Fn(usize) -> Option<usize>) -> String {
        let Self { rules, workloads } = *self;
        let peers = workloads.div_ceil(rules);
        let mut text = "policy: bench\nmode: enforce\nrules:\n".to_owned();
        for rule in (0..rules).filter(|rule| is_there(*rule)) {
            let (subject, round) = (rule % workloads, rule / workloads);
            let sender = (round % 10 == 0).then(|| SENDER.to_owned());
            let others = (0..peers).map(|peer| name((subject * peers + round * 7 + peer + 1) % workloads));
            let from: Vec<_> = sender.into_iter().chain(others).collect();
            // Where there are enough, a rule is of one for one other.
            let from = if peers == 1 { &from[..1] } else { &from };
            let port = other_port(rule).unwrap_or(1_000 + round);
            let icmp = if round == 0 { "icmp, " } else { "" };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "  - {{name: r{rule}, to: {}, allow: [{{from: [{}], ports: [{icmp}tcp/{port}]}}]}}",
                name(subject),
                from.join(", ")
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_rule_is_about_one_workload_and_all_are_named() {
        for (rules, workloads) in [(10, 10), (10, 1_000), (1_000, 10), (1_000, 1_000)] {
            let text = Written { rules, workloads }.text();
            assert_eq!(text.lines().count(), 3 + rules);
            for number in 0..workloads {
                assert!(
                    text.contains(&format!("{},", name(number)))
                        || text.contains(&format!("{}]", name(number)))
                );
            }
            assert_eq!(text.matches(SENDER).count(), rules.div_ceil(10).max(rules.min(workloads)));
        }
    }
}
