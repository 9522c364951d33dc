//! Why some may, or may not, interact with others, and what was seen of it: `GET /v1/policy/explain`.

mod event;
mod unusual;
mod who;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use self::event::{EventExplained, EventQuery};
use self::who::Who;
pub(super) use self::{event::explain_event, who::known};
use super::{API_VERSION, Answer, Refusal};
use crate::{
    enforcement,
    event::{Alert, Caller, Protocol, Verdict, Workload},
    history::Totals,
    interaction::Edge,
    policy::explain::{End, Explanation},
    view::View,
};

/// Most answers to one question.
pub const MOST_ANSWERS: usize = 16;

/// Most pairs that are looked at: replicas make many that have one answer.
const MOST_PAIRS: usize = 64;

/// Most services of a pair that are named.
pub const MOST_SEEN_AT: usize = 32;

/// What can be asked.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// Who begins it: name, container name, project, DNS name, beginning of the id, or an address.
    pub from: String,
    /// With whom.
    pub to: String,
    /// Protocol; TCP where only a port is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The server's port. Without protocol and port: all at which the two were seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// The answers: one for each pair of workloads and each service that is asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Explained {
    /// [`API_VERSION`].
    pub schema_version: u32,
    /// The generation of the policies in force; zero while nothing is judged and everything passes.
    pub generation: u32,
    /// What was wrong with the policies when they were last read: the answers are about those before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What was last seen comes first. Replicas of which the same is true are one.
    pub answers: Vec<PairExplained>,
    /// Answers beyond [`MOST_ANSWERS`], and pairs that were not looked at because there are too many.
    pub left_out: usize,
    /// What was unusual between the two, as far as it is kept, open or not: the last seen comes first. A scan by the source or
    /// of the target is one of them.
    pub alerts: Vec<Alert>,
    /// Alerts for which there was no room.
    pub alerts_left_out: usize,
}

/// What there is to say of one pair and service.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct PairExplained {
    /// Who begins it.
    pub source: String,
    /// With whom.
    pub target: String,
    /// Protocol; absent, as all that depends on it, where none was asked for and the two were never seen together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The server's port; 0 where the protocol has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What comes of it now; absent as well where the policies could not be read since the daemon started, for an
    /// earlier one may have left some in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Why; absent while no policy is in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// The same in words, with the lines of the policies, several lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What was seen of it since the daemon started; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Seen>,
    /// The process that was told last of those that tried it, in any replica, and were denied; absent where none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tried_by: Option<TriedBy>,
    /// What the history knows of it; absent where it knows nothing, or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past: Option<Totals>,
    /// Services at which the two were seen: the last [`MOST_SEEN_AT`].
    pub seen_at: BTreeSet<String>,
}

/// A process that tried it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TriedBy {
    /// When it was told.
    pub time: Timestamp,
    /// Which.
    pub caller: Caller,
}

/// What was seen of a pair and service.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Seen {
    /// Flows begun that were allowed.
    pub allowed: u64,
    /// Flows begun that would have been denied.
    pub audited: u64,
    /// Packets and calls that were denied.
    pub denied: u64,
    /// First packet or call.
    pub first_seen: Timestamp,
    /// Last one.
    pub last_seen: Timestamp,
    /// The last one that was denied, or would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_denied: Option<Timestamp>,
}

