//! Kernels, as Debian ships them for clouds.

use std::{
    collections::HashMap,
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{setup, shell};

/// A line of kernels that the tests run under.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub(crate) enum Kernel {
    /// Debian 12's.
    #[value(name = "6.1")]
    V6_1,
    /// Debian 12's newer one, and Debian 13's.
    #[value(name = "6.12")]
    V6_12,
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
        })
    }
}

impl Kernel {
    pub(crate) const ALL: [Self; 2] = [Self::V6_1, Self::V6_12];
}

/// A kernel and its modules, unpacked.
pub(super) struct Image {
    pub(super) vmlinuz: PathBuf,
    modules: PathBuf,
}

impl Image {
    /// Fetches the newest kernel of that line, unless one was fetched before (`target/kernels/<version>`: remove it
    /// to get a newer one).
    pub(super) fn fetch(kernel: Kernel) -> Result<Self> {
        let directory = shell::target().join("kernels").join(kernel.to_string());
        if let Some(image) = Self::open(&directory) {
            return Ok(image);
        }
        super::fresh(&directory)?;
        let package = download(kernel, &directory)?;
        shell::run(Command::new("dpkg").arg("--extract").arg(&package).arg(&directory))?;
        fs::remove_file(&package)?;
        let modules = only_entry(&directory.join("lib/modules"))?;
        // Newer kernels come with compressed modules, which busybox cannot load.
        let mut decompress = Command::new("find");
        decompress.arg(&modules).args(["-name", "*.ko.xz", "-exec", "xz", "--decompress", "{}", "+"]);
        shell::run(&mut decompress)?;
        let release = modules.file_name().context("the kernel's modules have no version")?;
        // Last: its result says that all that went before is complete.
        shell::run(Command::new("busybox").args(["depmod", "-b"]).arg(&directory).arg(release))?;
        Self::open(&directory).with_context(|| format!("{} does not look like a kernel", package.display()))
    }

    fn open(directory: &Path) -> Option<Self> {
        let modules = only_entry(&directory.join("lib/modules")).ok()?;
        let release = modules.file_name()?.to_str()?;
        let vmlinuz = directory.join("boot").join(format!("vmlinuz-{release}"));
        (vmlinuz.is_file() && modules.join("modules.dep").is_file()).then_some(Self { vmlinuz, modules })
    }

    /// The files of these modules and of those they need, in the order in which they load. What is built in, or not
    /// known to this kernel, is left out.
    pub(super) fn modules(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        let text = fs::read_to_string(self.modules.join("modules.dep"))?;
        Ok(in_order(&text, wanted).into_iter().map(|path| self.modules.join(path)).collect())
    }
}

/// Reads depmod's table: `path: what it needs, the deepest last`.
fn in_order<'a>(table: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let name = |path: &'a str| path.rsplit('/').next().and_then(|file| file.strip_suffix(".ko"));
    let lines = table.lines().filter_map(|line| line.split_once(':'));
    let known: HashMap<_, _> = lines.filter_map(|(path, needs)| Some((name(path)?, (path, needs)))).collect();
    let mut order = Vec::new();
    for (path, needs) in wanted.iter().filter_map(|module| known.get(module)) {
        let chain = needs.split_whitespace().rev().chain([*path]);
        for module in chain {
            if !order.contains(&module) {
                order.push(module);
            }
        }
    }
    order
}

/// Old kernels leave the mirror: the name is looked up, and looked up again in fresh lists when it is gone.
fn download(kernel: Kernel, directory: &Path) -> Result<PathBuf> {
    if shell::which("apt-get").is_none() {
        bail!("kernels for the virtual machines come from Debian's mirror, and there is no apt-get here");
    }
    for attempt in 0..2 {
        if attempt == 1 {
            setup::update_lists()?;
        }
        let prefix = format!("linux-image-{kernel}.");
        let names = shell::output(Command::new("apt-cache").args(["pkgnames", &prefix]))?;
        let Some(newest) = newest(&names) else { continue };
        shell::step(&format!("fetching {newest}"));
        if let Err(error) =
            shell::output(Command::new("apt-get").args(["download", "-qq", newest]).current_dir(directory))
        {
            shell::step(&format!("{error:#}"));
            continue;
        }
        return only_entry(directory);
    }
    bail!("no kernel {kernel} for clouds in the package lists")
}

/// The newest of the kernels for clouds, by the numbers in its name.
fn newest(names: &str) -> Option<&str> {
    let numbers = |name: &str| -> Vec<u32> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|number| number.parse().ok()).collect()
    };
    names.lines().filter(|name| name.ends_with("-cloud-amd64")).max_by_key(|name| numbers(name))
}

fn only_entry(directory: &Path) -> Result<PathBuf> {
    let mut entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let entry = entries.next().with_context(|| format!("{} is empty", directory.display()))??;
    Ok(entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_newest_by_number_and_not_by_letter() {
        let names = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64\n\
                     linux-image-6.1.0-60-amd64\nlinux-image-6.1.0-57-cloud-amd64-unsigned\n\
                     linux-image-6.1.0-55-cloud-amd64";
        assert_eq!(newest(names), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest(""), None);
    }

    #[test]
    fn modules_load_after_what_they_need_and_once() {
        let table = "net/bridge.ko: net/stp.ko net/llc.ko\nnet/stp.ko: net/llc.ko\nnet/llc.ko:\n\
                     net/br_netfilter.ko: net/bridge.ko net/stp.ko net/llc.ko\nnet/veth.ko:\n";
        let order = in_order(table, &["veth", "br_netfilter", "bridge", "built_in"]);
        assert_eq!(
            order,
            ["net/veth.ko", "net/llc.ko", "net/stp.ko", "net/bridge.ko", "net/br_netfilter.ko"]
        );
    }
}
