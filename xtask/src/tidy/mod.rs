//! The rules of ARCHITECTURE.md as tests: what no compiler checks.

mod source;

mod doors;

mod imports;

mod hooks;

use std::fs;

use source::Source;
use walkdir::WalkDir;

use crate::shell;

/// Longest that a file may be, before its tests.
const LINES: usize = 400;

/// Fails with all that breaks the rule, not just with the first.
fn nothing_breaks(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn each_file_says_its_one_job_on_its_first_line() {
    let silent: Vec<_> =
        source::all().iter().filter(|s| !s.text.starts_with("//! ")).map(|s| s.name.clone()).collect();
    nothing_breaks("these do not begin with `//! `", &silent);
}

#[test]
fn files_stay_small() {
    let lines = |source: &Source| source.text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let long = source::all().into_iter().map(|s| (lines(&s), s.name)).filter(|(count, _)| *count >= LINES);
    let long: Vec<_> = long.map(|(count, name)| format!("{name}: {count} lines")).collect();
    nothing_breaks(&format!("these have {LINES} lines or more before their tests"), &long);
}

/// To run them would take another build of everything; what they would show, tests beside the code do.
#[test]
fn the_documentation_of_code_has_no_examples_that_nobody_runs() {
    let mut found = Vec::new();
    for source in source::all() {
        let text = |line: &str| {
            let line = line.trim_start();
            line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(|it| it.trim().to_owned())
        };
        // Every second one closes what the one before has opened.
        let fences = source.text.lines().filter_map(text).filter(|line| line.starts_with("```"));
        let code =
            fences.step_by(2).filter(|fence| !["```console", "```text", "```yaml"].contains(&fence.as_str()));
        found.extend(code.map(|fence| format!("{}: {fence}", source.name)));
    }
    nothing_breaks("these would be tests of the documentation", &found);
}

#[test]
fn each_crate_inherits_the_lints() {
    let root: toml::Table =
        toml::from_str(&fs::read_to_string(shell::root().join("Cargo.toml")).unwrap()).unwrap();
    let members = root["workspace"]["members"].as_array().unwrap();
    let lax = members.iter().map(|member| member.as_str().unwrap()).filter(|member| {
        let path = shell::root().join(member).join("Cargo.toml");
        let manifest: toml::Table = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        inherits.and_then(toml::Value::as_bool) != Some(true)
    });
    nothing_breaks("`[lints] workspace = true` is missing", &lax.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn unsafe_code_lives_in_the_kernel_programs_and_in_two_files_beside_them_and_with_the_adversary() {
    for root in ["daemon/src/lib.rs", "daemon/src/main.rs"] {
        let text = fs::read_to_string(shell::root().join(root)).unwrap();
        assert!(text.contains("#![forbid(unsafe_code)]"), "{root} does not forbid unsafe code");
    }
    let used = source::all().into_iter().filter(source::uses_unsafe).map(|source| source.name);
    let allowed = |name: &String| {
        // A build script is not what runs; setting a variable of the environment is unsafe since edition 2024.
        // An adversary does what no safe interface offers.
        let known = ["common/src/pod.rs", "query/src/lib.rs", "daemon/build.rs"].contains(&name.as_str());
        known || name.starts_with("ebpf/") || name.starts_with("tests/kernel/policy/adversary/")
    };
    nothing_breaks("these use `unsafe`", &used.filter(|name| !allowed(name)).collect::<Vec<_>>());
}

#[test]
fn each_document_that_is_linked_exists() {
    let mut broken = Vec::new();
    let documents = WalkDir::new(shell::root().join("docs")).into_iter().filter_map(Result::ok);
    for document in documents.filter(|entry| entry.path().extension().is_some_and(|it| it == "md")) {
        let text = fs::read_to_string(document.path()).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let local = !link.is_empty() && !link.contains("://");
            if local && !document.path().with_file_name(link).exists() {
                broken.push(format!("{}: {link}", document.path().display()));
            }
        }
    }
    nothing_breaks("these links lead nowhere", &broken);
}
