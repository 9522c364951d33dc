//! One document of a file that is imported, and its places.

use serde::{
    Deserialize,
    de::{DeserializeOwned, DeserializeSeed},
};
use serde_saphyr::{Location, Spanned};

use crate::{
    config::{Cost, Mark, Problem, Text, mark, parse, parse_seed},
    policy::document::Part,
};

/// How much its YAML may cost.
const COST: Cost = Cost { nodes: 1_000_000 };

/// One document of a file.
#[derive(Clone, Copy)]
pub(super) struct Page<'a> {
    text: &'a Text<'a>,
    part: &'a str,
    /// Lines before it.
    skipped: usize,
}

/// Text, or what YAML takes for more than text.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(untagged)]
pub(super) enum Loose {
    Number(u64),
    Text(String),
}

impl<'a> Page<'a> {
    pub(super) fn new(text: &'a Text<'a>, part: &Part<'a>) -> Self {
        Self { text, part: part.text, skipped: part.skipped }
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        parse(self.text, self.part, self.skipped, COST)
    }

    pub(super) fn parse_seed<S: DeserializeSeed<'a>>(&self, seed: S) -> Result<S::Value, Problem> {
        parse_seed(seed, self.text, self.part, self.skipped, COST)
    }

    /// What is wrong with a value.
    pub(super) fn problem<T>(&self, at: &Spanned<T>, key: &str, message: &str) -> Problem {
        Problem::at(self.text, self.mark(&at.referenced), key, message)
    }

    /// What is wrong with the whole.
    pub(super) fn begin(&self, message: &str) -> Problem {
        let marker = self.part.starts_with("---") && self.part.contains('\n');
        let line = self.skipped + 1 + usize::from(marker);
        Problem::at(self.text, Mark { line, column: 1, length: 1 }, "", message)
    }

    /// `FILE:LINE` of a value.
    pub(super) fn place<T>(&self, at: &Spanned<T>) -> String {
        format!("{}:{}", self.file(), self.mark(&at.referenced).line)
    }

    pub(super) fn file(&self) -> String {
        self.text.path().display().to_string()
    }

    fn mark(&self, at: &Location) -> Mark {
        let found = mark(at);
        Mark { line: found.line + self.skipped, ..found }
    }
}
