//! Builds the kernel programs for the BPF target and leaves the object where the daemon embeds it.
//!
//! `AYA_BUILD_SKIP=1` leaves them out: unit and replay tests need no BPF toolchain then.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, anyhow, bail};
use aya_build::{Package, Toolchain};

/// Made by `cargo xtask setup` out of the distribution's packages.
const DISTRIBUTION: &str = "cofferdam-bpf";

fn main() -> anyhow::Result<()> {
    let object = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?).join("cofferdam-ebpf");
    fs::write(&object, [])?;
    say("rerun-if-changed=../common/src");
    say("rerun-if-env-changed=COFFERDAM_BPF_TOOLCHAIN");
    say(&format!("rustc-env=COFFERDAM_RUSTC={}", rustc_version()?));
    say("rerun-if-env-changed=AYA_BUILD_SKIP");
    if env::var_os("AYA_BUILD_SKIP").is_some() {
        return Ok(());
    }
    let toolchain = toolchain()?;
    // Debian's compiler is a stable one; only unstable flags of cargo and rustc build `core` for the target.
    // SAFETY: a build script has one thread.
    unsafe { env::set_var("RUSTC_BOOTSTRAP", "1") };
    let package = Package { name: "cofferdam-ebpf", root_dir: "../ebpf", ..Package::default() };
    aya_build::build_ebpf([package], Toolchain::Custom(&toolchain))
}

/// What compiles the daemon, for `cofferdam_build_info`.
fn rustc_version() -> anyhow::Result<String> {
    let rustc = env::var_os("RUSTC").context("RUSTC is not set")?;
    let output = Command::new(rustc).arg("--version").output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split(' ').nth(1).unwrap_or("unknown").trim().to_owned())
}

/// The one that is asked for, else one of rustup's that has the source of `core`, else the distribution's.
fn toolchain() -> anyhow::Result<String> {
    if let Ok(asked) = env::var("COFFERDAM_BPF_TOOLCHAIN") {
        return Ok(asked);
    }
    let output = Command::new("rustup").args(["toolchain", "list", "--quiet"]).output().context(
        "rustup was not found; it is needed to choose a toolchain for the BPF target (https://rustup.rs)",
    )?;
    let list = String::from_utf8(output.stdout)?;
    let installed: Vec<&str> = list.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let nightly = installed.iter().filter(|name| name.starts_with("nightly"));
    if let Some(name) = nightly.copied().find(|name| has_source(name).unwrap_or(false)) {
        return Ok(name.to_owned());
    }
    if installed.contains(&DISTRIBUTION) {
        return Ok(DISTRIBUTION.to_owned());
    }
    bail!("no toolchain can build for the BPF target; run `cargo xtask setup`, or set AYA_BUILD_SKIP=1")
}

/// Whether a toolchain carries the source of the standard library (component rust-src).
fn has_source(toolchain: &str) -> anyhow::Result<bool> {
    let output = Command::new("rustup").args(["run", toolchain, "rustc", "--print", "sysroot"]).output()?;
    if !output.status.success() {
        return Err(anyhow!("rustc of {toolchain} does not answer"));
    }
    let root = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    Ok(root.join("lib/rustlib/src/rust/library/core").is_dir())
}

fn say(line: &str) {
    println!("cargo:{line}");
}
