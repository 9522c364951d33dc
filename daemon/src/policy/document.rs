//! The text of a file -> policies. No I/O. docs/policy.md describes the format.

mod list;

mod services;

mod peers;

mod form;

mod meaning;

use std::{path::Path, sync::Arc};

use schemars::{Schema, schema_for};

pub(super) use self::peers::ANY;
use super::model::{Place, Policy};
use crate::config::{Cost, Problem, Text, parse};

/// Most documents of a file.
const DOCUMENTS_LIMIT: usize = 1_024;
/// Most rules, over all files.
const RULES_LIMIT: usize = 200_000;
/// Most entries of each list of a rule, and over all files.
const ENTRIES_LIMIT: usize = 4_096;
const ALL_ENTRIES_LIMIT: usize = 1_000_000;
/// Most groups of a document.
const GROUPS_LIMIT: usize = 1_024;
/// Most peers over all files, groups written out.
const ALL_PEERS_LIMIT: usize = 2_000_000;
/// Most patterns over all files that are more than a text with a `*` at its end.
const EXPRESSIONS_LIMIT: usize = 10_000;
/// How much the YAML of a document may cost: each rule of a full set has 15 values, and more stand beside them.
const COST: Cost = Cost { nodes: 4_000_000 };

/// A policy, and what of its text the policy does not say.
#[derive(Debug)]
pub struct Document {
    /// What it says.
    pub policy: Policy,
    /// Where its name stands.
    pub place: Place,
    /// Groups that no rule names.
    pub spare_groups: Vec<(Arc<str>, Place)>,
}

/// How much there is already, over all files.
#[derive(Debug, Default)]
pub(super) struct Totals {
    rules: usize,
    entries: usize,
    peers: usize,
    expressions: usize,
}

/// The documents of a file. Names are unique within each, but not over several yet.
pub(super) fn read(path: &Arc<Path>, text: &str, totals: &mut Totals) -> Result<Vec<Document>, Problem> {
    let lines = Text::new(path, text);
    let mut documents = Vec::new();
    for part in parts(text) {
        let form = parse(&lines, part.text, part.skipped, COST)?;
        let meaning = meaning::Reader::new(path, &lines, part.skipped, totals);
        if documents.len() == DOCUMENTS_LIMIT {
            return Err(meaning.too_many_documents(&form));
        }
        documents.push(meaning.document(form)?);
    }
    Ok(documents)
}

/// What a document may be, as a JSON schema.
#[must_use]
pub fn schema() -> Schema {
    schema_for!(form::Form)
}

/// The text of one document.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Part<'a> {
    /// All of it, with its marker.
    pub(super) text: &'a str,
    /// Lines before it.
    pub(super) skipped: usize,
}

/// Cuts a text where documents begin. YAML allows a line with this marker nowhere else, not even within quotes. Parts
/// without content, as after a last marker, are left out.
pub(super) fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut begin, mut skipped, mut content) = (0, 0, false);
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let bare = if number == 0 { line.trim_start_matches('\u{feff}') } else { line };
        let marked = bare
            .strip_prefix("---")
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        if marked.is_some() && content {
            parts.extend(text.get(begin..at).map(|text| Part { text, skipped }));
        }
        if marked.is_some() {
            (begin, skipped, content) = (at, number, false);
        }
        let rest = marked.unwrap_or(bare).trim();
        content |= !rest.is_empty() && !rest.starts_with('#');
        at += line.len();
    }
    if content {
        parts.extend(text.get(begin..).map(|text| Part { text, skipped }));
    }
    parts
}

#[cfg(test)]
mod tests;
