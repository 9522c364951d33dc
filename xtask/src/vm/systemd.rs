//! dist/cofferdam.service under a real systemd: Debian's, as the first process of a virtual machine.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    Machine, Time,
    image::{Image, Kernel},
    initramfs::Tree,
};
use crate::{artifacts::Artifacts, shell, tally::Tally};

const CHECK: &str = include_str!("../../vm/systemd/check.sh");
const CHECK_RUNTIMES: &str = include_str!("../../vm/systemd/runtimes.sh");
const CHECK_UNIT: &str = include_str!("../../vm/systemd/check.service");

/// Above this exposure `systemd-analyze security` refuses the unit (its scale times ten).
const THRESHOLD: &str = "50";

const SUITE: &str = "bookworm";
/// The second line: machines, and sessions of users who have a Podman of their own.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,\
    systemd-container,libpam-systemd,dbus-user-session,podman,crun,uidmap";

/// Longest that the machine may run; it takes three minutes.
const LIMIT: Duration = Duration::from_secs(15 * 60);

/// Analyses the unit here and runs it in a machine, with this daemon or the one built here.
pub(crate) fn run(daemon: Option<&Path>) -> Result<Tally> {
    let mut tally = analyse();
    let daemon = match daemon {
        Some(path) => path.canonicalize().with_context(|| format!("no daemon {}", path.display()))?,
        None => Artifacts::build()?.binary("cofferdam")?,
    };
    tally += in_machine(&daemon)?;
    println!("{tally}");
    Ok(tally)
}

/// Whether the unit is hardened well enough, by systemd's own measure.
pub(crate) fn analyse() -> Tally {
    let mut command = Command::new("systemd-analyze");
    command
        .args(["security", "--offline=true", "--no-pager"])
        .arg(format!("--threshold={THRESHOLD}"))
        .arg(unit());
    match shell::output(&mut command) {
        Ok(text) => {
            println!("{}", text.lines().last().unwrap_or_default());
            Tally::PASSED
        }
        Err(error) => {
            println!("{error:#}");
            Tally::FAILED
        }
    }
}

/// Boots Debian with the daemon and the unit in it; a unit of ours checks them.
pub(crate) fn in_machine(daemon: &Path) -> Result<Tally> {
    let image = Image::fetch(Kernel::V6_12)?;
    let system = system()?;
    let ours = ours(daemon, &image)?;
    let initramfs = super::directory()?.join("systemd.cpio");
    concatenate(&[&system, &ours], &initramfs)?;
    shell::step("running the unit under systemd");
    let machine = Machine {
        name: "systemd".to_owned(),
        kernel: image.vmlinuz,
        initramfs,
        memory_mib: 3072,
        parameters: "rdinit=/sbin/init systemd.show_status=false systemd.firstboot=off \
                     systemd.mask=serial-getty@ttyS0.service systemd.mask=getty@tty1.service"
            .to_owned(),
        limit: LIMIT,
        time: Time::Real,
    };
    machine.run()
}

fn unit() -> PathBuf {
    shell::root().join("dist/cofferdam.service")
}

/// A minimal Debian as an archive. Made once for these packages; remove it to get newer ones.
fn system() -> Result<PathBuf> {
    let directory = super::directory()?;
    let archive = directory.join(format!("{SUITE}.cpio"));
    let list = archive.with_extension("packages");
    if archive.is_file() && fs::read_to_string(&list).is_ok_and(|list| list == PACKAGES) {
        return Ok(archive);
    }
    shell::step(&format!("making a minimal {SUITE}"));
    let tree = Tree::empty(directory.join(SUITE))?;
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=minbase", "--format=directory"]).arg(format!("--include={PACKAGES}"));
    for unneeded in ["/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*"] {
        command.arg(format!("--dpkgopt=path-exclude={unneeded}"));
    }
    shell::run(command.arg(SUITE).arg(tree.path()))?;
    // Renamed when complete: what was interrupted is made anew.
    let partial = archive.with_extension("partial");
    tree.pack(&partial)?;
    fs::rename(&partial, &archive)?;
    fs::write(&list, PACKAGES)?;
    fs::remove_dir_all(tree.path())?;
    Ok(archive)
}

/// What comes on top of Debian.
fn ours(daemon: &Path, image: &Image) -> Result<PathBuf> {
    const UNITS: &str = "usr/lib/systemd/system";
    const WANTED: &str = "etc/systemd/system/multi-user.target.wants";
    let directory = super::directory()?;
    let tree = Tree::merged(directory.join("systemd.tree"))?;
    tree.program(daemon, "usr/bin/cofferdam")?;
    tree.tool("bpftool")?;
    // To load the modules: a minimal Debian cannot.
    tree.tool("busybox")?;
    tree.modules(image)?;
    tree.write(&format!("{UNITS}/cofferdam.service"), fs::read(unit())?, 0o644)?;
    tree.link(&format!("{WANTED}/cofferdam.service"), "/usr/lib/systemd/system/cofferdam.service")?;
    let config = shell::root().join("dist/config.yaml");
    tree.write("etc/cofferdam/config.yaml", fs::read(&config)?, 0o644)?;
    tree.write(&format!("{UNITS}/check.service"), CHECK_UNIT, 0o644)?;
    tree.link(&format!("{WANTED}/check.service"), "/usr/lib/systemd/system/check.service")?;
    tree.write("usr/lib/check.sh", CHECK, 0o755)?;
    tree.write("usr/lib/check-runtimes.sh", CHECK_RUNTIMES, 0o644)?;
    let heard = shell::root().join("dist/podman.socket.d/cofferdam.conf");
    tree.write("usr/share/cofferdam/podman.socket.conf", fs::read(heard)?, 0o644)?;
    // With an identity of its own the machine does not take this for its first boot.
    tree.write("etc/machine-id", "c0ffe4da000000000000000000000001\n", 0o444)?;
    let archive = directory.join("systemd-ours.cpio");
    tree.pack(&archive)?;
    Ok(archive)
}

/// The kernel unpacks archives one after the other, each over what is there.
fn concatenate(archives: &[&Path], to: &Path) -> Result<()> {
    let mut file = fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    for archive in archives {
        io::copy(&mut fs::File::open(archive)?, &mut file)?;
    }
    Ok(())
}
