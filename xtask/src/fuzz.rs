//! The fuzz targets of `fuzz/`, for a short while each: what parses and decodes, against inputs made up by libFuzzer.
//!
//! The coverage that libFuzzer steers by comes from flags that any stable compiler takes, so neither a nightly nor
//! cargo-fuzz is needed. `cargo fuzz run TARGET` works on the same directory where it is installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{parallel, shell, tally::Tally};

/// How long each target runs when nobody says.
pub(crate) const SECONDS: u32 = 20;

/// From so many seconds on an optimised build, which takes some ten minutes more, makes up for it.
const WORTH_OPTIMISING: u32 = 300;

/// Counters and comparisons that libFuzzer reads, and no more: the daemon has no unsafe code to sanitize.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares";

/// The most memory a target may have, in MiB, and when an input counts as never ending, in seconds: not before, since a
/// machine that is busy is slow.
const LIMITS: [&str; 2] = ["-rss_limit_mb=1024", "-timeout=120"];

/// Builds the targets and runs each of them, or only those that are named.
pub(crate) fn run(only: &[String], seconds: u32) -> Result<Tally> {
    let all = targets()?;
    for name in only {
        ensure!(all.contains(name), "there is no fuzz target {name}; there are {}", all.join(", "));
    }
    let programs = build(seconds >= WORTH_OPTIMISING)?;
    let is_chosen = |name: &String| only.is_empty() || only.contains(name);
    parallel::sum(all.into_iter().filter(is_chosen).collect(), |name| target(&programs, &name, seconds))
}

/// The targets, by name.
fn targets() -> Result<Vec<String>> {
    let sources = fs::read_dir(directory().join("fuzz_targets"))?;
    let mut names = Vec::new();
    for source in sources {
        let path = source?.path();
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

/// Builds all targets; where they are.
fn build(optimised: bool) -> Result<PathBuf> {
    let (profile, place) = if optimised { ("release", "release") } else { ("dev", "debug") };
    let version = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let target = shell::target().join("fuzz");
    // With a target of its own, build scripts and macros are compiled without these flags.
    let mut cargo = shell::cargo();
    cargo.args(["build", "--profile", profile, "--bins", "--target", host, "--manifest-path"]);
    cargo.arg(directory().join("Cargo.toml")).arg("--target-dir").arg(&target);
    shell::run(cargo.env("RUSTFLAGS", FLAGS).env("AYA_BUILD_SKIP", "1"))?;
    Ok(target.join(host).join(place))
}

/// Runs one target. Inputs that it finds are kept in `target/fuzz/corpus`; ours in `fuzz/corpus` are only read.
fn target(programs: &Path, name: &str, seconds: u32) -> Result<Tally> {
    let target = shell::target().join("fuzz");
    let [found, crashes] = ["corpus", "crashes"].map(|kind| target.join(kind).join(name));
    for directory in [&found, &crashes] {
        fs::create_dir_all(directory)?;
    }
    let mut command = Command::new(programs.join(name));
    command.arg(&found).arg(directory().join("corpus").join(name));
    command.arg(format!("-max_total_time={seconds}")).arg("-print_final_stats=1").args(LIMITS);
    command.arg(format!("-artifact_prefix={}/", crashes.display()));
    // All that libFuzzer says is on standard error, and most of it is progress.
    let output = command.output().with_context(|| format!("cannot run the fuzz target {name}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        println!(
            "{name}: {} inputs in {seconds} s, none failed",
            executions(&said).unwrap_or("an unknown number of")
        );
        return Ok(Tally::PASSED);
    }
    println!("{said}\n{name} failed ({}); the input is in {}", output.status, crashes.display());
    Ok(Tally::FAILED)
}

/// How many inputs libFuzzer tried, as its last lines say.
fn executions(said: &str) -> Option<&str> {
    said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).map(str::trim)
}

fn directory() -> PathBuf {
    shell::root().join("fuzz")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_inputs_is_read_from_the_last_lines() {
        let said =
            "INFO: Seed: 1\n#2 DONE cov: 7\nstat::number_of_executed_units: 12345\nstat::peak_rss_mb: 40\n";
        assert_eq!(executions(said), Some("12345"));
    }

    #[test]
    fn each_target_has_inputs_to_begin_with() {
        for name in targets().unwrap() {
            let inputs = fs::read_dir(directory().join("corpus").join(&name)).unwrap();
            assert!(inputs.count() > 0, "{name}");
        }
    }
}
