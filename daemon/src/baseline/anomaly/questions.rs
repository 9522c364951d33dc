//! What a workload asks the DNS, by the hour: how many names below one domain, and how many that there are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{names, room::forget_lowest, settings::HOUR};
use crate::event::{DnsAnswer, Workload, number};

/// Domains of which names are counted within an hour.
const DOMAINS: usize = 32;
/// Names of one domain that are told apart.
const NAMES: usize = 256;
/// Domains that there are not, or are.
const MISSING: usize = 512;
/// Domains of which it is known how many names are usual.
const USUAL: usize = 64;
/// Names below one domain within an hour that may carry data.
const TUNNEL: usize = 40;
/// Letters of what is before the domain, in the middle, from which on they may.
const LETTERS: u64 = 20;
/// And bits of entropy a letter, in thousandths.
const ENTROPY: u64 = 3_000;
/// Domains within an hour that there are not.
const GENERATED: usize = 20;

/// What was asked.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Questions {
    /// Who asked last.
    pub(super) asker: Option<Arc<Workload>>,
    /// When.
    pub(super) asked: i64,
    hour: i64,
    tainted: bool,
    domains: BTreeMap<String, Asked>,
    /// Domains of which no name had an address, and how long their label is.
    missing: BTreeMap<u64, u8>,
    found: BTreeSet<u64>,
    usual_missing: usize,
    /// How many names of a domain an hour had, and when last.
    usual: BTreeMap<String, (usize, i64)>,
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Asked {
    names: BTreeSet<u64>,
    questions: u64,
    letters: u64,
    /// Thousandths of a bit.
    entropy: u64,
}

/// What is odd.
#[derive(Debug, PartialEq)]
pub(super) enum Odd {
    /// Names of one domain that look like data.
    Tunnel { domain: String, names: usize, letters: u64, usual: usize },
    /// Domains that there are not.
    Generated { missing: usize, found: usize, usual: usize },
}

impl Questions {
    /// Counts an answer.
    pub(super) fn count(&mut self, answer: &DnsAnswer, now: i64) {
        self.turn(now);
        self.asked = now;
        if self.asker.as_ref() != Some(&answer.workload) {
            self.asker = Some(Arc::clone(&answer.workload));
        }
        let Some(name) = answer.name.as_deref() else { return };
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        // Numbers of addresses backwards are names of their own kind, and a name without a dot is of this host.
        if name.ends_with(".arpa") || !name.contains('.') {
            return;
        }
        let domain = names::domain(&name);
        self.addresses(&domain, answer);
        let before = name.strip_suffix(&domain).unwrap_or_default().trim_end_matches('.');
        if before.is_empty() {
            return;
        }
        if !self.domains.contains_key(&domain) && self.domains.len() >= DOMAINS {
            forget_lowest(&mut self.domains, |_, asked| asked.names.len());
        }
        let asked = self.domains.entry(domain).or_default();
        if asked.names.len() < NAMES && asked.names.insert(number([name.as_str()])) {
            asked.questions += 1;
            asked.letters += before.len() as u64;
            asked.entropy += entropy(before);
        }
    }

    fn addresses(&mut self, domain: &str, answer: &DnsAnswer) {
        if !matches!(answer.record_type.as_deref(), Some("A" | "AAAA")) || answer.truncated {
            return;
        }
        let number = number([domain]);
        if !answer.addresses.is_empty() {
            self.missing.remove(&number);
            if self.found.len() < MISSING {
                self.found.insert(number);
            }
        } else if !self.found.contains(&number) && self.missing.len() < MISSING {
            let label = domain.split('.').next().unwrap_or_default().len();
            self.missing.insert(number, u8::try_from(label).unwrap_or(u8::MAX));
        }
    }

    /// What is usual is learned when an hour is over.
    fn turn(&mut self, now: i64) {
        let hour = now.div_euclid(HOUR);
        if hour <= self.hour {
            return;
        }
        if !self.tainted {
            self.usual_missing = self.usual_missing.max(self.missing.len());
            let many: Vec<_> =
                self.domains.iter().map(|(domain, asked)| (domain.clone(), asked.names.len())).collect();
            for (domain, count) in many.into_iter().filter(|(_, count)| *count >= TUNNEL / 4) {
                self.learn(domain, count, now);
            }
        }
        self.domains.clear();
        self.missing.clear();
        self.found.clear();
        (self.hour, self.tainted) = (hour, false);
    }

    fn learn(&mut self, domain: String, count: usize, now: i64) {
        if self.usual.len() >= USUAL && !self.usual.contains_key(&domain) {
            forget_lowest(&mut self.usual, |_, (_, last)| *last);
        }
        let (most, last) = self.usual.entry(domain).or_default();
        (*most, *last) = ((*most).max(count), now);
    }

    /// What is odd in this hour.
    pub(super) fn odd(&self) -> Vec<Odd> {
        let mut odd = Vec::new();
        for (domain, asked) in &self.domains {
            let (names, usual) = (asked.names.len(), self.usual.get(domain).map_or(0, |(most, _)| *most));
            let (letters, entropy) =
                (asked.letters / asked.questions.max(1), asked.entropy / asked.questions.max(1));
            let shaped = letters >= LETTERS && entropy >= ENTROPY;
            if names >= TUNNEL && names > 3 * usual && shaped {
                odd.push(Odd::Tunnel { domain: domain.clone(), names, letters, usual });
            }
        }
        let (missing, found, usual) = (self.missing.len(), self.found.len(), self.usual_missing);
        let letters: usize = self.missing.values().map(|letters| usize::from(*letters)).sum();
        if missing >= GENERATED && missing > 3 * usual && missing > found && letters >= 7 * missing {
            odd.push(Odd::Generated { missing, found, usual });
        }
        odd
    }

    /// What is odd in this hour was normal.
    pub(super) fn trust(&mut self, domain: &str, level: usize, now: i64) {
        if domain.is_empty() {
            self.usual_missing = self.usual_missing.max(level);
        } else {
            self.learn(domain.to_owned(), level, now);
        }
    }

    pub(super) fn taint(&mut self) {
        self.tainted = true;
    }

    pub(super) fn forget(&mut self, now: i64, forget: i64) {
        self.turn(now);
        self.usual.retain(|_, (_, last)| now - *last < forget);
    }

    pub(super) fn fits(&self) -> bool {
        self.domains.len() <= DOMAINS
            && self.domains.values().all(|asked| asked.names.len() <= NAMES)
            && self.missing.len() <= MISSING
            && self.found.len() <= MISSING
            && self.usual.len() <= USUAL
    }
}

/// How much a letter of a text says, in thousandths of a bit.
fn entropy(text: &str) -> u64 {
    let mut counts = [0u32; 256];
    text.bytes().filter(|byte| *byte != b'.').for_each(|byte| counts[usize::from(byte)] += 1);
    let all = f64::from(counts.iter().sum::<u32>().max(1));
    let parts = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / all);
    (-1_000.0 * parts.map(|part| part * part.log2()).sum::<f64>()).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_says_more_than_words() {
        assert_eq!(entropy("aaaa"), 0);
        assert!(entropy("www") < 100 && entropy("4f9a0c77d1be82a6330f5e9d") > 3_000);
    }
}
