//! What others say about who may interact with whom -> policies: Kubernetes' NetworkPolicy, and Docker's Compose. No I/O.
//!
//! What comes out never allows more than what goes in. What cannot be told in a policy is *missing*, and said with its
//! place. docs/policy.md ("Importing") tells what is different here than there.

mod page;

mod kubernetes;

mod network_policy;

mod compose;

use std::path::PathBuf;

use serde::{Deserialize, de::IgnoredAny};

use self::page::Page;
use super::{document, model::Mode, write};
use crate::config::{Problem, Text};

/// A file to import.
#[derive(Debug)]
pub struct File {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// What stands in it.
    pub text: String,
    /// The folder that it lies in, after which Compose calls a project without a name.
    pub folder: Option<String>,
}

/// What the files do not say.
#[derive(Clone, Debug)]
pub struct Options {
    /// The mode of the policies.
    pub mode: Mode,
    /// The namespace of objects that name none.
    pub namespace: String,
    /// Compose's project, whatever the file says.
    pub project: Option<String>,
}

/// What became of the files.
#[derive(Debug)]
pub struct Imported {
    /// Policies, as YAML.
    pub text: String,
    /// What cannot be told in them, and is left out.
    pub missing: Vec<Problem>,
    /// What a reader should know, each in one line.
    pub notes: Vec<String>,
}

/// What is found while files are read.
#[derive(Debug, Default)]
struct Findings {
    missing: Vec<Problem>,
    /// What is left out as a whole.
    absent: Vec<String>,
    notes: Vec<String>,
}

impl Findings {
    /// Something that a reader should know. Once is enough.
    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}

impl Options {
    /// A namespace as [`Options::namespace`] wants it.
    ///
    /// # Errors
    /// It is no name of a namespace.
    pub fn namespace(name: &str) -> Result<String, String> {
        let fits = network_policy::is_namespace(name);
        fits.then(|| name.to_owned()).ok_or_else(|| format!("`{name}` is no name of a namespace"))
    }
}

/// Which sort of file a document is of.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Sort {
    kind: Option<IgnoredAny>,
    services: Option<IgnoredAny>,
    include: Option<IgnoredAny>,
}

/// Imports files as one: what they name in common is the same.
///
/// # Errors
/// A file cannot be read, or what comes of all is no set of policies (it is too large).
pub fn import(files: &[File], options: &Options) -> Result<Imported, Problem> {
    let mut findings = Findings::default();
    let mut documents = Vec::new();
    let mut projects = compose::Projects::default();
    for file in files {
        let text = Text::new(&file.path, &file.text);
        let mut pages = document::parts(&file.text).into_iter().map(|part| Page::new(&text, &part));
        let mut found = false;
        while let Some(page) = pages.next() {
            found = true;
            let sort: Sort = page.parse()?;
            if sort.kind.is_some() {
                kubernetes::read(&page, options, &mut documents, &mut findings)?;
            } else if sort.services.is_some() || sort.include.is_some() {
                projects.read(&page, file, options, &mut findings)?;
                // Compose lays one document over the other.
                if let Some(second) = pages.next() {
                    return Err(
                        second.begin("is a second document: `docker compose config` makes one of them")
                    );
                }
            } else {
                return Err(page.begin("has neither `kind` (Kubernetes) nor `services` (Compose)"));
            }
        }
        if !found {
            findings.note(format!("{}: nothing is in it", file.path.display()));
        }
    }
    documents.extend(projects.documents(&mut findings));
    let absent: Vec<_> = findings.absent.iter().map(|absent| format!("Missing: {absent}")).collect();
    let text = write::checked(&absent, documents, options.mode)?;
    Ok(Imported { text, missing: findings.missing, notes: findings.notes })
}

#[cfg(test)]
mod tests;
