//! The toolchain for the kernel programs: a Rust compiler with the sources of `core`, and bpf-linker.
//!
//! `daemon/build.rs` uses the rustup toolchain `cofferdam-bpf`, or nightly where that has the sources. Whatever is
//! found here is linked under the first name.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::semver::Version;

use super::apt::Apt;
use crate::shell;

/// The name under which the build finds it.
const NAME: &str = "cofferdam-bpf";

/// The compiler of the kernel programs must speak the workspace's edition and honour its `rust-version`.
const OLDEST: &str = env!("CARGO_PKG_RUST_VERSION");

const LINKER: &str = "0.13.0";

/// Debian's own: a compiler newer than its stable one, with the sources, and the LLVM that bpf-linker needs.
pub(crate) const PACKAGES: [&str; 8] = [
    "rustc-web",
    "cargo-web",
    "rust-web-src",
    "libstd-rust-web-dev-bpf",
    "llvm-22-dev",
    "libpolly-22-dev",
    "zlib1g-dev",
    "libzstd-dev",
];

/// What was found.
pub(crate) struct Found {
    name: String,
    sysroot: PathBuf,
    rustc: String,
}

/// Finds the toolchain or installs Debian's.
pub(crate) fn ensure(apt: &Apt) -> Result<String> {
    ensure!(shell::which("rustup").is_some(), "rustup is missing");
    if found().is_none() {
        install(apt)?;
    }
    let found = found().context("the toolchain was installed, and still is not found")?;
    if found.name != NAME && !found.name.starts_with("nightly") {
        link(&found.sysroot)?;
    }
    Ok(format!("toolchain {} (rustc {}, {}), bpf-linker", found.name, found.rustc, found.sysroot.display()))
}

/// The first toolchain that will do, if there is a bpf-linker for it.
pub(crate) fn found() -> Option<Found> {
    if !has_linker() {
        return None;
    }
    let listed = shell::output(Command::new("rustup").args(["toolchain", "list", "--quiet"])).ok()?;
    let mut names: Vec<&str> = listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    // The order in which `daemon/build.rs` looks; others come last, as they have yet to be linked.
    names.sort_by_key(|name| (!name.starts_with("nightly"), *name != NAME));
    names.into_iter().find_map(examine)
}

fn examine(name: &str) -> Option<Found> {
    let rustc =
        |argument| shell::output(Command::new("rustup").args(["run", name, "rustc"]).args(argument)).ok();
    let sysroot = PathBuf::from(rustc(["--print", "sysroot"].as_slice())?.trim());
    let version = rustc(["--version"].as_slice())?;
    let version = version.split_whitespace().nth(1)?.to_owned();
    let oldest = Version::parse(&format!("{OLDEST}.0")).ok()?;
    let new_enough = Version::parse(&version).ok().is_some_and(|version| version >= oldest);
    let sources = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml").is_file();
    let cargo = sysroot.join("bin/cargo").is_file();
    (new_enough && sources && cargo).then(|| Found { name: name.to_owned(), sysroot, rustc: version })
}

/// Runs it: a linker whose LLVM is gone is of no use.
fn has_linker() -> bool {
    shell::succeeds(Command::new("bpf-linker").arg("--version"))
}

fn install(apt: &Apt) -> Result<()> {
    let missing: Vec<_> = PACKAGES.into_iter().filter(|package| !is_installed(package)).collect();
    if !missing.is_empty() {
        apt.install(&missing)?;
    }
    link(Path::new("/usr"))?;
    if !has_linker() {
        shell::step(&format!("installing bpf-linker {LINKER} (about a minute)"));
        let mut install = shell::cargo();
        install.env("LLVM_PREFIX", "/usr/lib/llvm-22").args(["install", "--quiet", "--force", "bpf-linker"]);
        install.args(["--version", LINKER, "--no-default-features", "--features", "llvm-22"]);
        shell::run(&mut install)?;
        ensure!(has_linker(), "bpf-linker is installed but not on PATH: add ~/.cargo/bin to it");
    }
    Ok(())
}

fn is_installed(package: &str) -> bool {
    shell::output(Command::new("dpkg-query").args(["--show", "--showformat=${Status}", package]))
        .is_ok_and(|status| status == "install ok installed")
}

fn link(sysroot: &Path) -> Result<()> {
    shell::step(&format!("linking {} as toolchain {NAME}", sysroot.display()));
    shell::output(Command::new("rustup").args(["toolchain", "link", NAME]).arg(sysroot)).map(drop)
}