/// Answers from the policies in force and the map.
pub(super) fn explain(view: &View, query: &ExplainQuery) -> Answer<Explained> {
    let service = query.service()?;
    let edges = view.edges()?;
    let alerts = view.alerts.list();
    let mut known = known(&view.attribution, &edges);
    for name in [&query.from, &query.to] {
        who::remember(name, &alerts, &view.history, &mut known);
    }
    let sources = who::called(&query.from, &view.attribution, &known)?;
    let is_in_policies = |name: &str| view.policies.have_name(name);
    let targets = who::called_as_target(&query.to, &view.attribution, &known, is_in_policies)?;
    let enforcement::Report { generation, problem, .. } = view.policies.report();
    let placed = view.attribution.placed();
    let judge = |source: End<'_>, target: End<'_>, protocol, port| {
        view.policies.explain(source, target, protocol, port, &placed)
    };
    // Without a history there is only what was seen since the daemon started.
    let recorded = |source: &Workload, target: &Workload| {
        view.history.totals(&source.name, &target.name).unwrap_or_default()
    };
    let caller = |source: &Workload, target: &Workload, service| {
        let told = view.recent.caller(&source.name, &target.name, service);
        told.map(|(time, caller)| TriedBy { time, caller })
    };
    let (mut answers, left_out) = answers(&sources, &targets, service, &edges, judge, (recorded, caller));
    if answers.is_empty() {
        let error = format!("`{}` is the same workload: what it says to itself is no interaction", query.to);
        return Err(Refusal(StatusCode::BAD_REQUEST, error));
    }
    if generation == 0 && problem.is_some() {
        // An earlier daemon may have left in force what this one knows nothing about.
        answers.iter_mut().for_each(|answer| answer.verdict = None);
    }
    let (alerts, alerts_left_out) = unusual::unusual(alerts, &sources, &targets, service);
    Ok(Explained {
        schema_version: API_VERSION,
        generation,
        problem,
        answers,
        left_out,
        alerts,
        alerts_left_out,
    })
}

impl ExplainQuery {
    fn service(&self) -> Answer<Option<(Protocol, u16)>> {
        let refused = |error: String| Err(Refusal(StatusCode::BAD_REQUEST, error));
        match (self.protocol, self.port) {
            (None, None) => Ok(None),
            (Some(Protocol::Other), _) => {
                refused("`other` stands for many protocols: ask for one".to_owned())
            }
            (Some(protocol), None) if protocol.has_ports() => refused(format!("{protocol} needs a port")),
            (Some(protocol), Some(1..)) if !protocol.has_ports() => {
                refused(format!("{protocol} has no ports"))
            }
            (protocol, port) => Ok(Some((protocol.unwrap_or(Protocol::Tcp), port.unwrap_or(0)))),
        }
    }
}

/// The answers for each pair, and how many more there would be.
fn answers(
    sources: &[Who],
    targets: &[Who],
    service: Option<(Protocol, u16)>,
    edges: &[Edge],
    judge: impl Fn(End<'_>, End<'_>, u8, u16) -> Option<(Explanation, String)>,
    (recorded, caller): (
        impl Fn(&Workload, &Workload) -> Vec<Totals>,
        impl Fn(&Workload, &Workload, (Protocol, u16)) -> Option<TriedBy>,
    ),
) -> (Vec<PairExplained>, usize) {
    let (pairs, mut left_out) = pairs(sources, targets, edges);
    let mut answers = Vec::<PairExplained>::new();
    for (source, target, edges) in pairs {
        let names = target.names(&edges);
        let past = recorded(source.workload(), target.workload());
        let caller = |service| caller(source.workload(), target.workload(), service);
        let (source, target) = (source.end(), target.end_known_as(&names));
        let mut seen = BTreeMap::<(Protocol, u16), Seen>::new();
        for edge in edges {
            let now = Seen::of(edge);
            seen.entry((edge.protocol, edge.port)).and_modify(|seen| seen.merge(now)).or_insert(now);
        }
        let mut services: Vec<_> = seen.keys().copied().collect();
        services.sort_by_key(|service| Reverse(seen.get(service).map(|seen| seen.last_seen)));
        // The last seen comes first there as well.
        let before = past.iter().map(|past| (past.protocol, past.port));
        services.extend(before.filter(|service| !seen.contains_key(service)));
        let name = |(protocol, port): &(Protocol, u16)| protocol.service(*port);
        let seen_at: BTreeSet<_> = services.iter().take(MOST_SEEN_AT).map(name).collect();
        let services: Vec<_> = match service {
            Some(service) => vec![Some(service)],
            None if services.is_empty() => vec![None],
            None => {
                left_out += services.len().saturating_sub(MOST_ANSWERS);
                services.truncate(MOST_ANSWERS);
                services.into_iter().map(Some).collect()
            }
        };
        for service in services {
            let mut answer = PairExplained {
                source: source.to_string(),
                target: target.to_string(),
                protocol: service.map(|(protocol, _)| protocol),
                port: service.map(|(_, port)| port),
                verdict: None,
                explanation: None,
                text: None,
                seen: service.and_then(|service| seen.get(&service).copied()),
                tried_by: service.and_then(caller),
                past: service.and_then(|service| {
                    past.iter().find(|past| (past.protocol, past.port) == service).cloned()
                }),
                seen_at: seen_at.clone(),
            };
            // What stands for many protocols cannot be judged.
            if let Some((number, port)) =
                service.and_then(|(protocol, port)| Some((protocol.number()?, port)))
            {
                let explained = judge(source, target, number, port);
                answer.verdict = Some(explained.as_ref().map_or(Verdict::Allow, |(why, _)| why.verdict));
                (answer.explanation, answer.text) = explained.unzip();
            }
            match answers.iter_mut().find(|known| known.says_the_same(&answer)) {
                Some(known) => known.merge(answer),
                None => answers.push(answer),
            }
        }
    }
    answers.sort_by_key(|answer| Reverse(answer.last_seen()));
    left_out += answers.len().saturating_sub(MOST_ANSWERS);
    answers.truncate(MOST_ANSWERS);
    (answers, left_out)
}

