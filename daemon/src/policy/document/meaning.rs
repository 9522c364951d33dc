//! What is written -> what it says: groups are written out, and what is wrong only beside something else is refused.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, btree_map},
    path::Path,
    sync::Arc,
};

use serde_saphyr::{Location, Spanned};

use super::{
    ALL_ENTRIES_LIMIT, ALL_PEERS_LIMIT, DOCUMENTS_LIMIT, Document, EXPRESSIONS_LIMIT, GROUPS_LIMIT,
    RULES_LIMIT, Totals,
    form::{self, Form, Mode, Name},
    peers::{Peers, Written},
};
use crate::{
    config::{Mark, Problem, Text, mark, nearest},
    policy::model::{self, Direction, Peer, Place, Policy, Rule, Verdict},
};

/// Reads one document.
pub(super) struct Reader<'a> {
    file: &'a Arc<Path>,
    text: &'a Text<'a>,
    /// Lines before the document.
    skipped: usize,
    totals: &'a mut Totals,
    groups: BTreeMap<Name, Group>,
}

struct Group {
    peers: Vec<Peer>,
    place: Place,
    used: bool,
}

/// Where peers stand.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Role {
    /// They are whom a rule is about.
    Subject,
    /// In a list, of rules for a direction.
    Entry(Direction, Verdict),
    /// In a group, which says nothing by itself.
    Group,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        file: &'a Arc<Path>,
        text: &'a Text<'a>,
        skipped: usize,
        totals: &'a mut Totals,
    ) -> Self {
        Self { file, text, skipped, totals, groups: BTreeMap::new() }
    }

    pub(super) fn too_many_documents(&self, form: &Form) -> Problem {
        let message = format!("is one document too many: a file has {DOCUMENTS_LIMIT} at most");
        self.problem(&form.policy.referenced, "policy", &message)
    }

    pub(super) fn document(mut self, form: Form) -> Result<Document, Problem> {
        let place = self.place(&form.policy.referenced);
        if let Some((name, group)) = form.groups.iter().nth(GROUPS_LIMIT) {
            let message = format!("is one group too many: a document has {GROUPS_LIMIT} at most");
            return Err(self.problem(&group.at, &format!("groups.{name}"), &message));
        }
        for (name, written) in form.groups {
            let peers = self.group(&name, &written)?;
            let place = self.place(&written.at);
            self.groups.insert(name, Group { peers, place, used: false });
        }
        let mut names = HashMap::new();
        let mut rules = Vec::with_capacity(form.rules.0.len());
        for (number, written) in form.rules.0.into_iter().enumerate() {
            let key = format!("rules[{number}]");
            if let Some(name) = &written.value.name {
                self.rule_name(name, &key, &mut names)?;
            }
            rules.push(self.rule(written, &key)?);
        }
        let mode = match form.mode {
            Mode::Audit => model::Mode::Audit,
            Mode::Enforce => model::Mode::Enforce,
        };
        let spare = self.groups.into_iter().filter(|(_, group)| !group.used);
        Ok(Document {
            policy: Policy { name: form.policy.value.0, mode, rules },
            place,
            spare_groups: spare.map(|(name, group)| (name.0, group.place)).collect(),
        })
    }

    fn group(&mut self, name: &Name, written: &Peers) -> Result<Vec<Peer>, Problem> {
        let key = format!("groups.{name}");
        for (number, peer) in written.list.iter().enumerate() {
            if matches!(peer.value, Written::Group(_)) {
                let key = item(&key, written, number);
                return Err(self.problem(&peer.referenced, &key, "a group does not name other groups"));
            }
        }
        self.peers(written, &key, Role::Group)
    }

    /// Rules without a name go by their number, so that a name is none, and no rule has that of another.
    fn rule_name(
        &self,
        name: &Spanned<Name>,
        rule: &str,
        names: &mut HashMap<Name, Place>,
    ) -> Result<(), Problem> {
        let key = format!("{rule}.name");
        if name.value.0.bytes().all(|byte| byte.is_ascii_digit()) {
            let message = "is a number, and rules without a name go by their number";
            return Err(self.problem(&name.referenced, &key, message));
        }
        let place = self.place(&name.referenced);
        match names.insert(name.value.clone(), place) {
            Some(first) => {
                let message = format!("`{}` is also the name of the rule at line {}", name.value, first.line);
                Err(self.problem(&name.referenced, &key, &message))
            }
            None => Ok(()),
        }
    }

    fn rule(&mut self, written: Spanned<form::Rule>, key: &str) -> Result<Rule, Problem> {
        let at = written.referenced;
        let form::Rule { name, direction, subjects, lists } = written.value;
        self.totals.rules += 1;
        if self.totals.rules > RULES_LIMIT {
            let message = format!("is one rule too many: there can be {RULES_LIMIT} over all files");
            return Err(self.problem(&at, key, &message));
        }
        let (own, other) = match direction {
            Direction::Ingress => ("to", "from"),
            Direction::Egress => ("from", "to"),
        };
        let subjects = self.peers(&subjects, &format!("{key}.{own}"), Role::Subject)?;
        let mut entries = Vec::new();
        for (verdict, list) in lists {
            for (number, entry) in list.into_iter().enumerate() {
                let key = || format!("{key}.{}[{number}]", list_name(verdict));
                if entry.value.direction != direction {
                    let message =
                        format!("the rule says `{own}`, so its entries say `{other}`: write `{other}` here");
                    let key = format!("{}.{own}", key());
                    return Err(self.problem(&entry.value.peers.at, &key, &message));
                }
                self.totals.entries += 1;
                if self.totals.entries > ALL_ENTRIES_LIMIT {
                    let message =
                        format!("is one entry too many: there can be {ALL_ENTRIES_LIMIT} over all files");
                    return Err(self.problem(&entry.referenced, &key(), &message));
                }
                let role = Role::Entry(direction, verdict);
                let peers = self.peers(&entry.value.peers, &format!("{}.{other}", key()), role)?;
                let place = self.place(&entry.referenced);
                entries.push(model::Entry { verdict, peers, services: entry.value.services, place });
            }
        }
        // As they are written, whichever list stands first.
        entries.sort_by_key(|entry| (entry.place.line, entry.place.column));
        let name = name.map(|name| name.value.0);
        Ok(Rule { name, direction, subjects, entries, place: self.place(&at) })
    }

    /// Peers with groups written out.
    fn peers(&mut self, written: &Peers, key: &str, role: Role) -> Result<Vec<Peer>, Problem> {
        let mut peers = Vec::with_capacity(written.list.len());
        for (number, peer) in written.list.iter().enumerate() {
            let before = peers.len();
            match &peer.value {
                Written::Any => peers.push(Peer::Any),
                Written::Workload(selector) => {
                    self.totals.expressions += selector.expressions();
                    peers.push(Peer::Workload(selector.clone()));
                }
                Written::Network(network) => peers.push(Peer::Network(network.clone())),
                Written::Dns(pattern) => peers.push(Peer::Name(pattern.clone())),
                Written::Group(name) => match self.groups.entry(name.clone()) {
                    btree_map::Entry::Occupied(mut group) => {
                        group.get_mut().used = true;
                        peers.extend_from_slice(&group.get().peers);
                    }
                    btree_map::Entry::Vacant(_) => {
                        return Err(self.unknown_group(name, &peer.referenced, &item(key, written, number)));
                    }
                },
            }
            self.totals.peers += peers.len() - before;
            let added = peers.get(before..).unwrap_or_default();
            if let Some(message) = self.refused(added, role) {
                return Err(self.problem(&peer.referenced, &item(key, written, number), &message));
            }
        }
        Ok(peers)
    }

    /// Why peers cannot stand there.
    fn refused(&self, peers: &[Peer], role: Role) -> Option<String> {
        if role == Role::Subject && peers.iter().any(|peer| matches!(peer, Peer::Network(_))) {
            return Some(
                "a rule is about workloads of this host, and `cidr` is about peers outside".to_owned(),
            );
        }
        if peers.iter().any(|peer| matches!(peer, Peer::Name(_)))
            && let Some(message) = no_names(role)
        {
            return Some(message.to_owned());
        }
        if self.totals.peers > ALL_PEERS_LIMIT {
            let message = "is one peer too many: there can be";
            return Some(format!("{message} {ALL_PEERS_LIMIT} over all files, groups written out"));
        }
        (self.totals.expressions > EXPRESSIONS_LIMIT).then(|| {
            format!(
                "is one pattern too many: {EXPRESSIONS_LIMIT} over all files can have wildcards other than one `*` \
                 at their end"
            )
        })
    }

    fn unknown_group(&self, name: &Name, at: &Location, key: &str) -> Problem {
        let known: BTreeSet<&str> = self.groups.keys().map(|name| &*name.0).collect();
        let hint = match nearest(&name.0, known.iter().copied()) {
            Some(meant) => format!("; did you mean `{meant}`?"),
            None if known.is_empty() => ": it has no `groups`".to_owned(),
            None => String::new(),
        };
        self.problem(at, key, &format!("there is no group `{name}` in this document{hint}"))
    }

    fn problem(&self, at: &Location, key: &str, message: &str) -> Problem {
        let found = mark(at);
        Problem::at(self.text, Mark { line: found.line + self.skipped, ..found }, key, message)
    }

    fn place(&self, at: &Location) -> Place {
        let found = mark(at);
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Place {
            file: self.file.clone(),
            line: number(found.line + self.skipped),
            column: number(found.column),
        }
    }
}

/// Why DNS names cannot stand there, if they cannot.
fn no_names(role: Role) -> Option<&'static str> {
    match role {
        Role::Group | Role::Entry(Direction::Egress, Verdict::Allow | Verdict::Audit) => None,
        Role::Subject => Some(
            "a rule is about workloads of this host, and `dns` is about peers outside: it stands in `to` of an entry",
        ),
        Role::Entry(Direction::Ingress, _) => Some(
            "`dns` is about whom a workload sends to, by the name that it has looked up; of who sends to it only the address \
             is known: write `cidr`",
        ),
        Role::Entry(Direction::Egress, Verdict::Deny) => Some(
            "`dns` only allows: whoever dials the address without looking it up would not be denied. Write `cidr`, or allow \
             what may be sent and leave this out",
        ),
    }
}

/// The key of one of several peers.
fn item(key: &str, peers: &Peers, number: usize) -> String {
    if peers.many { format!("{key}[{number}]") } else { key.to_owned() }
}

fn list_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Audit => "audit",
        Verdict::Deny => "deny",
    }
}
