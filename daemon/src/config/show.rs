//! The configuration as text: what is in effect, and where each value comes from.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use serde_json::Value;

use super::{COST, Config, Given, problem};

/// The file that is shipped: every key with what it is for, commented out, at its default.
pub const SHIPPED: &str = include_str!("../../../dist/config.yaml");

/// Where values come from.
#[derive(Debug)]
pub struct Origins {
    file: String,
    /// What stands in the file.
    there: BTreeMap<String, Value>,
    given: Given,
}

impl Origins {
    /// Those of a file that has been read without a problem.
    pub(super) fn new(path: &Path, text: &str, given: &Given) -> Self {
        let there: Value = problem::document(text, COST, &mut String::new()).unwrap_or_default();
        Self { file: path.display().to_string(), there: leaves(&there), given: given.clone() }
    }

    fn of(&self, key: &str) -> &str {
        match self.given.origin(key) {
            Some(origin) => origin,
            None if self.there.contains_key(key) => &self.file,
            None => "default",
        }
    }
}

impl Config {
    /// What is in effect, as a file that says the same but for what may be a secret, each value with where it comes from.
    #[must_use]
    pub fn effective(&self, origins: &Origins) -> String {
        let shown = Self { alerts: self.alerts.without_secrets(), ..self.clone() };
        let mut lines = Vec::new();
        for Entry { path, key, depth, value } in entries(&tree(&shown)) {
            // JSON's way to write a value is one of YAML's. Only keys of ours can do without quotes.
            let key = if path.starts_with("outside.") { Value::from(key).to_string() } else { key };
            let indent = "  ".repeat(depth);
            match value {
                Some(value) => lines.push((format!("{indent}{key}: {value}"), origins.of(&path))),
                None => lines.push((format!("{indent}{key}:"), "")),
            }
        }
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0);
        lines.iter().fold(String::new(), |text, (line, origin)| match *origin {
            "" => text + line + "\n",
            origin => text + &format!("{line:<width$}  # {origin}\n"),
        })
    }

    /// Keys that have another value in `other`, in order.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let (own, others) = (leaves(&tree(self)), leaves(&tree(other)));
        let keys: BTreeSet<_> = own.keys().chain(others.keys()).collect();
        keys.into_iter().filter(|key| own.get(*key) != others.get(*key)).cloned().collect()
    }
}

/// The paths of all values.
#[cfg(test)]
pub(super) fn keys(config: &Config) -> Vec<String> {
    leaves(&tree(config)).into_keys().collect()
}

fn tree(config: &Config) -> Value {
    // Text, numbers and maps by text: nothing that JSON could not say.
    serde_json::to_value(config).unwrap_or_default()
}

/// Values that are no tables, by their path.
fn leaves(tree: &Value) -> BTreeMap<String, Value> {
    entries(tree).into_iter().filter_map(|entry| Some((entry.path, entry.value?))).collect()
}

/// A key, and its value unless that is a table with entries of its own.
struct Entry {
    /// The keys from the root on, with dots between them.
    path: String,
    key: String,
    depth: usize,
    value: Option<Value>,
}

fn entries(tree: &Value) -> Vec<Entry> {
    fn collect(tree: &Value, path: &str, depth: usize, found: &mut Vec<Entry>) {
        for (key, value) in tree.as_object().into_iter().flatten() {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let table = value.as_object().is_some_and(|table| !table.is_empty());
            let own = (!table).then(|| value.clone());
            found.push(Entry { path: path.clone(), key: key.clone(), depth, value: own });
            if table {
                collect(value, &path, depth + 1, found);
            }
        }
    }
    let mut found = Vec::new();
    collect(tree, "", 0, &mut found);
    found
}
