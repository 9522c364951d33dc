//! The layers of tests, quickest first, and what came of them.

use std::{
    cell::OnceCell,
    env,
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use clap::ValueEnum;

use crate::{
    artifacts::{self, Artifacts, Pace, TestBinary},
    fuzz,
    setup::{self, Need},
    shell,
    tally::Tally,
    vm::{self, image::Kernel, kernel::Payload},
};

/// A layer of tests.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Layer {
    /// Formatting and clippy
    Lints,
    /// The rules of ARCHITECTURE.md
    Tidy,
    /// Tests beside the code, and replays of recorded events
    Unit,
    /// Hooks under the kernel of this machine
    Kernel,
    /// Real containers
    Containers,
    /// Fuzz targets, for a short while each
    Fuzz,
    /// The kernel tests under other kernels
    Vm,
    /// The unit under a real systemd
    Systemd,
}

impl Layer {
    const ALL: [Self; 8] = [
        Self::Lints,
        Self::Tidy,
        Self::Unit,
        Self::Kernel,
        Self::Containers,
        Self::Fuzz,
        Self::Vm,
        Self::Systemd,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Lints => "lints",
            Self::Tidy => "tidy",
            Self::Unit => "unit",
            Self::Kernel => "kernel",
            Self::Containers => "containers",
            Self::Fuzz => "fuzz",
            Self::Vm => "vm",
            Self::Systemd => "systemd",
        }
    }

    fn needs(self) -> &'static [Need] {
        match self {
            Self::Lints | Self::Tidy | Self::Unit => &[],
            Self::Kernel => &[Need::Build, Need::Networks],
            Self::Containers => &[Need::Build, Need::Containers],
            Self::Fuzz => &[Need::Fuzzing],
            Self::Vm => &[Need::Build, Need::Networks, Need::VirtualMachine],
            Self::Systemd => &[Need::Build, Need::VirtualMachine, Need::Systemd],
        }
    }

    /// What this machine lacks that no set-up can give.
    fn impossible(self) -> Option<&'static str> {
        match self {
            Self::Lints | Self::Tidy | Self::Unit | Self::Fuzz => None,
            _ if !shell::is_root() => Some("only root may load programs into the kernel"),
            Self::Kernel | Self::Containers if !Path::new("/sys/kernel/btf/vmlinux").exists() => {
                Some("this kernel has no BTF")
            }
            Self::Vm | Self::Systemd if env::consts::ARCH != "x86_64" => Some("its kernels are for x86_64"),
            Self::Vm | Self::Systemd if shell::which("apt-get").is_none() => {
                Some("its kernels come from Debian's mirror, and there is no apt-get here")
            }
            _ => None,
        }
    }
}

/// A layer that ran.
struct Outcome {
    layer: Layer,
    tally: Tally,
    time: Duration,
}

/// Runs these layers, or all, and prints what came of each. The last line is the sum. If `long`, tests that find more the
/// longer they run do all that they can.
pub(crate) fn run(only: &[Layer], long: bool) -> Result<ExitCode> {
    let chosen: Vec<_> =
        Layer::ALL.into_iter().filter(|layer| only.is_empty() || only.contains(layer)).collect();
    let possible = || chosen.iter().filter(|layer| layer.impossible().is_none());
    let needs: Vec<_> = possible().flat_map(|layer| layer.needs()).copied().collect();
    setup::ensure(&needs)?;
    let run = Run {
        artifacts: OnceCell::new(),
        with_kernel_programs: !needs.is_empty() || setup::can_build(),
        long: long || artifacts::is_long(),
    };
    let mut outcomes = Vec::new();
    for layer in chosen {
        shell::step(layer.name());
        let started = Instant::now();
        let tally = match layer.impossible() {
            Some(reason) => {
                println!("skipped: {reason}");
                Tally::SKIPPED
            }
            None => run.layer(layer).unwrap_or_else(|error| {
                println!("error: {error:#}");
                Tally::FAILED
            }),
        };
        outcomes.push(Outcome { layer, tally, time: started.elapsed() });
    }
    Ok(report(&outcomes))
}

