//! DNS names in policies: patterns of them, and which patterns rules cannot tell apart. Of a name the longest pattern
//! counts, as of an address the longest prefix: so each pattern has all that are about it.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    fmt,
    hash::Hasher as _,
    sync::Arc,
};

use cofferdam_common::{
    name::{NAME_LIMIT, PatternId, PatternKey},
    policy::Identity,
};
use fnv::FnvHasher;
use serde::Deserialize;

use super::{
    model::Peer,
    rules::{Atom, Rules},
};
use crate::config::Cidr;

/// Most bytes of a label (RFC 1035 section 2.3.4).
const LABEL_LIMIT: usize = 63;
/// Most characters of a name, as it is written: on the wire it has one byte more.
const TEXT_LIMIT: usize = NAME_LIMIT - 1;
/// Begins a pattern of all names below one.
const BELOW: &str = "*.";

/// A pattern of DNS names: one name, or all below one, however many labels there are before it.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
pub struct NamePattern {
    /// In lower case, without the dot at the end: `api.example.org`, `*.example.org`.
    text: Arc<str>,
}

impl NamePattern {
    /// As it is shown: in lower case, without the dot at the end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it is one name, and not all below one.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.text.starts_with(BELOW)
    }

    /// Its number, which depends on the text alone.
    ///
    /// What the kernel has learned outlasts the daemon, so that it must be the same in all versions: the hash of the
    /// standard library does not promise that, and FNV-1a is defined. It need not withstand whoever looks for two texts of
    /// one number, for only he who writes policies chooses them, and may allow what he wants to anyhow.
    #[must_use]
    pub fn id(&self) -> PatternId {
        let mut hasher = FnvHasher::default();
        hasher.write(self.text.as_bytes());
        PatternId(hasher.finish().max(PatternId::NONE.0 + 1))
    }

    /// How the kernel finds it in a slot, and how many bits of that count.
    #[must_use]
    pub fn key(&self, slot: u8) -> (PatternKey, u32) {
        let mut wire = Vec::with_capacity(NAME_LIMIT);
        for label in self.name().split('.') {
            // It is 63 at most.
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        PatternKey::new(slot, &wire, self.is_whole())
    }

    /// Whether all that another means are meant.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        self.means(&other.text)
    }

    /// Whether a name is meant. The text of a pattern stands for a name that it means and no longer one does.
    #[must_use]
    pub fn means(&self, name: &str) -> bool {
        candidates(&canonical(name)).any(|text| text == *self.text)
    }

    /// The name that it is, or below which its names are.
    fn name(&self) -> &str {
        self.text.strip_prefix(BELOW).unwrap_or(&self.text)
    }
}

impl TryFrom<String> for NamePattern {
    type Error = String;

    fn try_from(written: String) -> Result<Self, String> {
        let text = canonical(&written);
        let name = text.strip_prefix(BELOW).unwrap_or(&text);
        if text == "*" {
            return Err(
                "`*` is every name: `any` is everybody, and `cidr` has peers outside by address".to_owned()
            );
        }
        if written.parse::<Cidr>().is_ok() {
            return Err(format!("`{written}` is no name: write `{{cidr: \"{written}\"}}`"));
        }
        if !text.is_ascii() {
            return Err(format!("`{written}` is not as it is looked up: write it as punycode (`xn--…`)"));
        }
        if name.contains('*') {
            let message = "has a `*` elsewhere than as its first label, as in `*.example.org`";
            return Err(format!("`{written}` {message}"));
        }
        if text.len() > TEXT_LIMIT {
            return Err(format!("is longer than {TEXT_LIMIT} characters, as no name is"));
        }
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let is_label = |label: &str| (1..=LABEL_LIMIT).contains(&label.len()) && label.bytes().all(fits);
        if !name.split('.').all(is_label) {
            return Err(format!(
                "`{written}` is no DNS name: its labels have 1 to {LABEL_LIMIT} letters and digits of ASCII, `-` and `_`"
            ));
        }
        Ok(Self { text: text.into() })
    }
}

impl Borrow<str> for NamePattern {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A name as patterns have it.
fn canonical(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// The texts of all patterns that can mean a name, which may be the text of a pattern: the longest first.
fn candidates(name: &str) -> impl Iterator<Item = String> {
    let itself = name.starts_with(BELOW).then_some(0);
    // A dot within a label has a backslash before it.
    let dots =
        name.match_indices('.').filter(|(at, _)| !name.get(..*at).is_some_and(|it| it.ends_with('\\')));
    let below = dots.filter(move |(at, _)| itself.is_none_or(|_| *at > 1));
    let below = below.filter_map(|(at, _)| Some(format!("*{}", name.get(at..)?)));
    std::iter::once(name.to_owned()).chain(below)
}

/// Which pattern has which number and class.
#[derive(Debug, Default)]
pub(super) struct Names {
    entries: BTreeMap<NamePattern, (PatternId, Identity)>,
    by_id: HashMap<PatternId, NamePattern>,
}

impl Names {
    /// Adds an entry. Names that nobody's are have no pattern.
    pub(super) fn insert(&mut self, pattern: NamePattern, identity: Identity) {
        let id = if identity == Identity::NOBODY { PatternId::NONE } else { pattern.id() };
        if id != PatternId::NONE {
            self.by_id.insert(id, pattern.clone());
        }
        self.entries.insert(pattern, (id, identity));
    }

    /// The pattern of a name, of several the longest; [`PatternId::NONE`] if it has none.
    pub(super) fn pattern_of(&self, name: &str) -> PatternId {
        let found = candidates(&canonical(name)).find_map(|text| self.entries.get(&*text));
        found.map_or(PatternId::NONE, |(id, _)| *id)
    }

    pub(super) fn pattern(&self, id: PatternId) -> Option<&NamePattern> {
        self.by_id.get(&id)
    }

    pub(super) fn identity(&self, id: PatternId) -> Option<Identity> {
        let (_, identity) = self.entries.get(self.by_id.get(&id)?)?;
        Some(*identity)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&NamePattern, PatternId, Identity)> {
        self.entries.iter().map(|(pattern, (id, identity))| (pattern, *id, *identity))
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// All entries that are needed, each with the patterns that mean the names of which it is the longest: those patterns, and
/// where all names below one are meant, that one, which is not.
pub(super) fn entries(rules: &Rules) -> BTreeMap<NamePattern, Box<[Atom]>> {
    let patterns = rules.atoms().filter_map(|(atom, peer)| match peer {
        Peer::Name(pattern) => Some((pattern, atom)),
        _ => None,
    });
    let (patterns, atom_of): (Vec<_>, HashMap<_, _>) =
        patterns.map(|(pattern, atom)| (pattern, (pattern.as_str(), atom))).unzip();
    let tops = patterns.iter().filter(|pattern| !pattern.is_whole());
    let tops: Vec<_> = tops.map(|pattern| NamePattern { text: pattern.name().into() }).collect();
    let all = patterns.iter().copied().chain(&tops);
    let atoms = |pattern: &NamePattern| -> Box<[Atom]> {
        let mut atoms: Vec<_> =
            candidates(&pattern.text).filter_map(|text| atom_of.get(&*text).copied()).collect();
        atoms.sort_unstable();
        atoms.into()
    };
    all.map(|pattern| (pattern.clone(), atoms(pattern))).collect()
}

#[cfg(test)]
mod tests;
