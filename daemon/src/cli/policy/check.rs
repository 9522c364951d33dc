//! `cofferdam policy check`: what is wrong with policies, and what is suspicious.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde::Serialize;

use super::{
    Format,
    sources::{self, Sources},
};
use crate::{
    api::{Health, Status},
    attribution::Container,
    cli::{
        Client, Failure,
        output::{plural, print, print_json},
    },
    config::{Gravity, Mark, Problem, Text, Told},
    event::Workload,
    interaction::Edge,
    policy::{
        check::{Finding, Here, Severity, check},
        expect,
        folder::{NamedText, Set},
    },
};

/// Which policies.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Files and folders. [default: /etc/cofferdam/policies, if there is one]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// For whom the findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
}

/// A finding as JSON.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    severity: Severity,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    subject: &'a str,
    message: &'a str,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let set = match (load(&arguments.paths), arguments.format) {
        (Ok(set), _) => set,
        (Err(problem), Format::Text) => return Err(Failure::Policies(problem)),
        (Err(problem), Format::Json) => {
            print_json(&[of_problem(&problem)])?;
            return Err(Failure::Broken);
        }
    };
    let findings = check(set.documents(), here(client).as_ref());
    match arguments.format {
        Format::Text => print(&text(&set, &findings)),
        Format::Json => {
            let files: Vec<_> = findings.iter().map(|finding| finding.place.file.to_string_lossy()).collect();
            let lines = findings.iter().zip(&files).map(|(finding, file)| of_finding(finding, file));
            print_json(&lines.collect::<Vec<_>>())
        }
    }
}

/// Whom the daemon knows; `None` where none answers, as in CI.
fn here(client: &Client) -> Option<Here> {
    let containers: Vec<Container> = client.get("/v1/containers").ok()?;
    let edges: Vec<Edge> = client.get("/v1/interactions").ok()?;
    let Health { hooks, .. } = client.get("/v1/doctor").ok()?;
    let Status { policies, .. } = client.get("/v1/status").ok()?;
    let mut workloads = vec![Arc::new(Workload::host())];
    workloads.extend(containers.iter().map(|container| Arc::clone(&container.workload)));
    workloads.extend(edges.into_iter().flat_map(|edge| [edge.source, edge.target]));
    let mut partial = Vec::new();
    if hooks.iter().any(|hook| hook.optional && hook.refused.is_some()) {
        let told: HashSet<_> = policies.partial.iter().map(|partial| partial.workload.as_str()).collect();
        let is_partial = |it: &&Arc<Workload>| it.kind.is_hosts_own() || told.contains(it.name.as_str());
        partial.extend(workloads.iter().filter(is_partial).cloned());
        // While no policy is in force the daemon does not look.
        partial.extend(containers.into_iter().filter(|it| it.host_network).map(|it| it.workload));
    }
    Some(Here { workloads, partial })
}

/// The policies; expectations beside them are read as well, so that what is wrong with them is told.
fn load(paths: &[PathBuf]) -> Result<Set, Problem> {
    let Sources { set, expectations } = sources::load(paths)?;
    for (path, text) in &expectations {
        expect::parse(path, text)?;
    }
    Ok(set)
}

/// What is suspicious about these files in a folder, with its other files: each finding with its lines. Empty where the folder
/// cannot be read.
pub(super) fn warnings(folder: &Path, files: &[NamedText], client: &Client) -> String {
    let Ok(set) = Set::load_with(folder, files) else { return String::new() };
    let mut findings = check(set.documents(), here(client).as_ref());
    findings.retain(|finding| files.iter().any(|file| finding.place.file.ends_with(&*file.name)));
    shown(&set, &findings)
}

/// Each finding with its lines, and a line that says how it stands.
fn text(set: &Set, findings: &[Finding]) -> String {
    let rules: usize = set.documents().iter().map(|document| document.policy.rules.len()).sum();
    let state = if findings.is_empty() { "fine".to_owned() } else { plural(findings.len(), "warning") };
    let policies = match set.documents().len() {
        1 => "1 policy".to_owned(),
        count => format!("{count} policies"),
    };
    shown(set, findings)
        + &format!(
            "{policies}, {} in {}: {state}\n",
            plural(rules, "rule"),
            plural(set.files().len(), "file")
        )
}

fn shown(set: &Set, findings: &[Finding]) -> String {
    let files: HashMap<&Path, Text<'_>> =
        set.files().iter().map(|file| (&*file.path, Text::new(&file.path, &file.text))).collect();
    let mut text = String::new();
    for finding in findings {
        let Finding { severity, place, subject, message } = finding;
        let Some(file) = files.get(&*place.file) else { continue };
        let gravity = match severity {
            Severity::Error => Gravity::Error,
            Severity::Warning => Gravity::Warning,
        };
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let mark = Mark { line: number(place.line), column: number(place.column), length: 1 };
        text += &file.show(gravity, mark, &format!("{subject}: {message}"), "");
    }
    text
}