/// Two who may interact, and the edges between them.
type Pair<'a> = (&'a Who, &'a Who, Vec<&'a Edge>);

/// Pairs to look at, those first that were seen together, and how many more there are.
fn pairs<'a>(sources: &'a [Who], targets: &'a [Who], edges: &'a [Edge]) -> (Vec<Pair<'a>>, usize) {
    let mut seen = BTreeMap::<(usize, usize), Vec<&Edge>>::new();
    let find = |whos: &[Who], workload: &Arc<Workload>| whos.iter().position(|who| who.is(workload));
    for edge in edges {
        if let (Some(source), Some(target)) = (find(sources, &edge.source), find(targets, &edge.target)) {
            seen.entry((source, target)).or_default().push(edge);
        }
    }
    let all = || {
        let between = |source| (0..targets.len()).map(move |target| (source, target));
        let apart = |(source, target): &(usize, usize)| {
            let pair = sources.get(*source).zip(targets.get(*target));
            pair.is_some_and(|(source, target)| source != target)
        };
        (0..sources.len()).flat_map(between).filter(apart)
    };
    let together: Vec<_> = seen.keys().copied().collect();
    let unseen = all().filter(|pair| !seen.contains_key(pair));
    let looked_at: Vec<_> = together.into_iter().chain(unseen).take(MOST_PAIRS).collect();
    let left_out = all().count().saturating_sub(looked_at.len());
    let pairs = looked_at.into_iter().filter_map(|(source, target)| {
        let edges = seen.get(&(source, target)).cloned().unwrap_or_default();
        Some((sources.get(source)?, targets.get(target)?, edges))
    });
    (pairs.collect(), left_out)
}

impl PairExplained {
    fn says_the_same(&self, other: &Self) -> bool {
        let about = |it: &Self| (it.protocol, it.port, it.verdict);
        (&self.source, &self.target) == (&other.source, &other.target)
            && about(self) == about(other)
            && self.explanation == other.explanation
    }

    fn last_seen(&self) -> Option<Timestamp> {
        let (seen, past) =
            (self.seen.map(|seen| seen.last_seen), self.past.as_ref().map(|past| past.last_seen));
        seen.max(past)
    }

    /// Who tried it, and what the history knows, is of all replicas already.
    fn merge(&mut self, other: Self) {
        self.seen_at.extend(other.seen_at);
        match (&mut self.seen, other.seen) {
            (Some(seen), Some(more)) => seen.merge(more),
            (seen @ None, more) => *seen = more,
            (Some(_), None) => {}
        }
    }
}

impl Seen {
    fn of(edge: &Edge) -> Self {
        Self {
            allowed: edge.verdicts.allow,
            audited: edge.verdicts.audit,
            denied: edge.verdicts.deny,
            first_seen: edge.first_seen,
            last_seen: edge.last_seen,
            last_denied: edge.last_denied,
        }
    }

    fn merge(&mut self, more: Self) {
        self.allowed += more.allowed;
        self.audited += more.audited;
        self.denied += more.denied;
        self.first_seen = self.first_seen.min(more.first_seen);
        self.last_seen = self.last_seen.max(more.last_seen);
        self.last_denied = self.last_denied.max(more.last_denied);
    }
}

#[cfg(test)]
mod tests;
