//! Docker's socket behaves badly: the daemon is ready all the same, and names are right as soon as they can be had.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use cofferdam_tests::{
    Daemon, Docker, Options, check,
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
        let made = probe.connect(&format!("{}:80", web.address("bridge")?))?;
        let begun = Instant::now();
        socket.behave(Manner::Behaves)?;
        wait_for(&told("names"), Duration::from_secs(30), || {
            let listed = daemon.containers().ok()?.to_string();
            (listed.contains(r#""web""#) && listed.contains(r#""probe""#)).then_some(())
        })?;
        println!("{manner:?}: ready after {ready:.1?}, names {:.1?} after it behaved", begun.elapsed());
        check(&daemon, &["web", "probe"], &[edge("probe", "web", "tcp/80").counted(made)])
            .with_context(|| told("the map"))?;
    }
    Ok(())
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
    Daemon::start_with(docker, &["--docker-socket", &path])
}

/// The most memory that a process ever had, in KiB.
fn peak(pid: u32) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