pub(super) fn of_problem(problem: &Problem) -> Line<'_> {
    let Told { file, place, key, message, .. } = problem.told();
    let (line, column) = place.unzip();
    Line { severity: Severity::Error, file, line, column, subject: key, message }
}

fn of_finding<'a>(finding: &'a Finding, file: &'a str) -> Line<'a> {
    let number = |number: u32| usize::try_from(number).ok();
    Line {
        severity: finding.severity,
        file,
        line: number(finding.place.line),
        column: number(finding.place.column),
        subject: &finding.subject,
        message: &finding.message,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::policy::folder::FileName;

    /// A file of its own for a test.
    fn file(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("cofferdam-check-{}-{name}.yaml", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    }

    fn shown(text: &str) -> String {
        let mut set = Set::default();
        set.add_text(Path::new("/etc/cofferdam/policies/shop.yaml"), text.to_owned()).unwrap();
        super::text(&set, &check(set.documents(), None))
    }

    #[test]
    fn policies_that_are_fine_are_told_in_one_line() {
        let text = "policy: shop\nrules:\n  - {to: shop/db, allow: [{from: shop/api}]}\n";
        assert_eq!(shown(text), "1 policy, 1 rule in 1 file: fine\n");
        assert_eq!(shown(""), "0 policies, 0 rules in 1 file: fine\n");
    }

    #[test]
    fn a_finding_is_shown_with_its_lines_as_the_documentation_has_it() {
        let text = "policy: shop\nmode: enforce\nrules:\n  - to: shop/db\n    deny:\n      - {from: {project: ci}}\n";
        let shown = shown(text);
        assert!(include_str!("../../../../docs/policy.md").contains(&shown), "docs/policy.md lacks\n{shown}");
    }

    #[test]
    fn broken_policies_are_exit_code_3_with_a_report_or_as_json() {
        let path = file("broken", "policy: a\n");
        let nobody = Client::new(Path::new("/nonexistent"));
        let run = |format| run(&Arguments { paths: vec![path.clone()], format }, &nobody).unwrap_err();
        let human = run(Format::Text);
        assert_eq!(human.code(), 3);
        assert!(human.report().unwrap().contains("lacks `rules`"), "{human:?}");
        let json = run(Format::Json);
        assert_eq!((json.code(), json.report(), json.sentence()), (3, None, None));
        let problem = load(std::slice::from_ref(&path)).unwrap_err();
        let json = serde_json::to_value(of_problem(&problem)).unwrap();
        assert_eq!(
            (&json["severity"], &json["line"], &json["column"]),
            (&"error".into(), &1.into(), &1.into())
        );
        fs::remove_file(path).unwrap();
        let wrong = file("wrong.test", "- {from: a, to: b, expect: allow}\n");
        assert!(load(std::slice::from_ref(&wrong)).unwrap_err().line().contains("lacks `port`"));
        fs::remove_file(wrong).unwrap();
        let absent = load(&[PathBuf::from("/nonexistent/a.yaml")]).unwrap_err();
        assert!(serde_json::to_value(of_problem(&absent)).unwrap().get("line").is_none());
    }

    #[test]
    fn what_is_to_be_put_into_a_folder_is_compared_with_what_is_there_and_told_alone() {
        let folder = std::env::temp_dir().join(format!("cofferdam-check-{}-folder", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let there =
            "policy: base\nmode: enforce\nrules: [{to: any, deny: [{from: ci}]}, {from: a, allow: []}]\n";
        fs::write(folder.join("base.yaml"), there).unwrap();
        let text = "policy: shop\nmode: enforce\nrules: [{to: db, allow: [{from: ci}]}]\n".to_owned();
        let files = [NamedText { name: FileName::try_from("shop.yaml".to_owned()).unwrap(), text }];
        let told = warnings(&folder, &files, &Client::new(Path::new("/nonexistent")));
        assert!(told.contains("nothing of this passes: base#1 denies all of it"), "{told}");
        assert_eq!(told.matches("warning:").count(), 1, "{told}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn several_files_are_one_set() {
        let [one, two] = ["one", "two"].map(|name| file(name, "policy: a\nrules: []\n"));
        assert!(load(&[one.clone(), two.clone()]).unwrap_err().line().contains("is also the policy at"));
        assert_eq!(load(std::slice::from_ref(&one)).unwrap().documents().len(), 1);
        for path in [one, two] {
            fs::remove_file(path).unwrap();
        }
    }
}
