//! Policies out of files: all of them, or what is wrong with the first that cannot be taken.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::{self, ErrorKind},
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{
    document::{Document, Totals, read},
    model::{Place, Policy},
};
use crate::{
    config::{self, Mark, Problem, Text},
    event::is_hostile,
};

/// Most bytes of text, over all files.
const SIZE_LIMIT: usize = 16 << 20;
/// Most files.
const FILES_LIMIT: usize = 4_096;
/// Longest name of a file that is handed over, in bytes: beside it there must be room for one that is not whole yet.
const NAME_LIMIT: usize = 200;

/// Policies with unique names.
#[derive(Debug, Default)]
pub struct Set {
    documents: Vec<Document>,
    files: Vec<File>,
    names: HashMap<Arc<str>, Place>,
    totals: Totals,
    size: usize,
}

/// A file that was read.
#[derive(Debug)]
pub struct File {
    /// Where it is.
    pub path: Arc<Path>,
    /// What stands in it.
    pub text: String,
}

impl Set {
    /// Those of a folder: all files of it that are called as policies are ([`Kind::of`]), by name. A folder that does not
    /// exist has none. Blocks.
    ///
    /// # Errors
    /// What is wrong with the first file that cannot be taken.
    pub fn load(folder: &Path) -> Result<Self, Problem> {
        let mut set = Self::default();
        match set.add_folder(folder) {
            Ok(()) => Ok(set),
            Err(Refusal::Problem(problem)) => Err(problem),
            Err(Refusal::Io(error)) if error.kind() == ErrorKind::NotFound => Ok(set),
            Err(Refusal::Io(error)) => Err(unreadable(folder, &error)),
        }
    }

    /// Those of a folder as they would be with these files in it, in place of those that are called so. Blocks.
    ///
    /// # Errors
    /// What is wrong with the first file that cannot be taken.
    pub fn load_with(folder: &Path, files: &[NamedText]) -> Result<Self, Problem> {
        let mut paths = match self::files(folder, Kind::Policies) {
            Ok(paths) => paths,
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(unreadable(folder, &error)),
        };
        let given: BTreeMap<_, _> =
            files.iter().map(|file| (folder.join(&*file.name), file.text.as_str())).collect();
        paths.extend(given.keys().cloned());
        paths.sort();
        paths.dedup();
        let mut set = Self::default();
        for path in paths {
            match given.get(&path) {
                Some(text) if text.len() > set.left() => {
                    return Err(unreadable(&path, &format!("it is longer than {} bytes", set.left())));
                }
                Some(text) => set.add_text(&path, (*text).to_owned())?,
                None => set.add_file(&path)?,
            }
        }
        Ok(set)
    }

    /// Adds those of a file, or of all files of a folder; it must exist. Blocks.
    ///
    /// # Errors
    /// What is wrong with the first file that cannot be taken.
    pub fn add_path(&mut self, path: &Path) -> Result<(), Problem> {
        if !path.is_dir() {
            return self.add_file(path);
        }
        self.add_folder(path).map_err(|refusal| match refusal {
            Refusal::Problem(problem) => problem,
            Refusal::Io(error) => unreadable(path, &error),
        })
    }

    /// Adds those of a text; `path` says where it comes from.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add_text(&mut self, path: &Path, text: String) -> Result<(), Problem> {
        let path: Arc<Path> = path.into();
        if self.files.len() == FILES_LIMIT {
            return Err(unreadable(&path, &format!("there can be {FILES_LIMIT} files")));
        }
        for document in read(&path, &text, &mut self.totals)? {
            let (name, place) = (document.policy.name.clone(), document.place.clone());
            if let Some(first) = self.names.insert(name.clone(), place.clone()) {
                return Err(twice(&text, &name, &first, &place));
            }
            self.documents.push(document);
        }
        self.size += text.len();
        self.files.push(File { path, text });
        Ok(())
    }

    /// What was read, in order.
    #[must_use]
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    /// The files that were read, in order.
    #[must_use]
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// The policies, and the files that they are from, in order.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Arc<Policy>>, Vec<File>) {
        (self.documents.into_iter().map(|document| document.policy.into()).collect(), self.files)
    }

    /// How many bytes of text there may still be.
    fn left(&self) -> usize {
        SIZE_LIMIT - self.size.min(SIZE_LIMIT)
    }

    fn add_folder(&mut self, folder: &Path) -> Result<(), Refusal> {
        for path in files(folder, Kind::Policies).map_err(Refusal::Io)? {
            self.add_file(&path).map_err(Refusal::Problem)?;
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Problem> {
        let text = config::read(path, self.left()).map_err(|error| unreadable(path, &error))?;
        self.add_text(path, text)
    }
}

/// A file that is to be in a folder of policies.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct NamedText {
    /// What it is called there.
    pub name: FileName,
    /// What stands in it.
    pub text: String,
}

