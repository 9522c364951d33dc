//! Family process: fork, exec, exit.

use std::process::{Command, Stdio};

use cofferdam::sensor::record::Record;
use cofferdam_common::{ids::Tgid, process::ARGS_LIMIT};

use crate::node::Node;

/// The argument that makes this test binary do next to nothing: no test bears this name.
const NOTHING: &str = "no-test-bears-this-name";

/// A program that is there on every machine: this one.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a path"));
    command.args(arguments).stdout(Stdio::null());
    command
}

#[test]
fn a_program_that_runs_is_a_fork_an_exec_with_its_arguments_and_an_exit_in_its_cgroup() {
    let mut node = Node::start();
    let cgroup = node.cgroup();
    let mut child = cgroup.enter(|| program(&[NOTHING, "--quiet"]).spawn().expect("it runs"));
    let tgid = Tgid(child.id());
    assert!(child.wait().expect("it ends").success());

    let fork = node.record(|record| match record {
        Record::Fork(fork) if fork.tgid == tgid => Some(*fork),
        _ => None,
    });
    assert_eq!((fork.parent, fork.header.cgroup), (Tgid(std::process::id()), cgroup.id));
    let exec = node.record(|record| match record {
        Record::Exec(exec) if exec.tgid == tgid => Some(exec.clone()),
        _ => None,
    });
    let path = &exec.path[..usize::from(exec.path_length)];
    let program = std::env::current_exe().expect("a path");
    let whole = program.as_os_str().as_encoded_bytes();
    assert_eq!(path, &whole[..whole.len().min(path.len())]);
    let args = [whole, NOTHING.as_bytes(), b"--quiet", b""].join(&0);
    assert_eq!(exec.args_total as usize, args.len());
    assert_eq!(exec.args[..usize::from(exec.args_length)], args[..args.len().min(ARGS_LIMIT)]);
    assert_eq!((exec.parent, exec.uid, exec.start_time), (Tgid(std::process::id()), 0, fork.start_time));
    let exit = node.record(|record| match record {
        Record::Exit(exit) if exit.tgid == tgid => Some(*exit),
        _ => None,
    });
    assert_eq!((exit.status, exit.start_time), (0, fork.start_time));
}

#[test]
fn a_long_argument_vector_is_cut_and_says_so() {
    let mut node = Node::start();
    let long = "x".repeat(10_000);
    let mut child = program(&[NOTHING, "--skip", &long]).spawn().expect("it runs");
    let tgid = Tgid(child.id());
    child.wait().expect("it ends");
    let exec = node.record(|record| match record {
        Record::Exec(exec) if exec.tgid == tgid => Some(exec.clone()),
        _ => None,
    });
    assert_eq!(usize::from(exec.args_length), ARGS_LIMIT);
    assert!(exec.args_total > 10_000);
}

#[test]
fn a_thread_is_no_process() {
    let mut node = Node::start();
    let me = Tgid(std::process::id());
    std::thread::spawn(|| {}).join().expect("it ends");
    let mut child = program(&[NOTHING]).spawn().expect("it runs");
    let tgid = Tgid(child.id());
    child.wait().expect("it ends");
    node.record(|record| matches!(record, Record::Exit(exit) if exit.tgid == tgid).then_some(()));
    let records = node.drain();
    assert!(!records.iter().any(|record| matches!(record, Record::Fork(fork) if fork.tgid == me)));
    assert!(!records.iter().any(|record| matches!(record, Record::Exit(exit) if exit.tgid == me)));
}
