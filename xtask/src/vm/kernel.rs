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
use crate::{
    artifacts::{self, Artifacts},
    parallel, shell,
    tally::Tally,
};

const INIT: &str = include_str!("../../vm/init.sh");

/// Programs that the kernel tests call, besides what busybox has.
const TOOLS: [&str; 5] = ["ip", "iptables", "ip6tables", "nsenter", "unshare"];

/// What iptables loads for the rules that the tests make.
const EXTENSIONS: [&str; 5] = ["standard", "tcp", "udp", "DNAT", "MASQUERADE"];
const EXTENSIONS_IN: &str = "/usr/lib/x86_64-linux-gnu/xtables";

/// Programs of our own that the kernel tests call: they look for them beside themselves.
const COMPANIONS: [&str; 2] = ["traffic", "outside"];

/// Longest that a machine may run; a native run takes a tenth of that.
const LIMIT: Duration = Duration::from_secs(40 * 60);
/// The same where the tests do all that they can.
const LONG_LIMIT: Duration = Duration::from_secs(60 * 60);

/// What is tried under this machine's kernel and not under others, unless all is: in an emulated machine these take longest,
/// since they flood or need programs of their own, and hang least on which kernel runs them.
const HERE_ONLY: [&str; 6] = [
    "policy::adversary::race::",
    "policy::flood::",
    "policy::scenes::",
    "recording::",
    "robustness::",
    "shedding::",
];

/// And what is tried under another one: the oldest takes longest to verify.
fn elsewhere(kernel: Kernel) -> &'static [&'static str] {
    match kernel {
        Kernel::V6_1 => &[
            "attempts::",
            "dns::",
            "network::",
            "policy::apply::",
            "policy::names::",
            "policy::open::",
            "protocols::",
            "syscall::",
        ],
        Kernel::V6_12 => &[],
    }
}

/// What a machine runs, and what that runs.
pub(crate) struct Payload {
    program: PathBuf,
    companions: Vec<PathBuf>,
    /// Whether tests that find more the longer they run do all that they can; `None` where it is nothing of ours.
    long: Option<bool>,
}

impl Payload {
    /// The kernel tests.
    pub(crate) fn tests(artifacts: &Artifacts, long: bool) -> Result<Self> {
        let companions = COMPANIONS.iter().map(|name| artifacts.binary(name)).collect::<Result<_>>()?;
        Ok(Self { program: artifacts.test("kernel")?.path, companions, long: Some(long) })
    }

    /// What init and the tests find in their environment: the kernel passes on what it does not know itself.
    fn parameters(&self, kernel: Kernel) -> String {
        match self.long {
            Some(true) => "COFFERDAM_LONG=1".to_owned(),
            Some(false) => format!("COFFERDAM_SKIP={}", self.left_out(kernel).join(",")),
            None => String::new(),
        }
    }

    /// Modules of tests that are not tried under this kernel.
    fn left_out(&self, kernel: Kernel) -> Vec<&'static str> {
        if self.long == Some(false) { [&HERE_ONLY[..], elsewhere(kernel)].concat() } else { Vec::new() }
    }

    fn other(path: &Path) -> Result<Self> {
        let program = path.canonicalize().with_context(|| format!("no payload {}", path.display()))?;
        Ok(Self { program, companions: Vec::new(), long: None })
    }
}

/// Builds the kernel tests, or takes another payload, and runs it under each kernel.
pub(crate) fn run(kernels: &[Kernel], payload: Option<&Path>) -> Result<Tally> {
    let payload = match payload {
        Some(path) => Payload::other(path)?,
        None => Payload::tests(&Artifacts::build()?, artifacts::is_long())?,
    };
    let tally = under(kernels, &payload)?;
    println!("{tally}");
    Ok(tally)
}

/// Runs a payload under these kernels, side by side: most of the time each keeps one processor busy.
pub(crate) fn under(kernels: &[Kernel], payload: &Payload) -> Result<Tally> {
    for kernel in kernels {
        let left_out = payload.left_out(*kernel);
        if !left_out.is_empty() {
            println!("{kernel}: left out without --long: {}", left_out.join(" "));
        }
    }
    let machines = kernels.iter().map(|kernel| machine(*kernel, payload)).collect::<Result<Vec<_>>>()?;
    shell::step(&format!("running {}", payload.program.display()));
    parallel::sum(machines, |machine| {
        let tally = machine.run()?;
        // The tests always report; a console that swallowed it must not look like success.
        Ok(tally.ended(tally != Tally::default()))
    })
}

fn machine(kernel: Kernel, payload: &Payload) -> Result<Machine> {
    let image = Image::fetch(kernel)?;
    let initramfs = build(kernel, &image, payload)?;
    Ok(Machine {
        name: kernel.to_string(),
        kernel: image.vmlinuz,
        initramfs,
        memory_mib: 1024,
        parameters: payload.parameters(kernel),
        limit: if payload.long == Some(true) { LONG_LIMIT } else { LIMIT },
        time: Time::Real,
    })
}

fn build(kernel: Kernel, image: &Image, payload: &Payload) -> Result<PathBuf> {
    let directory = super::directory()?;
    let tree = base(directory.join(format!("{kernel}.tree")))?;
    tree.program(&payload.program, "payload")?;
    for companion in &payload.companions {
        tree.program(companion, &companion.file_name().unwrap_or_default().to_string_lossy())?;
    }
    for tool in TOOLS {
        tree.tool(tool)?;
    }
    for extension in EXTENSIONS {
        let path = format!("{EXTENSIONS_IN}/libxt_{extension}.so");
        tree.program(Path::new(&path), &path)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_there() {
        for module in Kernel::ALL.into_iter().flat_map(elsewhere).chain(&HERE_ONLY) {
            let file = format!("tests/kernel/{}.rs", module.trim_end_matches("::").replace("::", "/"));
            assert!(shell::root().join(&file).exists(), "{file}");
        }
    }
}
