//! What was imported or learned -> the text of policies (docs/policy.md). What is written by hand here are keys that are
//! always the same; all else goes through serde.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde::Serialize;
use serde_saphyr::{FlowMap, SerializeError};

use super::{
    folder::Set,
    model::{Direction, Mode, Services},
};
use crate::{config::Problem, event::is_hostile};

/// Longest name of a policy or a group, in bytes.
const NAME_LIMIT: usize = 63;
/// Most peers of a list.
const PEERS_LIMIT: usize = 1_024;
/// Most ports of an entry.
const PORTS_LIMIT: usize = 256;

/// A policy.
#[derive(Debug)]
pub(crate) struct Document {
    /// What a reader should know of it.
    pub(crate) comments: Vec<String>,
    pub(crate) name: String,
    pub(crate) groups: Vec<Group>,
    pub(crate) rules: Vec<Rule>,
}

/// A name for peers.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) comments: Vec<String>,
    pub(crate) name: String,
    pub(crate) peers: Vec<Peer>,
}

/// A rule.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) comments: Vec<String>,
    pub(crate) name: String,
    pub(crate) direction: Direction,
    pub(crate) subjects: Vec<Peer>,
    pub(crate) allow: Vec<Entry>,
    pub(crate) deny: Vec<Entry>,
}

/// The other side, and over what.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) comments: Vec<String>,
    pub(crate) peers: Vec<Peer>,
    pub(crate) services: Vec<Services>,
}

/// Who is at one end, as it is written.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(untagged)]
pub(crate) enum Peer {
    /// `any`, or a name.
    Text(String),
    /// Keys and values.
    Keys(Box<Keys>),
}

#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) struct Keys {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) project: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) namespace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pod: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cidr: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) except: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dns: Option<String>,
}

impl From<Keys> for Peer {
    fn from(keys: Keys) -> Self {
        Self::Keys(keys.into())
    }
}

impl Peer {
    pub(crate) fn any() -> Self {
        Self::Text("any".to_owned())
    }

    pub(crate) fn group(name: &str) -> Self {
        Keys { group: Some(name.to_owned()), ..Keys::default() }.into()
    }

    pub(crate) fn unit(pattern: &str) -> Self {
        Keys { unit: Some(pattern.to_owned()), ..Keys::default() }.into()
    }

    pub(crate) fn network(cidr: &str) -> Self {
        Keys { cidr: Some(cidr.to_owned()), ..Keys::default() }.into()
    }

    pub(crate) fn dns(pattern: &str) -> Self {
        Keys { dns: Some(pattern.to_owned()), ..Keys::default() }.into()
    }

    /// Whoever runs on this host outside of containers.
    pub(crate) fn node() -> Vec<Self> {
        vec![Self::Text("host".to_owned()), Self::unit("*")]
    }
}

impl Entry {
    pub(crate) fn new(peers: Vec<Peer>, services: Vec<Services>) -> Self {
        Self { comments: Vec::new(), peers, services }
    }

    /// Everything with these.
    pub(crate) fn all(peers: Vec<Peer>) -> Self {
        Self::new(peers, vec![Services::ALL])
    }

    pub(crate) fn because(self, comment: &str) -> Self {
        Self { comments: vec![comment.to_owned()], ..self }
    }

    /// As several, where there are more peers or ports than one may have.
    pub(crate) fn split(self) -> Vec<Self> {
        let part = |(peers, services): (&[Peer], &[Services])| Self::new(peers.to_vec(), services.to_vec());
        let pairs = self
            .peers
            .chunks(PEERS_LIMIT)
            .flat_map(|peers| self.services.chunks(PORTS_LIMIT).map(move |services| (peers, services)));
        let mut parts: Vec<_> = pairs.map(part).collect();
        if let Some(first) = parts.first_mut() {
            first.comments.clone_from(&self.comments);
        }
        parts
    }

    /// As it stands in a rule of this direction.
    fn written(&self, direction: Direction) -> Written<'_> {
        let peers = Some(OneOrMany::of(&self.peers));
        let (from, to) = match direction {
            Direction::Ingress => (peers, None),
            Direction::Egress => (None, peers),
        };
        let (port, ports) = match self.services.as_slice() {
            [all] if *all == Services::ALL => (None, Vec::new()),
            [one] => (Some(one.to_string()), Vec::new()),
            many => (None, many.iter().map(Services::to_string).collect()),
        };
        Written { from, to, port, ports }
    }
}

/// The other side as it is written: `from` in a rule that has `to`, and the other way round.
#[derive(Serialize)]
struct Written<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<OneOrMany<'a, Peer>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<OneOrMany<'a, Peer>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ports: Vec<String>,
}