/// A skipped test is a failure where nobody reads the output.
fn report(outcomes: &[Outcome]) -> ExitCode {
    let mut sum = Tally::default();
    println!("\n{:<12}{:>9}{:>9}{:>9}{:>9}", "layer", "seconds", "passed", "failed", "skipped");
    for Outcome { layer, tally, time } in outcomes {
        let seconds = time.as_secs_f64();
        let Tally { passed, failed, skipped } = tally;
        println!("{:<12}{seconds:>9.1}{passed:>9}{failed:>9}{skipped:>9}", layer.name());
        sum += *tally;
    }
    let strict = env::var_os("CI").is_some_and(|value| value == "true");
    if strict && sum.skipped > 0 {
        println!("CI=true: what is skipped has failed");
    }
    println!("{sum}");
    if strict && sum.skipped > 0 { ExitCode::FAILURE } else { sum.exit() }
}

struct Run {
    /// Built when the first layer needs it.
    artifacts: OnceCell<Result<Artifacts, String>>,
    with_kernel_programs: bool,
    /// Whether tests that find more the longer they run do all that they can.
    long: bool,
}

impl Run {
    fn layer(&self, layer: Layer) -> Result<Tally> {
        match layer {
            Layer::Lints => Ok(lints()),
            Layer::Tidy => self.together(self.artifacts()?.tidy_tests()),
            Layer::Unit => {
                let artifacts = self.artifacts()?;
                self.together(artifacts.unit_tests().chain([artifacts.test("replay")?]))
            }
            Layer::Kernel => self.artifacts()?.test("kernel")?.run(Pace::OneByOne, self.long),
            Layer::Containers => self.artifacts()?.test("containers")?.run(Pace::OneByOne, self.long),
            Layer::Fuzz => fuzz::run(&[], fuzz::SECONDS),
            Layer::Vm => vm::kernel::under(&Kernel::ALL, &Payload::tests(self.artifacts()?, self.long)?),
            Layer::Systemd => {
                let mut tally = vm::systemd::analyse();
                tally += vm::systemd::in_machine(&self.artifacts()?.binary("cofferdam")?)?;
                Ok(tally)
            }
        }
    }

    /// Runs binaries whose tests do not get in each other's way.
    fn together(&self, binaries: impl Iterator<Item = TestBinary>) -> Result<Tally> {
        let mut tally = Tally::default();
        for binary in binaries {
            tally += binary.run(Pace::Together, self.long)?;
        }
        Ok(tally)
    }

    fn artifacts(&self) -> Result<&Artifacts> {
        let build = || {
            shell::step("building");
            Artifacts::build_with(self.cargo()).map_err(|error| format!("{error:#}"))
        };
        self.artifacts.get_or_init(build).as_ref().map_err(|error| anyhow!("{error}"))
    }

    /// Cargo, told to leave the kernel programs out where there is no toolchain for them and no layer needs them.
    fn cargo(&self) -> std::process::Command {
        let mut cargo = shell::cargo();
        if !self.with_kernel_programs {
            cargo.env("AYA_BUILD_SKIP", "1");
        }
        cargo
    }
}

fn lints() -> Tally {
    let mut tally = Tally::default();
    let fmt: &[&str] = &["fmt", "--all", "--check"];
    for arguments in [fmt, &["clippy", "--quiet", "--all-targets", "--", "--deny", "warnings"]] {
        // Clippy keeps a build of its own; without this it would compile the kernel programs a second time.
        tally += match shell::run(shell::cargo().env("AYA_BUILD_SKIP", "1").args(arguments)) {
            Ok(()) => Tally::PASSED,
            Err(error) => {
                println!("{error:#}");
                Tally::FAILED
            }
        };
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_layer_fails_the_run() {
        let outcome = |tally| Outcome { layer: Layer::Unit, tally, time: Duration::ZERO };
        assert_eq!(report(&[outcome(Tally::PASSED)]), ExitCode::SUCCESS);
        assert_eq!(report(&[outcome(Tally::PASSED), outcome(Tally::FAILED)]), ExitCode::FAILURE);
    }

    #[test]
    fn what_needs_no_kernel_needs_no_set_up() {
        for layer in [Layer::Lints, Layer::Tidy, Layer::Unit] {
            assert!(layer.needs().is_empty() && layer.impossible().is_none(), "{layer:?}");
        }
    }
}
