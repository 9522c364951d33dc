//! Reads the text of a file, and shows what is wrong with it: file, line, column, key and the line in question. The
//! configuration and policies are read alike.

use std::{borrow::Cow, fmt, marker::PhantomData, path::Path};

use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_path_to_error::{Segment, Track};
use serde_saphyr::{Error, Location, MessageFormatter, Options, UserMessageFormatter};

use super::snippet::{Gravity, Mark, Text, harmless};

/// Most characters of a message and of a key that are shown: somebody may have written 64 KiB there.
const SHOWN: usize = 300;
/// Keys below which there are names that somebody chose.
const CHOSEN: [&str; 2] = ["groups", "labels"];

/// What is wrong with a file. Safe to show.
#[derive(Clone, Debug)]
pub struct Problem(Box<Told>);

/// A problem part by part. Each part is one line that is safe to show.
#[derive(Clone, Debug)]
pub struct Told {
    /// Which file.
    pub file: String,
    /// Line and column, from 1; nothing where the file cannot be read at all.
    pub place: Option<(usize, usize)>,
    /// The path of the value in question (`limits.flows`); empty for the whole.
    pub key: String,
    /// What is wrong with it.
    pub message: String,
    line: String,
    report: String,
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.report)
    }
}

impl Problem {
    /// A file that cannot even be read. `what` is in it.
    pub(crate) fn unreadable(path: &Path, what: &str, reason: &dyn fmt::Display) -> Self {
        let [file, message] = [path.to_string_lossy(), format!("{what} cannot be read: {reason}").into()]
            .map(|text| one_line(&text));
        let line = format!("{file}: {message}");
        let report = format!("error: {line}\n");
        Self(Told { file, place: None, key: String::new(), message, line, report }.into())
    }

    /// Something at a place in a text. An empty key is the whole.
    pub(crate) fn at(text: &Text<'_>, mark: Mark, key: &str, message: &str) -> Self {
        let [file, key, message] =
            [&text.path().to_string_lossy(), &*shortened(key), &*shortened(message)].map(one_line);
        let subject = if key.is_empty() { "the file".to_owned() } else { format!("`{key}`") };
        let report = text.show(Gravity::Error, mark, &format!("{subject}: {message}"), &message);
        let Mark { line, column, .. } = mark;
        let place = Some((line, column));
        let line = format!("{file}:{line}:{column}: {subject}: {message}");
        Self(Told { file, place, key, message, line, report }.into())
    }

    /// In one line: `FILE:LINE:COLUMN: KEY: MESSAGE`.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.0.line
    }

    /// Part by part.
    #[must_use]
    pub fn told(&self) -> &Told {
        &self.0
    }
}

fn one_line(text: &str) -> String {
    harmless(text).replace('\n', " ")
}

/// How much YAML may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// Scalars, lists and mappings.
    pub(crate) nodes: usize,
}

impl Cost {
    /// What nothing needs (depth, anchors, many nodes) is refused before it costs anything.
    fn options(self) -> Options {
        serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                // What others write may be deep, though nothing of it is read.
                max_depth: 64,
                // One more than is taken, so that the second is what is told.
                max_documents: 2,
                max_nodes: self.nodes,
                // A list also has an end.
                max_events: self.nodes.saturating_mul(3),
                max_anchors: 64,
                max_aliases: 256,
                max_merge_keys: 64,
            },
            strict_booleans: true,
            // Shown by us, as policies that can be read but not understood are.
            with_snippet: false,
        }
    }
}

/// One document, which is `part` of a text and begins after `skipped` of its lines.
pub(crate) fn parse<T: DeserializeOwned>(
    text: &Text<'_>,
    part: &str,
    skipped: usize,
    cost: Cost,
) -> Result<T, Problem> {
    parse_seed(PhantomData, text, part, skipped, cost)
}

/// As [`parse`], where what is read depends on what is known already.
pub(crate) fn parse_seed<'de, S: DeserializeSeed<'de>>(
    seed: S,
    text: &Text<'_>,
    part: &'de str,
    skipped: usize,
    cost: Cost,
) -> Result<S::Value, Problem> {
    let mut key = String::new();
    document_of(seed, part, cost, &mut key).map_err(|error| {
        let mark = error.location().map_or(Mark { line: 1, column: 1, length: 1 }, |at| mark(&at));
        let mark = Mark { line: mark.line + skipped, ..mark };
        Problem::at(text, mark, &key, &Words.format_message(&error))
    })
}

/// One document. Where it is wrong, `key` is the path of the value in question.
pub(super) fn document<T: DeserializeOwned>(text: &str, cost: Cost, key: &mut String) -> Result<T, Error> {
    document_of(PhantomData, text, cost, key)
}

fn document_of<'de, S: DeserializeSeed<'de>>(
    seed: S,
    text: &'de str,
    cost: Cost,
    key: &mut String,
) -> Result<S::Value, Error> {
    serde_saphyr::with_deserializer_from_str_with_options(text, cost.options(), |yaml| {
        let mut track = Track::new();
        let read = seed.deserialize(serde_path_to_error::Deserializer::new(yaml, &mut track));
        read.inspect_err(|_| *key = path(&track.path()))
    })
}

/// A place within one document.
pub(crate) fn mark(at: &Location) -> Mark {
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    // A list or a mapping is marked where it begins.
    Mark { line: number(at.line()), column: number(at.column()), length: number(at.span().len()) }
}

/// Keys and indices from the root on: `rules[0].allow[1].from`.
fn path(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    let mut last = "";
    for segment in path {
        match segment {
            Segment::Seq { index } => text += &format!("[{index}]"),
            // What knows its place (`Spanned`) is a struct to serde, and its content has this key.
            Segment::Map { key } if key == "value" && !CHOSEN.contains(&last) => continue,
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if !text.is_empty() {
                    text.push('.');
                }
                text += key;
                last = key;
                continue;
            }
            // Of a key that could not be read, only what is around it is known.
            Segment::Unknown => (),
        }
        last = "";
    }
    text
}

/// Messages of our own for what there is no better word for.
struct Words;

impl MessageFormatter for Words {
    fn format_message<'a>(&self, error: &'a Error) -> Cow<'a, str> {
        let usual = || UserMessageFormatter.format_message(error);
        match error {
            // In words that also those know who do not know the grammar of YAML.
            Error::Unexpected { expected: "mapping start", .. } => "expected keys and values".into(),
            Error::Unexpected { expected: "sequence start", .. } => "expected a list".into(),
            Error::Unexpected { expected: "string scalar", .. } => "expected text".into(),
            Error::Unexpected { expected, .. } => format!("expected {expected}").into(),
            Error::SerdeMissingField { field, .. } => format!("lacks `{field}`").into(),
            Error::SerdeUnknownField { field: written, expected, .. }
            | Error::SerdeUnknownVariant { variant: written, expected, .. } => {
                match nearest(written, expected.iter().copied()) {
                    Some(meant) => format!("{}; did you mean `{meant}`?", shortened(&usual())).into(),
                    None => usual(),
                }
            }
            _ => usual(),
        }
    }
}

/// What was meant by what is written, if that can be guessed.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // Nothing that has a name is as long.
    let written = (written.len() <= SHOWN).then(|| written.to_lowercase())?;
    let alike = known.into_iter().map(|name| (strsim::damerau_levenshtein(&written, name), name));
    let (distance, name) = alike.min_by_key(|(distance, _)| *distance)?;
    // Of a single letter nothing can be guessed.
    let length = written.chars().count();
    (distance < length && distance <= length.max(3) / 3).then_some(name)
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}
