//! Names that mean harm, of real containers and cgroups, read by real readers: promtool, graphviz, a shell.

use std::{
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use cofferdam::event::{EventKind, is_hostile};
use cofferdam_tests::{
    Daemon, Options, cgroup_root,
    command::{run, wait_for},
    prometheus::lint,
};

use crate::{alone, docker};

/// Escapes, direction marks, quotes, and what is no text. The kernel refuses newlines in names of cgroups, and Docker
/// all of it in names of containers.
const UNIT: &[u8] = b"evil\x1b[2J\"\\}\xe2\x80\xae\xff\t.service";
const LABEL: &str = "k\u{1b}]0;x\u{7}\n\u{202e}=\"}\n# HELP evil\n\u{9b}31m";
const ARGUMENT: &[u8] = b"\x1b[2J\n{\"kind\":\"lost\"}\xff\xe2\x80\xae";

/// A cgroup that is gone when dropped.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(name: &[u8]) -> anyhow::Result<Self> {
        let parent = cgroup_root()?.join(format!("cofferdam-hostile-{}.slice", std::process::id()));
        let path = parent.join(OsStr::from_bytes(name));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

#[test]
fn names_that_mean_harm_stay_names_for_every_reader() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let daemon = Daemon::start(&docker)?;
    let events = daemon.events()?;
    let web = docker.container("web", &Options::new().with(&["--label", LABEL]))?;
    let cgroup = Cgroup::make(UNIT)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let mut client = within(&cgroup.0, listener.local_addr()?.port()).spawn()?;
    // Closed at once, which ends the client.
    wait_for("the evil unit to connect", Duration::from_secs(10), || listener.accept().ok())?;
    ensure!(client.wait()?.success(), "the evil unit failed");

    let exec = events.wait_for("the program in the evil unit", |event| match &event.kind {
        EventKind::ProcessExec(exec) => exec.workload.name.starts_with("evil") && exec.args.len() > 3,
        _ => false,
    })?;
    let EventKind::ProcessExec(exec) = exec.kind else { unreachable!("it was asked for") };
    assert_eq!(exec.workload.name, "evil\\u{1b}[2J\"\\}\\u{202e}\u{fffd}\\t.service");
    assert!(exec.args.iter().any(|argument| argument.contains(r#"\u{1b}[2J\n{"kind":"lost"}"#)), "{exec:?}");
    wait_for("the edge and the label", Duration::from_secs(10), || {
        let known = daemon.containers().ok()?.to_string();
        let edge = daemon.map().ok()?.into_iter().any(|edge| edge.source.name.starts_with("evil"));
        (edge && known.contains(r"k\\u{1b}]0;x\\u{7}\\n\\u{202e}")).then_some(())
    })?;

    for question in
        [&["map"][..], &["map", "--json"], &["map", "--dot"], &["ps"], &["ps", "--json"], &["status"]]
    {
        plain(&daemon.ask(question)?).with_context(|| format!("{question:?}"))?;
    }
    plain(&daemon.log()).context("the log")?;
    let page = daemon.metrics()?;
    plain(&page).context("the metrics")?;
    assert_eq!(lint(&node, &page)?, "", "promtool has something to say");
    let graph = node.directory().join("map.dot");
    fs::write(&graph, daemon.ask(&["map", "--dot"])?)?;
    let drawn = run(Command::new("dot").arg("-Tplain").arg(&graph))?;
    ensure!(drawn.contains("evil") && drawn.lines().any(|line| line.starts_with("edge ")), "{drawn}");
    drop(web);
    Ok(())
}

/// A program with an evil argument that connects to `port` from within the cgroup.
fn within(cgroup: &Path, port: u16) -> Command {
    let script =
        r#"echo $$ > "$1/cgroup.procs" && exec busybox sh -c 'exec busybox nc 127.0.0.1 "$0"' "$2" "$3""#;
    let mut command = Command::new("timeout");
    command
        .args(["20", "sh", "-c", script, "sh"])
        .arg(cgroup)
        .arg(port.to_string())
        .arg(OsStr::from_bytes(ARGUMENT));
    command.stdin(Stdio::null());
    command
}

fn plain(text: &str) -> anyhow::Result<()> {
    let hostile = |character: char| character != '\n' && is_hostile(character);
    ensure!(!text.contains(hostile), "{:?}", text.lines().find(|line| line.contains(hostile)));
    Ok(())
}
