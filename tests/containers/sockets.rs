//! A runtime's socket behaves badly: the daemon is ready all the same, and names are right as soon as they can be had.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use cofferdam_tests::{
    Containerd, Daemon, Docker, Options, check,
    command::wait_for,
    edge,
    socket::{Manner, Socket},
};

use crate::{alone, docker};

/// What the daemon may have held in memory while a socket sent a gigabyte: an answer that is read whole, and the
/// kernel's types at its start.
const MEMORY_LIMIT_KIB: u64 = 256 * 1024;

#[test]
fn names_come_right_after_each_way_in_which_a_socket_can_misbehave() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let web = docker.container("web", &Options::new().tcp("80"))?;
    let probe = docker.container("probe", &Options::new())?;
    for manner in Manner::BAD {
        let mut socket = Socket::new(node.directory().join("bad.sock"), docker.socket().to_owned());
        socket.behave(manner)?;
        let told = |text: &str| format!("{manner:?}: {text}");
        let begun = Instant::now();
        let daemon = start(&docker, &socket).with_context(|| told("not ready"))?;
        let ready = begun.elapsed();
        let runtimes = daemon.status()?["runtimes"].to_string();
        ensure!(
            manner.answers() || !runtimes.contains(r#""state":"connected""#),
            told(&format!("ready only once it was heard: {runtimes}"))
        );
        let made = probe.connect(&format!("{}:80", web.address("bridge")?))?;
        let begun = Instant::now();
        socket.behave(Manner::Behaves)?;
        wait_for(&told("names"), Duration::from_secs(30), || {
            listed(&daemon, r#""web""#).and(listed(&daemon, r#""probe""#))
        })?;
        println!("{manner:?}: ready after {ready:.1?}, names {:.1?} after it behaved", begun.elapsed());
        check(&daemon, &["web", "probe"], &[edge("probe", "web", "tcp/80").counted(made)])
            .with_context(|| told("the map"))?;
    }
    Ok(())
}

#[test]
fn containerds_containers_have_their_labels_after_each_way_in_which_its_socket_can_misbehave()
-> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let mut containerd = Containerd::start(&node)?;
    let serve = ["traffic", "serve", "--tcp", "127.0.0.1:8080"];
    containerd.container("default", "web", &[], &serve)?;
    // Given later, so that it is on no disk where we look.
    containerd.label("default", "web", "tier=front")?;
    let other = docker.container("other", &Options::new())?;
    for manner in Manner::BAD {
        let bad = node.directory().join("bad.sock");
        let mut socket = Socket::of_containerd(bad, containerd.socket().to_owned());
        socket.behave(manner)?;
        let told = |text: &str| format!("{manner:?}: {text}");
        let begun = Instant::now();
        let path = socket.path().display().to_string();
        let daemon = Daemon::start_with(&docker, &["--containerd-socket", &path])
            .with_context(|| told("not ready"))?;
        let ready = begun.elapsed();
        // Its name is on disk; Docker is heard as ever.
        containerd.once("blink", &["traffic", "connect", "127.0.0.1:8080"])?;
        wait_for(&told("Docker's name"), Duration::from_secs(30), || listed(&daemon, r#""other""#))?;
        // Long enough for a few answers.
        if matches!(manner, Manner::SendsAGigabyte | Manner::FloodsEvents) {
            thread::sleep(Duration::from_secs(5));
        }
        let peak = peak(daemon.pid())?;
        let begun = Instant::now();
        socket.behave(Manner::Behaves)?;
        wait_for(&told("labels"), Duration::from_secs(30), || listed(&daemon, r#""tier":"front""#))
            .with_context(|| format!("{:?}", daemon.status()))?;
        println!(
            "containerd {manner:?}: ready after {ready:.1?}, labels {:.1?} after it behaved, at most {peak} KiB",
            begun.elapsed()
        );
        check(&daemon, &["web", "blink", "other"], &[edge("blink", "web", "tcp/8080").flows(1)])
            .with_context(|| told("the map"))?;
        ensure!(peak < MEMORY_LIMIT_KIB, told(&format!("{peak} KiB in memory")));
    }
    drop(other);
    Ok(())
}

/// Whether the containers, as JSON without spaces, have this text.
fn listed(daemon: &Daemon, text: &str) -> Option<()> {
    daemon.containers().ok()?.to_string().contains(text).then_some(())
}

#[test]
fn a_gigabyte_is_not_kept_and_is_said_in_the_status() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    for (manner, reason) in
        [(Manner::SendsAGigabyte, "a longer answer"), (Manner::FloodsEvents, "an event of more than")]
    {
        let mut socket = Socket::new(node.directory().join("bad.sock"), docker.socket().to_owned());
        socket.behave(manner)?;
        let daemon = start(&docker, &socket)?;
        wait_for("the reason", Duration::from_secs(30), || {
            daemon.status().ok()?.to_string().contains(reason).then_some(())
        })
        .with_context(|| format!("{manner:?}: {:?}", daemon.status()))?;
        let peak = peak(daemon.pid())?;
        println!("{manner:?}: at most {peak} KiB in memory");
        ensure!(peak < MEMORY_LIMIT_KIB, "{manner:?}: {peak} KiB in memory");
    }
    Ok(())
}

fn start(docker: &Docker, socket: &Socket) -> anyhow::Result<Daemon> {
    let path = socket.path().display().to_string();
    // Names are on disk as well; here they shall come from the socket alone.
    Daemon::start_with(docker, &["--docker-socket", &path, "--docker-root", "/nonexistent"])
}

/// The most memory that a process ever had, in KiB.
fn peak(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
