//! Odd questions of the DNS as findings.

use super::{book::Finding, novelty::World, questions::Odd};
use crate::{
    baseline::words::counted,
    event::{AlertKind, Severity},
};

impl World<'_> {
    /// What is odd in what workloads asked in this hour, of those who asked within this turn.
    pub(super) fn odd_questions(&self) -> Vec<Finding> {
        let asked = |(_, subject): &(&String, &super::Subject)| {
            subject.questions.asked == self.now && !subject.is_young(self.now, self.settings)
        };
        let mut findings = Vec::new();
        for (name, subject) in self.subjects.iter().filter(asked) {
            let Some(source) = &subject.questions.asker else { continue };
            for odd in subject.questions.odd() {
                let (about, level, what) = describe(odd);
                findings.push(Finding {
                    subject: name.clone(),
                    kind: AlertKind::OddDns,
                    severity: Severity::Critical,
                    source: source.clone(),
                    target: None,
                    service: None,
                    about,
                    level,
                    sentence: format!("{source} asked {what}"),
                });
            }
        }
        findings
    }
}

fn describe(odd: Odd) -> (String, u64, String) {
    match odd {
        Odd::Tunnel { domain, names, letters, usual } => {
            let what = format!(
                "for {names} names below {domain} within an hour, {letters} letters long on average; {usual} are usual: \
                 data may leave in them"
            );
            (domain, names as u64, what)
        }
        Odd::Generated { missing, found, usual } => {
            let domains = counted(missing as u64, "domain");
            let what = format!(
                "for {domains} within an hour that there are not, and for {found} that there are; {usual} are usual: the \
                 names may be generated"
            );
            (String::new(), missing as u64, what)
        }
    }
}
