//! The kernel tests as the payload of a virtual machine.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    Machine, Time,
    image::{Image, Kernel},
    initramfs::Tree,
};
use crate::{artifacts::Artifacts, parallel, shell, tally::Tally};

const INIT: &str = include_str!("../../vm/init.sh");

/// Programs that the kernel tests call, besides what busybox has.
const TOOLS: [&str; 1] = ["ip"];

/// Longest that a machine may run; a native run takes a tenth of that.
const LIMIT: Duration = Duration::from_secs(25 * 60);

/// Builds the kernel tests, or takes another payload, and runs it under each kernel.
pub(crate) fn run(kernels: &[Kernel], payload: Option<&Path>) -> Result<Tally> {
    let payload = match payload {
        Some(path) => path.canonicalize().with_context(|| format!("no payload {}", path.display()))?,
        None => Artifacts::build()?.test("kernel")?.path,
    };
    let tally = under(kernels, &payload)?;
    println!("{tally}");
    Ok(tally)
}

/// Runs a payload under these kernels, side by side: most of the time each keeps one processor busy.
pub(crate) fn under(kernels: &[Kernel], payload: &Path) -> Result<Tally> {
    let machines = kernels.iter().map(|kernel| machine(*kernel, payload)).collect::<Result<Vec<_>>>()?;
    shell::step(&format!("running {}", payload.display()));
    parallel::sum(machines, |machine| {
        let tally = machine.run()?;
        // The tests always report; a console that swallowed it must not look like success.
        Ok(tally.ended(tally != Tally::default()))
    })
}

fn machine(kernel: Kernel, payload: &Path) -> Result<Machine> {
    let image = Image::fetch(kernel)?;
    let initramfs = build(kernel, &image, payload)?;
    Ok(Machine {
        name: kernel.to_string(),
        kernel: image.vmlinuz,
        initramfs,
        memory_mib: 1024,
        parameters: "",
        limit: LIMIT,
        time: Time::Real,
    })
}

fn build(kernel: Kernel, image: &Image, payload: &Path) -> Result<PathBuf> {
    let directory = super::directory()?;
    let tree = base(directory.join(format!("{kernel}.tree")))?;
    tree.program(payload, "payload")?;
    for tool in TOOLS {
        tree.tool(tool)?;
    }
    tree.modules(image)?;
    let archive = directory.join(format!("{kernel}.cpio"));
    tree.pack(&archive)?;
    Ok(archive)
}

/// What every machine without a Debian needs to run `/payload`.
pub(super) fn base(path: PathBuf) -> Result<Tree> {
    let tree = Tree::merged(path)?;
    let busybox = shell::which("busybox").context("busybox is not installed here")?;
    tree.program(&busybox, "bin/busybox")?;
    tree.link("bin/sh", "busybox")?;
    tree.write("init", INIT, 0o755)?;
    Ok(tree)
}