/// The name of a file of policies, without a folder: it cannot lead anywhere else.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

impl TryFrom<String> for FileName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let path = Path::new(&name);
        let plain =
            path.file_name().is_some_and(|last| last == path.as_os_str()) && !name.contains(is_hostile);
        if name.len() > NAME_LIMIT || !plain || Kind::of(path) != Some(Kind::Policies) {
            return Err(format!(
                "`{}` cannot be the name of a file of policies: it must end in .yaml or .yml, and is neither hidden \
                 nor a file of expectations",
                name.escape_debug()
            ));
        }
        Ok(Self(name))
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

impl Deref for FileName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// Why a folder was not taken.
enum Refusal {
    /// It cannot be listed.
    Io(io::Error),
    /// A file of it is not taken.
    Problem(Problem),
}

/// What a file in a folder of policies is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// It has policies.
    Policies,
    /// It has expectations ([`super::expect`]).
    Expectations,
}

impl Kind {
    /// By its name: what ends in `.yaml` or `.yml` and is not hidden has policies, or expectations where `.test` stands
    /// before that. Nothing for all else.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.as_encoded_bytes();
        let stem = name.strip_suffix(b".yaml").or_else(|| name.strip_suffix(b".yml"))?;
        match stem {
            [] | [b'.', ..] => None,
            _ if stem.ends_with(b".test") => Some(Self::Expectations),
            _ => Some(Self::Policies),
        }
    }
}

/// The files of a folder that are called as those of a kind are, by name. What is called so and is none is refused when
/// it is read. Blocks.
///
/// # Errors
/// The folder cannot be listed.
pub fn files(folder: &Path, kind: Kind) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if Kind::of(&path) == Some(kind) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn unreadable(path: &Path, reason: &dyn std::fmt::Display) -> Problem {
    Problem::unreadable(path, "policies", reason)
}

