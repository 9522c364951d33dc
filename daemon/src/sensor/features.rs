//! What this kernel and this process can do, and what to do where they cannot.

use std::path::{Path, PathBuf};

use procfs::process::{MountInfo, Process};
use serde::{Deserialize, Serialize};

use super::offsets::BTF_PATH;

/// What was found.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Features {
    /// `uname -r`.
    pub kernel: String,
    /// Whether the kernel describes its types in /sys/kernel/btf/vmlinux.
    pub btf: bool,
    /// Active security modules; empty where securityfs is not mounted.
    pub lsms: Vec<String>,
    /// `v2`, `hybrid` (v1 controllers beside a v2 tree) or `v1`.
    pub cgroup_mode: String,
    /// Where the v2 tree is mounted.
    pub cgroup_root: Option<PathBuf>,
    /// Where bpffs is mounted.
    pub bpffs: Option<PathBuf>,
    /// Capabilities that are needed and not there.
    pub missing_capabilities: Vec<String>,
}

/// What `run` cannot do without. The text says what to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Missing {
    /// The kernel does not describe its types.
    #[error(
        "this kernel does not describe its types: /sys/kernel/btf/vmlinux is missing. Boot a kernel built with \
         CONFIG_DEBUG_INFO_BTF=y (Debian 11, Ubuntu 20.10, RHEL 8.2 and later have it)"
    )]
    Btf,
    /// No v2 cgroup tree.
    #[error(
        "no cgroup v2 tree is mounted, without which sockets cannot be told apart by container. Mount it: \
         mount -t cgroup2 none /sys/fs/cgroup/unified"
    )]
    Cgroup2,
    /// No bpffs.
    #[error(
        "no BPF file system is mounted, on which the ledger is pinned. Mount it: mount -t bpf bpf /sys/fs/bpf"
    )]
    Bpffs,
    /// A capability is missing.
    #[error(
        "the process lacks {0}, which loading programs into the kernel needs. Run it as root, with at least what \
         dist/cofferdam.service leaves it: CAP_BPF CAP_PERFMON CAP_NET_ADMIN CAP_SYS_PTRACE CAP_DAC_READ_SEARCH"
    )]
    Capability(&'static str),
}

/// Without these nothing can be loaded.
const NEEDED: [(&str, u32); 3] = [("CAP_BPF", 39), ("CAP_PERFMON", 38), ("CAP_NET_ADMIN", 12)];
/// Without these open connections are not cut, and what runs already and files of runtimes cannot be read.
const WANTED: [(&str, u32); 2] = [("CAP_SYS_PTRACE", 19), ("CAP_DAC_READ_SEARCH", 2)];

/// Looks at the kernel and at this process. What cannot be read counts as absent.
#[must_use]
pub fn detect() -> Features {
    let mounts: Vec<MountInfo> =
        Process::myself().and_then(|me| me.mountinfo()).map(|list| list.0).unwrap_or_default();
    let mounted = |kind: &str| mounts.iter().find(|mount| mount.fs_type == kind);
    let cgroup_root = mounted("cgroup2").map(|mount| mount.mount_point.clone());
    let v1 = mounts.iter().any(|m| m.fs_type == "cgroup" && !m.super_options.contains_key("name"));
    Features {
        kernel: read("/proc/sys/kernel/osrelease"),
        btf: Path::new(BTF_PATH).is_file(),
        lsms: lsms(),
        cgroup_mode: match (&cgroup_root, v1) {
            (Some(_), false) => "v2",
            (Some(_), true) => "hybrid",
            (None, _) => "v1",
        }
        .to_owned(),
        cgroup_root,
        bpffs: mounted("bpf").map(|mount| mount.mount_point.clone()),
        missing_capabilities: missing_capabilities().into_iter().map(str::to_owned).collect(),
    }
}

impl Features {
    /// Whether the sensor can be loaded.
    ///
    /// # Errors
    /// The first thing that is missing.
    pub fn check(&self) -> Result<(), Missing> {
        if let Some(name) =
            NEEDED.iter().map(|(name, _)| *name).find(|n| self.missing_capabilities.iter().any(|m| m == n))
        {
            return Err(Missing::Capability(name));
        }
        if !self.btf {
            return Err(Missing::Btf);
        }
        if self.cgroup_root.is_none() {
            return Err(Missing::Cgroup2);
        }
        if self.bpffs.is_none() {
            return Err(Missing::Bpffs);
        }
        Ok(())
    }
}

/// Active security modules; empty where securityfs is not mounted.
pub(super) fn lsms() -> Vec<String> {
    let modules = read("/sys/kernel/security/lsm");
    modules.split(',').filter(|module| !module.is_empty()).map(str::to_owned).collect()
}

fn missing_capabilities() -> Vec<&'static str> {
    let effective = Process::myself().and_then(|me| me.status()).map_or(0, |status| status.capeff);
    NEEDED
        .iter()
        .chain(&WANTED)
        .filter(|(_, bit)| effective & (1 << bit) == 0)
        .map(|(name, _)| *name)
        .collect()
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> Features {
        Features {
            kernel: "6.12".to_owned(),
            btf: true,
            lsms: Vec::new(),
            cgroup_mode: "v2".to_owned(),
            cgroup_root: Some(PathBuf::from("/sys/fs/cgroup")),
            bpffs: Some(PathBuf::from("/sys/fs/bpf")),
            missing_capabilities: Vec::new(),
        }
    }

    #[test]
    fn a_complete_host_passes() {
        assert_eq!(complete().check(), Ok(()));
    }

    #[test]
    fn what_is_only_wanted_stops_nothing() {
        let missing_capabilities = WANTED.map(|(name, _)| name.to_owned()).to_vec();
        assert_eq!(Features { missing_capabilities, ..complete() }.check(), Ok(()));
    }

    #[test]
    fn each_missing_thing_is_named_with_what_to_do() {
        let no_capability = vec!["CAP_PERFMON".to_owned()];
        let cases = [
            (Features { btf: false, ..complete() }, "CONFIG_DEBUG_INFO_BTF=y"),
            (Features { cgroup_root: None, ..complete() }, "mount -t cgroup2"),
            (Features { bpffs: None, ..complete() }, "mount -t bpf bpf /sys/fs/bpf"),
            (Features { missing_capabilities: no_capability, ..complete() }, "lacks CAP_PERFMON"),
        ];
        for (features, remedy) in cases {
            let error = features.check().unwrap_err().to_string();
            assert!(error.contains(remedy), "{error}");
        }
    }
}
