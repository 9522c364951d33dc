//! The bench in a virtual machine whose clock counts instructions: what it finds there is the same on every machine
//! and in every run.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    Machine, Time,
    image::{Image, Kernel},
    kernel,
};
use crate::shell;

/// The kernel that is counted on: the newer one.
const KERNEL: Kernel = Kernel::V6_12;

/// Loading the programs alone takes thousands of millions of instructions.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What the bench calls, besides what busybox has. Two of them are a peer.
const TOOLS: [&str; 5] = ["ip", "unshare", "nsenter", "auditd", "auditctl"];

/// Peers whose names on PATH may be others'.
const PEERS: [&str; 4] =
    ["/usr/sbin/execsnoop", "/usr/sbin/tcplife", "/usr/sbin/tcpconnect", "/usr/sbin/tcpstates"];

/// What `bench count` prints before its result (`RESULT` in tests/src/load.rs).
const RESULT: &str = "bench result: ";

/// As Debian ships it, for a small disk.
const AUDITD: &str = "log_file = /var/log/audit/audit.log\nlog_format = ENRICHED\nflush = INCREMENTAL_ASYNC\n\
                      freq = 50\nmax_log_file = 8\nmax_log_file_action = ROTATE\nspace_left = 2\n\
                      admin_space_left = 1\n";

/// Runs `bench count` there and writes its result to a file.
pub(crate) fn run(bench: &Path, daemon: &Path, load: &Path, peers: bool, into: &Path) -> Result<()> {
    let image = Image::fetch(KERNEL)?;
    let initramfs = build(&image, bench, daemon, load, peers)?;
    shell::step(&format!("counting instructions under {KERNEL}; some minutes"));
    let machine = Machine {
        name: "bench".to_owned(),
        kernel: image.vmlinuz,
        initramfs,
        memory_mib: 1536,
        parameters: String::new(),
        limit: LIMIT,
        time: Time::Instructions,
    };
    let mut result = None;
    let tally = machine.run_with(|line| match line.split_once(RESULT) {
        Some((_, found)) => result = Some(found.to_owned()),
        None if line.starts_with("bench: ") => println!("    {line}"),
        None => (),
    })?;
    ensure!(tally.failed == 0, "the bench failed in its machine");
    let result = result.context("the machine printed no result")?;
    fs::write(into, result).with_context(|| format!("cannot write {}", into.display()))
}

fn build(image: &Image, bench: &Path, daemon: &Path, load: &Path, peers: bool) -> Result<PathBuf> {
    let directory = super::directory()?;
    let tree = kernel::base(directory.join("bench.tree"))?;
    let mut script =
        "#!/bin/sh\nexec /usr/bin/bench count --daemon /usr/bin/cofferdam --load /usr/bin/bench-load"
            .to_owned();
    if !peers {
        script += " --without-peers";
    }
    tree.write("payload", script, 0o755)?;
    for (program, inside) in
        [(bench, "usr/bin/bench"), (daemon, "usr/bin/cofferdam"), (load, "usr/bin/bench-load")]
    {
        tree.program(program, inside)?;
    }
    for tool in TOOLS {
        tree.tool(tool)?;
    }
    for peer in PEERS {
        tree.program(Path::new(peer), peer)?;
    }
    tree.write("etc/audit/auditd.conf", AUDITD, 0o640)?;
    tree.modules(image)?;
    let archive = directory.join("bench.cpio");
    tree.pack(&archive)?;
    Ok(archive)
}
