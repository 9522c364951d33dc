//! What is suspicious about policies that can be taken. Pure.

mod cover;

mod denied;

mod resolver;

mod room;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use serde::Serialize;

use self::{
    cover::{Work, covers_peers, covers_services, is_narrow},
    denied::Denied,
    resolver::Askers,
};
use super::{
    document::Document,
    model::{Direction, Entry, Mode, Peer, Place, Policy, Rule, Verdict},
};
use crate::event::Workload;

/// Something that somebody should look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// Which rule (`shop#2`), or which policy.
    pub subject: String,
    /// What.
    pub message: String,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The policies are not taken.
    Error,
    /// They are, but may say something else than what was meant.
    Warning,
}

/// A host, as far as its daemon tells.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// Who is here.
    pub workloads: Vec<Arc<Workload>>,
    /// Those of whom not all that they send can be judged.
    pub partial: Vec<Arc<Workload>>,
}

/// Looks at policies that were read, in order of file and place; and at whom they select on a host, if that is known.
#[must_use]
pub fn check<'a>(documents: &'a [Document], here: Option<&'a Here>) -> Vec<Finding> {
    let policies: Vec<_> = documents.iter().map(|document| &document.policy).collect();
    let mut work = Work::default();
    let mut denied = Denied::new(&policies, &mut work);
    let askers = Askers::new(&policies);
    let mut selected = here.map(|here| Selected::new(&here.workloads));
    let mut findings = Vec::new();
    for document in documents {
        let policy = &document.policy;
        for (number, rule) in policy.rules.iter().enumerate() {
            let mut look = |place: &Place, message: String| {
                findings.push(Finding {
                    severity: Severity::Warning,
                    place: place.clone(),
                    subject: rule_name(policy, number),
                    message,
                });
            };
            if selected.as_mut().is_some_and(|selected| !selected.any_of(&rule.subjects)) {
                look(&rule.place, "selects nobody who is here now".to_owned());
            }
            for entry in &rule.entries {
                if let Some(peer) = selected.as_mut().and_then(|selected| selected.nobody_of(&entry.peers)) {
                    look(&entry.place, format!("{peer} selects nobody who is here now"));
                }
            }
            if let Some(message) = here.and_then(|here| not_wholly_enforced(here, policy, rule)) {
                look(&rule.place, message);
            }
            if let Some(message) = selects_host(policy, rule) {
                look(&rule.place, message);
            }
            if let Some(message) = allows_nothing(policy, rule) {
                look(&rule.place, message);
            }
            if let Some(entry) = askers.unasked(rule) {
                let message = "no rule lets any of those whom it selects ask a resolver (udp/53): no address will have \
                               this name for them";
                look(&entry.place, message.to_owned());
            }
            for (entry, earlier) in shadowed(rule, &mut work) {
                let line = earlier.place.line;
                look(
                    &entry.place,
                    format!("says nothing new: the entry at line {line} says as much or more"),
                );
            }
            for (entry, by) in denied.of(policy, rule, &mut work) {
                let (name, place) = (rule_name(by.policy, by.number), &by.entry.place);
                let place = format!("{}:{}", place.file.display(), place.line);
                look(&entry.place, format!("nothing of this passes: {name} denies all of it ({place})"));
            }
        }
        findings.extend(document.spare_groups.iter().map(|(group, place)| Finding {
            severity: Severity::Warning,
            place: place.clone(),
            subject: policy.name.to_string(),
            message: format!("no rule names the group `{group}`"),
        }));
        if let Some(rule) = policy.rules.first().filter(|_| work.ended_now()) {
            findings.push(Finding {
                severity: Severity::Warning,
                place: rule.place.clone(),
                subject: policy.name.to_string(),
                message: "not all entries from here on were compared with others: there are too many"
                    .to_owned(),
            });
        }
    }
    if let Some(document) = documents.first()
        && let Some(message) = room::lacking(documents)
    {
        findings.push(Finding {
            severity: Severity::Warning,
            place: document.place.clone(),
            subject: document.policy.name.to_string(),
            message,
        });
    }
    let order = |finding: &Finding| (finding.place.file.clone(), finding.place.line, finding.place.column);
    findings.sort_by_cached_key(order);
    findings
}

/// What a rule is called: `shop#db-from-api`, or by its number, `shop#2`.
#[must_use]
pub fn rule_name(policy: &Policy, number: usize) -> String {
    match policy.rules.get(number).and_then(|rule| rule.name.as_ref()) {
        Some(name) => format!("{}#{name}", policy.name),
        None => format!("{}#{}", policy.name, number + 1),
    }
}

/// Which selectors select any of the workloads that are here.
struct Selected<'a> {
    workloads: &'a [Arc<Workload>],
    /// Nearly all selectors are exact names, and need not be compared with each workload.
    names: HashSet<&'a str>,
    known: HashMap<&'a Peer, bool>,
}

