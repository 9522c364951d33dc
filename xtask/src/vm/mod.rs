//! Virtual machines: another kernel, everything else from an initramfs, no network, no disk.

pub(crate) mod bench;

pub(crate) mod image;

mod initramfs;

pub(crate) mod kernel;

pub(crate) mod systemd;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::{shell, tally::Tally};

/// What the machine prints when its work is done, followed by the exit code.
const EXIT: &str = "payload exit: ";

/// What precedes the price of a program, which is shown also when all is well.
const PRICE: &str = "instructions: ";

/// A machine that is about to be started.
struct Machine {
    /// Names its log.
    name: String,
    kernel: PathBuf,
    initramfs: PathBuf,
    memory_mib: u32,
    /// Kernel parameters besides the console.
    parameters: String,
    limit: Duration,
    time: Time,
}

/// What the clock of a machine shows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Time {
    /// The time of this machine.
    Real,
    /// A nanosecond for each instruction, on one CPU; nothing that happens outside can be seen in it. When there is
    /// nothing to do, it jumps to the next timer.
    Instructions,
}

impl Machine {
    /// Runs it until it powers off. Its console goes to `target/vm/<name>.log`, and to the terminal when something
    /// failed.
    fn run(&self) -> Result<Tally> {
        self.run_with(|_| ())
    }

    /// [`Machine::run`], with each line of the console for somebody else too.
    fn run_with(&self, mut on_line: impl FnMut(&str)) -> Result<Tally> {
        let path = directory()?.join(format!("{}.log", self.name));
        let mut log = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut console = Vec::new();
        let mut tally = Tally::default();
        let mut exit = None;
        let started = Instant::now();
        let status = shell::stream(&mut self.command(), self.limit, |line| {
            // A log that cannot be written does not make the tests fail.
            let _ = writeln!(log, "{line}");
            on_line(line);
            if let Some(result) = Tally::of_line(line) {
                tally += result;
            }
            if line.contains(PRICE) {
                println!("    {}: {line}", self.name);
            }
            if let Some((_, code)) = line.split_once(EXIT) {
                exit = Some(code.trim().to_owned());
            }
            console.push(line.to_owned());
        })?;
        let well = status.is_some() && exit.as_deref() == Some("0");
        let tally = tally.ended(well);
        let ending = match (status, &exit) {
            (None, _) => format!("killed after {} s", self.limit.as_secs()),
            (_, None) => "ended before its payload did".to_owned(),
            (_, Some(code)) => format!("payload exit: {code}"),
        };
        if tally.failed > 0 {
            // In one piece: others may run beside it.
            println!("    {}", console.join("\n    "));
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("--- {}: {tally}; {ending}; {seconds:.1} s; console in {}", self.name, path.display());
        Ok(tally)
    }

    /// Software emulation: it runs the same everywhere, also where there is no KVM or a broken one.
    fn command(&self) -> Command {
        let mut command = Command::new("qemu-system-x86_64");
        command.args(match self.time {
            Time::Real => ["-accel", "tcg,thread=multi", "-smp", "2"].as_slice(),
            Time::Instructions => {
                &["-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=0,sleep=off"]
            }
        });
        command.args(["-cpu", "max", "-nographic", "-no-reboot"]);
        command.args(["-nic", "none", "-m", &self.memory_mib.to_string()]);
        command.arg("-kernel").arg(&self.kernel).arg("-initrd").arg(&self.initramfs);
        // Unless it is told not to, a kernel that is emulated on a busy host gives up on its timer while it boots.
        let parameters =
            format!("console=ttyS0 quiet loglevel=3 panic=-1 no_timer_check {}", self.parameters);
        command.args(["-append", &parameters]);
        command
    }
}

/// Where images and logs are kept.
fn directory() -> Result<PathBuf> {
    let directory = shell::target().join("vm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(directory)
}

/// Empties a directory, or makes it.
fn fresh(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("cannot empty {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))
}