/// Whom a rule or a group is about.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOrMany<'a, T> {
    One(&'a T),
    Many(&'a [T]),
}

impl<'a, T> OneOrMany<'a, T> {
    fn of(list: &'a [T]) -> Self {
        match list {
            [one] => Self::One(one),
            many => Self::Many(many),
        }
    }
}

/// Names that are given to one thing each.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeSet<String>);

impl Names {
    /// This name, or one like it that is none yet and not too long.
    pub(crate) fn give(&mut self, wanted: &str) -> String {
        let fits = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
        let wanted: String = wanted.chars().map(|it| if fits(it) { it } else { '-' }).collect();
        let cut =
            |suffix: &str| wanted.get(..NAME_LIMIT - suffix.len()).unwrap_or(&wanted).to_owned() + suffix;
        let numbered = (2_u64..).map(|number| cut(&format!("-{number}")));
        let name = std::iter::once(cut("")).chain(numbered).find(|name| !self.0.contains(name));
        let name = name.unwrap_or(wanted.clone());
        self.0.insert(name.clone());
        name
    }
}

/// The text of some policies, one after the other, after what is to be said of all. Each has a name of its own then.
///
/// # Errors
/// What comes of them is no set of policies: it is too large.
pub(crate) fn checked(
    comments: &[String],
    mut documents: Vec<Document>,
    mode: Mode,
) -> Result<String, Problem> {
    let mut names = Names::default();
    for document in &mut documents {
        document.name = names.give(&document.name);
    }
    let output = Path::new("output");
    let text =
        text(comments, &documents, mode).map_err(|error| Problem::unreadable(output, "policies", &error))?;
    Set::default().add_text(output, text.clone())?;
    Ok(text)
}

fn text(comments: &[String], documents: &[Document], mode: Mode) -> Result<String, SerializeError> {
    let mut lines = Lines::default();
    lines.comments(0, comments);
    let texts: Result<Vec<_>, _> = documents.iter().map(|document| document.text(mode)).collect();
    Ok(lines.0 + &texts?.join("---\n"))
}

impl Document {
    fn text(&self, mode: Mode) -> Result<String, SerializeError> {
        let mut lines = Lines::default();
        lines.comments(0, &self.comments);
        lines.push(0, "", &format!("policy: {}", inline(&self.name)?));
        lines.push(0, "", &format!("mode: {}", inline(&mode)?));
        if !self.groups.is_empty() {
            lines.push(0, "", "groups:");
        }
        for Group { comments, name, peers } in &self.groups {
            lines.comments(2, comments);
            lines.push(2, "", &format!("{}: {}", inline(name)?, inline(&peers)?));
        }
        lines.push(0, "", if self.rules.is_empty() { "rules: []" } else { "rules:" });
        for rule in &self.rules {
            rule.lines(&mut lines)?;
        }
        Ok(lines.0)
    }
}

/// The key of whom a rule of this direction is about.
pub(crate) fn key(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "to",
        Direction::Egress => "from",
    }
}

impl Rule {
    /// One about these that says nothing yet.
    pub(crate) fn new(name: String, direction: Direction, subjects: Vec<Peer>) -> Self {
        Self { comments: Vec::new(), name, direction, subjects, allow: Vec::new(), deny: Vec::new() }
    }

    fn lines(&self, lines: &mut Lines) -> Result<(), SerializeError> {
        let own = key(self.direction);
        lines.comments(2, &self.comments);
        lines.push(2, "- ", &format!("name: {}", inline(&self.name)?));
        lines.push(4, "", &format!("{own}: {}", inline(&OneOrMany::of(&self.subjects))?));
        for (list, entries) in [("allow:", &self.allow), ("deny:", &self.deny)] {
            if !entries.is_empty() {
                lines.push(4, "", list);
            }
            for entry in entries {
                lines.comments(6, &entry.comments);
                lines.push(6, "- ", &inline(&entry.written(self.direction))?);
            }
        }
        Ok(())
    }
}

/// A text line by line.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn push(&mut self, indent: usize, marker: &str, line: &str) {
        self.0 += &format!("{:indent$}{marker}{line}\n", "");
    }

    fn comments(&mut self, indent: usize, comments: &[String]) {
        for comment in comments {
            // Names of files and keys that somebody chose stand in it: one line, and nothing that a terminal obeys.
            let clean: String = comment
                .chars()
                .map(|it| if is_hostile(it) { char::REPLACEMENT_CHARACTER } else { it })
                .collect();
            self.push(indent, "# ", &clean);
        }
    }
}

/// A value in one line.
fn inline(value: &impl Serialize) -> Result<String, SerializeError> {
    /// What stands within a line is never a block, however long it is.
    #[derive(Serialize)]
    struct Within<'a, T> {
        v: &'a T,
    }
    let text = serde_saphyr::to_string(&FlowMap(Within { v: value }))?;
    let text = text.trim_end();
    Ok(text.strip_prefix("{v: ").and_then(|text| text.strip_suffix('}')).unwrap_or(text).to_owned())
}
