//! The command line as a shell sees it: colours and exit codes. No daemon runs.

use std::process::{Command, Output};

use cofferdam_tests::built;

/// A command of ours in an environment of its own, where no daemon answers.
fn cofferdam(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(built("cofferdam").expect("it is built"));
    command.args(arguments).env_clear().envs(environment.iter().copied());
    command.env("COFFERDAM_RUN_DIR", "/nonexistent").output().expect("it runs")
}

fn has_colours(environment: &[(&str, &str)]) -> bool {
    let said = cofferdam(&["doctor"], environment).stdout;
    assert!(!said.is_empty());
    said.contains(&0x1b)
}

#[test]
fn colours_are_for_terminals_and_for_who_asks_and_never_for_who_wants_none() {
    assert!(!has_colours(&[]), "a pipe is no terminal");
    assert!(has_colours(&[("CLICOLOR_FORCE", "1")]));
    assert!(!has_colours(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
}

#[test]
fn exit_codes_are_those_of_the_manual() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["completions", "bash"], 0),
        (&["man", "/dev/null/pages"], 1),
        (&["maps"], 2),
        (&["events", "--kind", "flows"], 2),
        (&["status"], 4),
        (&["map", "--json"], 4),
    ] {
        let output = cofferdam(arguments, &[]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert_eq!(said.is_empty(), code == 0, "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("backtrace"), "{arguments:?}: {said}");
    }
}
