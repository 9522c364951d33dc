//! The least that allows what was seen, as policies: who may send to each workload, and to whom it may send. Pure.
//!
//! Workloads are told by what stays when their container is replaced ([`side`]), ports are the server's ([`services`]), and
//! peers outside are names and networks where there are many ([`fold`]). Each workload of which something is learned is closed
//! in both directions: what was never seen of it is denied. What the kernel judges are the halves of connections through a
//! proxy, and so these are what is learned from.

mod made_up;

pub(crate) mod side;

pub(crate) mod services;

mod fold;

pub(crate) mod seen;

mod rules;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use self::{
    seen::{Key, Seen, Sum},
    side::{Here, Side, Untold},
};
use crate::{
    baseline::words::counted,
    config::{Problem, Selector},
    history::Past,
    policy::{
        model::{Direction, Mode},
        write::{Document, Names, Rule, checked},
    },
};

/// Most that is left out of which a comment tells.
const MOST_TOLD: usize = 100;

/// From what is learned, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mode of the policies.
    pub mode: Mode,
    /// Whom they are about; all containers where nobody is chosen.
    pub of: Vec<Selector>,
    /// On fewer days than that an interaction was not seen enough.
    pub min_days: u64,
    /// When what is learned from begins.
    pub since: Timestamp,
    /// And ends.
    pub until: Timestamp,
}

/// What was learned.
#[derive(Clone, Debug)]
pub struct Learned {
    /// Policies, as YAML.
    pub text: String,
    /// How many rules they have.
    pub rules: usize,
    /// About how many workloads they are, replicas together.
    pub workloads: usize,
    /// How many flows were looked at: begun, or denied.
    pub flows: u64,
    /// How many of these the policies allow.
    pub explained: u64,
    /// What they do not allow, though it was seen.
    pub left_out: Vec<LeftOut>,
}

/// An interaction that was seen and is not allowed by what was learned.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct LeftOut {
    /// Who began it.
    pub source: String,
    /// With whom.
    pub target: String,
    /// Protocol and port.
    pub service: String,
    /// Why it is left out.
    pub why: Why,
    /// How often it was seen.
    pub flows: u64,
}

/// Why something is left out.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// None of it was let through.
    OnlyDenied,
    /// All attempts failed.
    NeverOpened,
    /// On too few days.
    Rare,
    /// One of the ends is a workload of which nothing is known.
    Unknown,
    /// It stands for many, because there was no room or because the configuration calls a network so.
    Many,
    /// No policy can say it.
    Unsayable,
}

/// Learns from what was seen.
///
/// # Errors
/// What comes of it is more than policies can be.
pub fn learn(past: &[Past], options: &Options) -> Result<Learned, Problem> {
    let seen = Seen::of(past, options);
    let all = flows(seen.interactions.values().chain(seen.untold.values()));
    let (kept, left_out) = sort(&seen, options);
    let explained = flows(kept.iter().map(|(_, sum)| *sum));
    let documents = documents(&kept, &seen.subjects);
    let workloads = documents.values().map(BTreeMap::len).sum();
    let documents: Vec<_> = documents.into_iter().map(|(name, subjects)| document(name, subjects)).collect();
    let rules = documents.iter().map(|document| document.rules.len()).sum();
    let text = checked(&comments(&left_out, options), documents, options.mode)?;
    Ok(Learned { text, rules, workloads, flows: all, explained, left_out })
}

fn flows<'a>(sums: impl Iterator<Item = &'a Sum>) -> u64 {
    sums.fold(0, |all, sum| all.saturating_add(sum.attempts))
}

