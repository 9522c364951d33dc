//! `cofferdam config` as an operator types it.

use std::{fs, process::Command};

use cofferdam_tests::{built, command::output};

/// Exit code, stdout and stderr of `cofferdam` with these arguments and variables.
fn cofferdam(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(built("cofferdam").expect("the daemon is built"));
    command.args(arguments).env_remove("COFFERDAM_CONFIG").envs(variables.iter().copied());
    let output = output(&mut command).expect("it runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn an_option_goes_before_a_variable_before_the_file_before_the_default() {
    let path = std::env::temp_dir().join(format!("cofferdam-test-{}.yaml", std::process::id()));
    fs::write(&path, "limits: {flows: 2000, ledger_rows: 2000, flow_ring_bytes: 8192}\n").expect("a file");
    let file = path.to_str().expect("UTF-8");
    let variables =
        [("COFFERDAM_CONFIG", file), ("COFFERDAM_FLOWS", "3000"), ("COFFERDAM_LEDGER_ROWS", "3000")];
    let (code, shown, _) = cofferdam(&["config", "show", "--flows=4000"], &variables);
    fs::remove_file(&path).expect("the file is there");
    assert_eq!(code, Some(0));
    for line in [
        "  flow_ring_bytes: 8192                          # FILE",
        "  flows: 4000                                    # --flows",
        "  ledger_rows: 3000                              # COFFERDAM_LEDGER_ROWS",
        "  record_ring_bytes: 1048576                     # default",
    ] {
        assert!(shown.contains(&(line.replace("FILE", file) + "\n")), "no {line:?} in\n{shown}");
    }
}

#[test]
fn a_broken_file_is_exit_code_3_with_the_place_for_check_show_and_run() {
    let path = std::env::temp_dir().join(format!("cofferdam-test-{}-broken.yaml", std::process::id()));
    fs::write(&path, "listen: \"\u{1b}[2J\u{202e}\"\n").expect("a file");
    let file = path.to_str().expect("UTF-8");
    let all = [["config", "check"].as_slice(), &["config", "show"], &["run"]];
    let said = all.map(|command| cofferdam(&[command, &["--config", file]].concat(), &[]));
    fs::remove_file(&path).expect("the file is there");
    for (code, out, error) in said {
        assert_eq!((code, out.as_str()), (Some(3), ""), "{error}");
        assert!(error.contains(&format!("--> {file}:1:")), "{error}");
        assert!(!error.contains(['\u{1b}', '\u{202e}']), "{error:?}");
    }
}

#[test]
fn a_file_that_is_fine_or_absent_is_said_to_be() {
    let (code, out, _) = cofferdam(&["config", "check", "/nonexistent.yaml"], &[]);
    assert_eq!((code, out.as_str()), (Some(3), ""));
    let (_, shipped, _) = cofferdam(&["config", "show", "--default"], &[]);
    let path = std::env::temp_dir().join(format!("cofferdam-test-{}-fine.yaml", std::process::id()));
    fs::write(&path, shipped).expect("a file");
    let (code, out, _) = cofferdam(&["config", "check", path.to_str().expect("UTF-8")], &[]);
    fs::remove_file(&path).expect("the file is there");
    assert_eq!((code, out), (Some(0), format!("{} is fine\n", path.display())));
}