fn twice(text: &str, name: &str, first: &Place, second: &Place) -> Problem {
    let mark = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let mark = Mark { line: mark(second.line), column: mark(second.column), length: name.len() };
    let message =
        format!("`{name}` is also the policy at {}:{}:{}", first.file.display(), first.line, first.column);
    Problem::at(&Text::new(&second.file, text), mark, "policy", &message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for a test.
    fn folder(name: &str, files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("cofferdam-policies-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        folder
    }

    fn names(folder: &Path) -> Vec<String> {
        let set = Set::load(folder).unwrap_or_else(|problem| panic!("{problem}"));
        set.into_parts().0.iter().map(|policy| policy.name.to_string()).collect()
    }

    fn broken(folder: &Path) -> String {
        let problem = Set::load(folder).unwrap_err();
        problem.line().replace(folder.to_str().unwrap(), "")
    }

    #[test]
    fn files_are_read_by_name_and_only_those_that_are_policies_and_not_hidden() {
        let folder = folder(
            "order",
            &[
                ("b.yaml", "policy: b1\nrules: []\n---\npolicy: b2\nrules: []\n"),
                ("a.yml", "policy: a\nrules: []\n"),
                ("nothing.yaml", "# nothing yet\n"),
                (".c.yaml", "no policy"),
                ("a.test.yaml", "no policy"),
                ("b.test.yml", "no policy"),
                ("d.yaml~", "no policy"),
                ("README", "no policy"),
            ],
        );
        fs::create_dir(folder.join("sub")).unwrap();
        fs::write(folder.join("sub/e.yaml"), "no policy").unwrap();
        assert_eq!(names(&folder), ["a", "b1", "b2"]);
        let tests = files(&folder, Kind::Expectations).unwrap();
        assert_eq!(tests, ["a.test.yaml", "b.test.yml"].map(|name| folder.join(name)));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_does_not_exist_has_no_policies_but_one_that_was_named_must_exist() {
        let absent = Path::new("/nonexistent/policies");
        assert!(names(absent).is_empty());
        let problem = Set::default().add_path(absent).unwrap_err();
        assert!(problem.line().contains("/nonexistent/policies: policies cannot be read"), "{problem}");
    }

    #[test]
    fn a_name_that_stands_twice_is_told_with_both_places() {
        let folder = folder(
            "twice",
            &[("a.yaml", "policy: shop\nrules: []\n"), ("b.yaml", "rules: []\n\npolicy: shop\n")],
        );
        assert_eq!(broken(&folder), "/b.yaml:3:9: `policy`: `shop` is also the policy at /a.yaml:1:9");
        fs::write(folder.join("a.yaml"), "policy: x\nrules: []\n---\npolicy: x\nrules: []\n").unwrap();
        assert_eq!(broken(&folder), "/a.yaml:4:9: `policy`: `x` is also the policy at /a.yaml:1:9");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn the_first_file_that_is_broken_is_told_and_nothing_is_taken() {
        let folder = folder("broken", &[("a.yaml", "policy: a\nrules: []\n"), ("b.yaml", "policy: b\n")]);
        assert!(broken(&folder).starts_with("/b.yaml:1:"), "{}", broken(&folder));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_no_file_is_no_text_or_is_too_long_is_refused() {
        let folder = folder("odd", &[]);
        fs::create_dir(folder.join("a.yaml")).unwrap();
        assert!(broken(&folder).contains("it is no file"), "{}", broken(&folder));
        fs::remove_dir(folder.join("a.yaml")).unwrap();
        fs::write(folder.join("a.yaml"), b"policy: \xff").unwrap();
        assert!(broken(&folder).contains("not UTF-8 text (line 1, byte 8)"), "{}", broken(&folder));
        fs::write(folder.join("a.yaml"), "#".repeat(SIZE_LIMIT)).unwrap();
        assert_eq!(names(&folder).len(), 0);
        fs::write(folder.join("b.yaml"), "#").unwrap();
        assert!(broken(&folder).contains("/b.yaml: policies cannot be read: it is longer than 0 bytes"));
        fs::remove_dir_all(folder).unwrap();
    }

    fn named(name: &str, text: &str) -> NamedText {
        NamedText { name: name.to_owned().try_into().unwrap(), text: text.to_owned() }
    }

    #[test]
    fn a_folder_is_read_as_it_would_be_with_other_files_in_it() {
        let text = |name: &str| format!("policy: {name}\nrules: []\n");
        let folder = folder("with", &[("a.yaml", &text("a")), ("b.yaml", "no policy")]);
        let with = |files: &[NamedText]| {
            let set = Set::load_with(&folder, files).map_err(|problem| problem.line().to_owned())?;
            Ok(set.into_parts().0.iter().map(|policy| policy.name.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(
            with(&[named("c.yaml", &text("c")), named("b.yaml", &text("b"))]).unwrap(),
            ["a", "b", "c"]
        );
        let twice: Result<_, String> = with(&[named("b.yaml", &text("a"))]);
        assert!(twice.unwrap_err().contains("b.yaml:1:9: `policy`: `a` is also the policy at"));
        let long = with(&[named("b.yaml", &"#".repeat(SIZE_LIMIT))]).unwrap_err();
        assert!(long.contains("b.yaml: policies cannot be read: it is longer than"), "{long}");
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(with(&[named("b.yaml", &text("b"))]).unwrap(), ["b"]);
    }

    #[test]
    fn the_name_of_a_file_leads_nowhere_else() {
        for name in ["a.yaml", "über uns.yml"] {
            assert_eq!(&*FileName::try_from(name.to_owned()).unwrap(), name);
        }
        let long = "x".repeat(NAME_LIMIT) + ".yaml";
        for name in [
            "../a.yaml",
            "/a.yaml",
            "a/b.yaml",
            "a/",
            ".a.yaml",
            ".yaml",
            "a",
            "a.test.yaml",
            "a\n.yaml",
            "",
            &long,
        ] {
            assert!(FileName::try_from(name.to_owned()).is_err(), "{name}");
        }
    }
}