/// What is allowed, and what is left out.
fn sort<'a>(seen: &'a Seen, options: &Options) -> (Vec<(&'a Key, &'a Sum)>, Vec<LeftOut>) {
    let (mut kept, mut left_out) = (Vec::new(), Vec::new());
    for (key, sum) in &seen.interactions {
        let why = if sum.is_denied() {
            Why::OnlyDenied
        } else if !sum.is_open() {
            Why::NeverOpened
        } else if sum.days() < options.min_days {
            Why::Rare
        } else {
            kept.push((key, sum));
            continue;
        };
        let (source, target, protocol, port) = key;
        left_out.push(LeftOut {
            source: source.label(),
            target: target.label(),
            service: protocol.service(*port),
            why,
            flows: sum.attempts,
        });
    }
    for ((source, target, service, untold), sum) in &seen.untold {
        left_out.push(LeftOut {
            source: source.clone(),
            target: target.clone(),
            service: service.clone(),
            why: (*untold).into(),
            flows: sum.attempts,
        });
    }
    left_out.sort_by(|a, b| (a.why, &a.source, &a.target).cmp(&(b.why, &b.source, &b.target)));
    (kept, left_out)
}

impl From<Untold> for Why {
    fn from(untold: Untold) -> Self {
        match untold {
            Untold::Unknown => Self::Unknown,
            Untold::Many => Self::Many,
            Untold::Unsayable => Self::Unsayable,
        }
    }
}

/// What was seen of a workload: what it got, and what it sent.
type Both = [rules::Seen; 2];

/// Those about whom there are policies, by policy. Of whom nothing is learned there is none.
fn documents<'a>(
    kept: &[(&'a Key, &Sum)],
    subjects: &BTreeSet<Side>,
) -> BTreeMap<&'a str, BTreeMap<&'a Here, Both>> {
    let mut documents = BTreeMap::<_, BTreeMap<_, Both>>::new();
    for ((source, target, protocol, port), sum) in kept {
        for (direction, subject, peer) in
            [(Direction::Ingress, target, source), (Direction::Egress, source, target)]
        {
            if let Side::Here(here) = subject
                && subjects.contains(subject)
            {
                let both = documents.entry(here.policy.as_str()).or_default().entry(here).or_default();
                let [ingress, egress] = both;
                let seen = if direction == Direction::Ingress { ingress } else { egress };
                seen.add(peer, (*protocol, *port), sum);
            }
        }
    }
    documents
}

fn document(name: &str, subjects: BTreeMap<&Here, Both>) -> Document {
    let mut names = Names::default();
    let rules = subjects.into_iter().flat_map(|(here, [ingress, egress])| {
        let mut rule = |to: &str, direction, seen: rules::Seen, nothing: &str| {
            let allow = seen.entries(direction);
            let comments = if allow.is_empty() { vec![nothing.to_owned()] } else { Vec::new() };
            let name = names.give(&format!("{to}-{}", here.name));
            Rule { comments, allow, ..Rule::new(name, direction, vec![here.peer.clone()]) }
        };
        [
            rule("to", Direction::Ingress, ingress, "Nobody was seen to send to it."),
            rule("from", Direction::Egress, egress, "It was not seen to send to anybody."),
        ]
    });
    Document { comments: Vec::new(), name: name.to_owned(), groups: Vec::new(), rules: rules.collect() }
}

/// What stands before the policies.
fn comments(left_out: &[LeftOut], options: &Options) -> Vec<String> {
    let time = |time: Timestamp| time.strftime("%F %H:%M").to_string();
    let mut comments = vec![format!(
        "Learned from what was seen from {} to {} (UTC).",
        time(options.since),
        time(options.until)
    )];
    let mut told = None;
    for LeftOut { source, target, service, why, flows } in left_out.iter().take(MOST_TOLD) {
        if told != Some(*why) {
            comments.push(format!("Left out, since {}:", why.reason(options)));
            told = Some(*why);
        }
        comments.push(format!("  {source} -> {target}  {service}, seen {}", counted(*flows, "time")));
    }
    let more = left_out.len().saturating_sub(MOST_TOLD);
    if more > 0 {
        comments.push(format!("And {more} more that are left out."));
    }
    comments
}

impl Why {
    fn reason(self, options: &Options) -> String {
        match self {
            Self::OnlyDenied => "it was only ever denied".to_owned(),
            Self::NeverOpened => "it never opened: all attempts failed".to_owned(),
            Self::Rare => format!("it was seen on fewer than {}", counted(options.min_days, "day")),
            Self::Unknown => "nothing is known of one of the two".to_owned(),
            Self::Many => "it stands for many, whom policies tell apart".to_owned(),
            Self::Unsayable => "no policy can say it".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
