//! Reads the text of a file, and shows what is wrong with it: file, line, column, key and the line in question. The
//! only user of serde-saphyr.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_saphyr::{Error, Localizer, Location, MessageFormatter, Options, UserMessageFormatter};

use crate::event::is_hostile;

/// Most characters of a message and of a key that are shown: somebody may have written 64 KiB there.
const SHOWN: usize = 300;

/// What is wrong with a file. Safe to show.
#[derive(Clone, Debug)]
pub struct Problem {
    line: String,
    report: String,
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.report)
    }
}

impl Problem {
    /// A file that cannot even be read.
    pub(super) fn unreadable(path: &Path, reason: &dyn fmt::Display) -> Self {
        let line = harmless(&format!("{}: the configuration cannot be read: {reason}", path.display()));
        Self { report: format!("error: {line}\n"), line }
    }

    /// In one line: `FILE:LINE:COLUMN: KEY: MESSAGE`.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }
}

/// One document, as a whole or not at all.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, Problem> {
    let mut key = None;
    document(text, &mut key).map_err(|error| {
        let words = Words { key: key.filter(|key| !key.is_empty()).map(|key| shortened(&key)) };
        let at = error.location().map(|at| format!("{}:{}:", at.line(), at.column())).unwrap_or_default();
        let subject = words.subject();
        let message = words.format_message(error.without_snippet());
        let line = format!("{}:{at} {subject}: {message}", path.display()).replace('\n', " ");
        let path: PathBuf = harmless(&path.to_string_lossy()).into();
        let options = serde_saphyr::render_options! { formatter: &words, source_name: path.to_str() };
        Problem { line: harmless(&line), report: harmless(&error.render_with_options(options)) + "\n" }
    })
}

/// One document. Where it is wrong, `key` is the path of the value in question.
pub(super) fn document<T: DeserializeOwned>(text: &str, key: &mut Option<String>) -> Result<T, Error> {
    serde_saphyr::with_deserializer_from_str_with_options(text, options(), |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            let path = error.path().to_string();
            // Of a key that could not be read, only what is around it is known.
            *key = Some(path.trim_end_matches(['?', '.']).to_owned());
            error.into_inner()
        })
    })
}

/// What no configuration needs (depth, anchors, many nodes) is refused before it costs anything.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: 16,
            // One more than is taken, so that the second is what is told.
            max_documents: 2,
            max_nodes: 50_000,
            max_events: 150_000,
            max_anchors: 64,
            max_aliases: 256,
            max_merge_keys: 64,
        },
        strict_booleans: true,
    }
}

/// Puts the key in front of the message, and keeps the message short.
struct Words {
    key: Option<String>,
}

impl Words {
    fn subject(&self) -> String {
        self.key.as_ref().map_or_else(|| "the file".to_owned(), |key| format!("`{key}`"))
    }
}

impl MessageFormatter for Words {
    fn localizer(&self) -> &dyn Localizer {
        self
    }

    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        let expected = match error {
            Error::Unexpected { expected, .. } => *expected,
            _ => return shortened(&UserMessageFormatter.format_message(error)).into(),
        };
        // In words that also those know who do not know the grammar of YAML.
        match expected {
            "mapping start" => "expected keys and values".into(),
            "sequence start" => "expected a list".into(),
            "string scalar" => "expected text".into(),
            other => format!("expected {other}").into(),
        }
    }
}

impl Localizer for Words {
    fn snippet_location_prefix(&self, _: Location) -> String {
        self.subject()
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}

/// Without what a terminal would obey, character for character, so that carets stay below what they point at.
fn harmless(text: &str) -> String {
    let hostile = |character: char| character != '\n' && is_hostile(character);
    text.chars().map(|character| if hostile(character) { '\u{fffd}' } else { character }).collect()
}