impl<'a> Selected<'a> {
    fn new(workloads: &'a [Arc<Workload>]) -> Self {
        let names = workloads.iter().flat_map(|workload| workload.names()).collect();
        Self { workloads, names, known: HashMap::new() }
    }

    fn any_of(&mut self, subjects: &'a [Peer]) -> bool {
        subjects.iter().any(|subject| self.is_here(subject))
    }

    /// The first that selects nobody.
    fn nobody_of(&mut self, peers: &'a [Peer]) -> Option<String> {
        let nobody = peers.iter().find(|peer| !self.is_here(peer))?;
        let name = match nobody {
            Peer::Workload(selector) => selector.exact_name(),
            _ => None,
        };
        Some(name.map_or_else(|| "a peer".to_owned(), |name| format!("`{name}`")))
    }

    fn is_here(&mut self, peer: &'a Peer) -> bool {
        let Peer::Workload(selector) = peer else { return true };
        match selector.exact_name() {
            Some(name) => self.names.contains(name),
            None => *self
                .known
                .entry(peer)
                .or_insert_with(|| self.workloads.iter().any(|workload| selector.selects(workload))),
        }
    }
}

/// For whom a rule is `partial`, as in the daemon's status.
fn not_wholly_enforced(here: &Here, policy: &Policy, rule: &Rule) -> Option<String> {
    /// As many are named.
    const NAMED: usize = 3;
    if rule.direction == Direction::Ingress || policy.mode == Mode::Audit {
        return None;
    }
    let is_subject = |workload: &&Arc<Workload>| {
        rule.subjects.iter().any(|subject| match subject {
            Peer::Any => true,
            Peer::Workload(selector) => selector.selects(workload),
            Peer::Network(_) | Peer::Name(_) => false,
        })
    };
    let names: BTreeSet<_> =
        here.partial.iter().filter(is_subject).map(|it| format!("`{}`", it.name)).collect();
    let first = names.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = match names.len().checked_sub(NAMED) {
        None | Some(0) => String::new(),
        Some(more) => format!(" and {more} more"),
    };
    let open =
        "the layer `lsm` is missing on this host, so frames that they send past the IP stack are not judged";
    (!names.is_empty()).then(|| format!("is partial for {first}{more}: {open}"))
}

fn selects_host(policy: &Policy, rule: &Rule) -> Option<String> {
    let host = Workload::host();
    let selected = rule.subjects.iter().any(|subject| match subject {
        Peer::Any => true,
        Peer::Workload(selector) => selector.selects(&host),
        Peer::Network(_) | Peer::Name(_) => false,
    });
    let what = match rule.direction {
        Direction::Ingress => "reaches its own services, SSH among them",
        Direction::Egress => "leaves it, DNS and updates among it",
    };
    let when = match policy.mode {
        Mode::Enforce => "",
        Mode::Audit => "once the policy is enforced, ",
    };
    selected.then(|| format!("selects the host itself: {when}only what is allowed {what}"))
}

fn allows_nothing(policy: &Policy, rule: &Rule) -> Option<String> {
    let allows = rule.entries.iter().any(|entry| entry.verdict != Verdict::Deny);
    let what = match rule.direction {
        Direction::Ingress => "is sent to whom it selects",
        Direction::Egress => "those send whom it selects",
    };
    let denied = match policy.mode {
        Mode::Enforce => "is denied",
        Mode::Audit => "would be denied if the policy were enforced",
    };
    (!allows)
        .then(|| format!("allows nothing: everything that {what} {denied}, unless another rule allows it"))
}

/// Entries that an earlier one of the same verdict covers, and that one.
fn shadowed<'a>(rule: &'a Rule, work: &mut Work) -> Vec<(&'a Entry, &'a Entry)> {
    let mut found = Vec::new();
    // Only those that name the same peer, or one that is more than a name, can cover an entry.
    let mut by_peer: HashMap<(Verdict, &Peer), Vec<&Entry>> = HashMap::new();
    let mut wide: HashMap<Verdict, Vec<&Entry>> = HashMap::new();
    for entry in &rule.entries {
        let same = entry.peers.first().and_then(|peer| by_peer.get(&(entry.verdict, peer)));
        let wider = wide.get(&entry.verdict);
        let mut earlier = same.into_iter().chain(wider).flatten();
        let covering = earlier.find(|earlier| {
            covers_services(&earlier.services, &entry.services, work)
                && covers_peers(&earlier.peers, &entry.peers, work)
        });
        match covering {
            Some(earlier) => found.push((entry, *earlier)),
            None => {
                for peer in &entry.peers {
                    by_peer.entry((entry.verdict, peer)).or_default().push(entry);
                }
                if !entry.peers.iter().all(is_narrow) {
                    wide.entry(entry.verdict).or_default().push(entry);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests;
