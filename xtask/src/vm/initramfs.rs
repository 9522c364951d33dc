//! A tree of files becomes an initramfs.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::image::Image;
use crate::shell;

/// Modules for networks of the tests' own. The netfilter ones are there for translated addresses.
const MODULES: [&str; 17] = [
    "sctp",
    "veth",
    "bridge",
    "br_netfilter",
    "overlay",
    "sch_ingress",
    "cls_bpf",
    "cls_u32",
    "act_mirred",
    "tun",
    "vxlan",
    "nft_chain_nat",
    "nft_compat",
    "xt_nat",
    "xt_MASQUERADE",
    "xt_conntrack",
    "xt_tcpudp",
];

/// A directory that is filled and then packed.
pub(super) struct Tree(PathBuf);

impl Tree {
    /// An empty one at `path`.
    pub(super) fn empty(path: PathBuf) -> Result<Self> {
        super::fresh(&path)?;
        Ok(Self(path))
    }

    /// One whose `/bin`, `/sbin` and `/lib` lead into `/usr`, as in Debian: unpacked over a Debian it must not put
    /// directories there.
    pub(super) fn merged(path: PathBuf) -> Result<Self> {
        let tree = Self::empty(path)?;
        for name in ["bin", "sbin", "lib", "lib64"] {
            let target = format!("usr/{name}");
            fs::create_dir_all(tree.0.join(&target))?;
            tree.link(name, &target)?;
        }
        Ok(tree)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file.
    pub(super) fn write(&self, inside: &str, text: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let path = self.place(Path::new(inside))?;
        fs::write(&path, text)?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
    }

    /// Makes a symbolic link.
    pub(super) fn link(&self, inside: &str, target: &str) -> Result<()> {
        Ok(symlink(target, self.place(Path::new(inside))?)?)
    }

    /// Copies a program without its debug information, and the shared libraries it needs to where it expects them.
    pub(super) fn program(&self, from: &Path, inside: &str) -> Result<()> {
        let to = self.place(Path::new(inside))?;
        if !shell::succeeds(Command::new("strip").arg("--strip-debug").arg("-o").arg(&to).arg(from)) {
            // A script.
            fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        for library in libraries(from)? {
            let to = self.place(&library)?;
            if !to.exists() {
                fs::copy(&library, &to).with_context(|| format!("cannot copy {}", library.display()))?;
            }
        }
        Ok(())
    }

    /// Copies a tool of this machine to the place that it has here.
    pub(super) fn tool(&self, name: &str) -> Result<()> {
        let path = shell::which(name).with_context(|| format!("{name} is not installed here"))?;
        self.program(&path, &path.to_string_lossy())
    }

    /// Copies the kernel's modules to `/modules`, named so that their order is the order to load them in.
    pub(super) fn modules(&self, image: &Image) -> Result<()> {
        for (number, module) in image.modules(&MODULES)?.iter().enumerate() {
            let name = module.file_name().unwrap_or_default().to_string_lossy();
            let to = self.place(&Path::new("modules").join(format!("{number:02}-{name}")))?;
            fs::copy(module, to)?;
        }
        Ok(())
    }

    /// Packs it. Not compressed: unpacking would cost an emulated machine more than reading.
    pub(super) fn pack(&self, archive: &Path) -> Result<()> {
        let mut find = Command::new("find")
            .arg(".")
            .arg("-print0")
            .current_dir(&self.0)
            .stdout(Stdio::piped())
            .spawn()?;
        let list = find.stdout.take().context("the list of files was not piped")?;
        let mut cpio = Command::new("cpio");
        cpio.args(["--create", "--format=newc", "--null", "--quiet", "--owner=+0:+0"]).current_dir(&self.0);
        shell::run(cpio.stdin(list).stdout(fs::File::create(archive)?))?;
        ensure!(find.wait()?.success(), "cannot list {}", self.0.display());
        Ok(())
    }

    fn place(&self, inside: &Path) -> Result<PathBuf> {
        let path = self.0.join(inside.strip_prefix("/").unwrap_or(inside));
        let parent = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        Ok(path)
    }
}

/// What ldd finds; nothing for a static program or a script.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(missing) = text.lines().find(|line| line.contains("not found")) {
        anyhow::bail!("{} cannot run here either: {}", program.display(), missing.trim());
    }
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_brings_the_loader_and_the_c_library() {
        let found = libraries(&std::env::current_exe().unwrap()).unwrap();
        let has = |name: &str| found.iter().any(|path| path.to_string_lossy().contains(name));
        assert!(has("/ld-linux") && has("/libc.so"), "{found:?}");
    }
}
