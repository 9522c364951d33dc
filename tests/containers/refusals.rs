//! Where the daemon cannot work, it says so in one sentence and ends.

use std::process::Command;

use anyhow::ensure;
use cofferdam_tests::{Daemon, Node, built, refusal};

use crate::{alone, docker};

/// `cofferdam run` on a node, after a script has changed something for it alone.
fn run_after(node: &Node, change: &str) -> anyhow::Result<Command> {
    let mut command = node.command("unshare");
    let script = format!(
        "{change} exec {} run --run-dir {}",
        built("cofferdam")?.display(),
        node.directory().display()
    );
    command.args(["--mount", "--propagation", "private", "sh", "-ec", &script]).env("NO_COLOR", "1");
    Ok(command)
}

/// Ends with an error, and with one short text that contains all of `words` and no trace of an internal error.
fn assert_one_sentence(mut command: Command, words: &[&str]) -> anyhow::Result<()> {
    let (code, said) = refusal(&mut command)?;
    println!("exit {code:?}: {said}");
    ensure!(code.is_some_and(|code| code != 0 && code != 124), "it ended with {code:?}: {said}");
    ensure!(said.lines().count() <= 3, "more than a sentence and what to do:\n{said}");
    ensure!(!said.contains("panicked") && !said.contains("Caused by"), "not for people:\n{said}");
    let lower = said.to_lowercase();
    for word in words {
        ensure!(lower.contains(&word.to_lowercase()), "nothing of {word:?} in:\n{said}");
    }
    Ok(())
}

#[test]
fn a_second_daemon_refuses_to_start() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let first = Daemon::start(&docker)?;
    let mut second = node.command(built("cofferdam")?);
    second.arg("run").arg("--run-dir").arg(first.run_directory()).args(["--listen", "127.0.0.1:9798"]);
    assert_one_sentence(second, &["already"])?;
    first.page("/readyz")?;
    first.map()?;
    Ok(())
}

#[test]
fn a_daemon_takes_over_the_directory_of_a_killed_one() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let second = Daemon::start(&docker)?.killed_and_started_again(&docker)?;
    second.map()?;
    Ok(())
}

#[test]
fn without_btf_it_says_so() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Node::start()?;
    let hide = "mount -t tmpfs tmpfs /sys/kernel/btf;";
    assert_one_sentence(run_after(&node, hide)?, &["BTF"])
}

#[test]
fn without_cgroup2_it_says_so() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Node::start()?;
    let hide = "awk '$3 == \"cgroup2\" {print $2}' /proc/self/mounts | xargs -n 1 umount -l;";
    assert_one_sentence(run_after(&node, hide)?, &["cgroup2"])
}

#[test]
fn without_bpffs_it_says_so() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Node::start()?;
    let hide = "awk '$3 == \"bpf\" {print $2}' /proc/self/mounts | xargs -n 1 umount -l;";
    assert_one_sentence(run_after(&node, hide)?, &["BPF file system", "mount -t bpf"])
}

#[test]
fn without_a_capability_it_names_it() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Node::start()?;
    for (drop, named) in [("-bpf,-sys_admin", "CAP_BPF"), ("-net_admin,-sys_admin", "CAP_NET_ADMIN")] {
        let mut command = node.command("setpriv");
        command
            .arg(format!("--bounding-set={drop}"))
            .arg(format!("--inh-caps={drop}"))
            .arg(built("cofferdam")?);
        command.arg("run").arg("--run-dir").arg(node.directory()).env("NO_COLOR", "1");
        assert_one_sentence(command, &[named])?;
    }
    Ok(())
}

#[test]
fn an_ordinary_user_is_told_to_be_root() -> anyhow::Result<()> {
    let _turn = alone()?;
    let node = Node::start()?;
    let mut command = node.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(built("cofferdam")?);
    command.arg("run").arg("--run-dir").arg(node.directory()).env("NO_COLOR", "1");
    assert_one_sentence(command, &["root"])
}
