//! What comes out of files, read again as it is read from the folder of policies.

mod compose;

mod kubernetes;

mod many_policies;

mod many_projects;

use std::path::Path;

use cofferdam_common::{
    network::VERDICT_DENY,
    policy::{Identity, judge_both, service},
};

use super::*;
use crate::{
    event::Workload,
    policy::{Plan, check, folder::Set, samples},
};

fn options() -> Options {
    Options { mode: Mode::Enforce, namespace: "default".to_owned(), project: None }
}

fn file(text: &str) -> File {
    File { path: "file.yaml".into(), text: text.to_owned(), folder: Some("Shop".to_owned()) }
}

/// What comes of a text of which all can be told, and which is not even suspicious.
fn imported(text: &str) -> String {
    let imported = import(&[file(text)], &options()).unwrap_or_else(|problem| panic!("{problem}"));
    assert!(imported.missing.is_empty(), "{:?}", imported.missing);
    let mut set = Set::default();
    set.add_text(Path::new("output"), imported.text.clone()).unwrap();
    let found: Vec<_> = check::check(set.documents(), None).into_iter().map(|found| found.message).collect();
    assert!(found.is_empty(), "{found:?}\n{}", imported.text);
    imported.text
}

/// What cannot be told of a text, and what else comes of it.
fn missing(text: &str) -> (Vec<String>, String) {
    let Imported { text, missing, .. } = import(&[file(text)], &options()).unwrap();
    (missing.iter().map(|problem| problem.line().to_owned()).collect(), text)
}

fn notes(text: &str) -> Vec<String> {
    import(&[file(text)], &options()).unwrap().notes
}

fn refused(text: &str) -> String {
    import(&[file(text)], &options()).unwrap_err().line().to_owned()
}

/// What is judged by the policies of a text.
struct Judge(Plan);

impl Judge {
    fn new(text: &str) -> Self {
        Self(samples::plan("output", text, samples::OPEN))
    }

    fn workload(&mut self, workload: &Workload) -> Identity {
        self.0.admit(self.0.signature(workload)).unwrap()
    }

    fn passes(&self, source: Identity, target: Identity, (protocol, port): (u8, u16)) -> bool {
        judge_both(&self.0, 0, source, target, service(protocol, port)).verdict != VERDICT_DENY
    }
}

#[test]
fn what_is_neither_is_refused_and_what_is_empty_is_noted() {
    assert!(refused("a: b\n").starts_with("file.yaml:1:1: the file: has neither `kind`"));
    assert!(refused("---\n# x\n- a\n").starts_with("file.yaml:3:1:"));
    assert_eq!(notes("# nothing yet\n"), ["file.yaml: nothing is in it"]);
}

#[test]
fn several_files_are_one_set_and_what_is_called_alike_gets_a_number() {
    let policy = |name: &str| {
        file(&format!(
            "{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: {name}, namespace: b}}}}"
        ))
    };
    let long = "x".repeat(70);
    let both = [policy(&format!("{long}1")), policy(&format!("{long}2"))];
    let text = import(&both, &options()).unwrap().text;
    let cut = |most| &long[..most];
    let [first, second] = [format!("\npolicy: b.{}\n", cut(61)), format!("\npolicy: b.{}-2\n", cut(59))];
    assert!(text.contains(&first) && text.contains(&second), "{text}");
    // The last one counts, as in Kubernetes.
    let Imported { text, notes, .. } = import(&[policy("a"), policy("a")], &options()).unwrap();
    assert!(text.contains("\npolicy: b.a\n") && !text.contains("b.a-2"), "{text}");
    assert!(notes.iter().any(|note| note.contains("takes the place of the one before it")), "{notes:?}");
}

#[test]
fn names_are_made_to_fit() {
    let mut names = write::Names::default();
    assert_eq!(names.give("a b/c"), "a-b-c");
    assert_eq!(names.give("a-b-c"), "a-b-c-2");
    let long = "x".repeat(100);
    assert_eq!(names.give(&long), "x".repeat(63));
    assert_eq!(names.give(&long), format!("{}-2", "x".repeat(61)));
    assert_eq!(names.give(&"é".repeat(64)), "-".repeat(63));
}
