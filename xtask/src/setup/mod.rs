//! Finds what the build and the tests need, and installs what is missing. Quick when nothing is.

mod apt;

mod bpf;

mod instructions;

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::shell;

/// What something is needed for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Need {
    /// Compiling the daemon and the kernel programs.
    Build,
    /// Networks that the kernel tests make.
    Networks,
    /// Tests and demo with real containers, and a real Prometheus.
    Containers,
    /// Building libFuzzer.
    Fuzzing,
    /// Tests under other kernels.
    VirtualMachine,
    /// The unit under a real systemd.
    Systemd,
    /// Tools that the bench measures beside Cofferdam.
    Peers,
}

impl Need {
    const ALL: [Self; 7] = [
        Self::Build,
        Self::Networks,
        Self::Containers,
        Self::Fuzzing,
        Self::VirtualMachine,
        Self::Systemd,
        Self::Peers,
    ];

    /// What building and testing need.
    pub(crate) const OF_TESTS: [Self; 6] =
        [Self::Build, Self::Networks, Self::Containers, Self::Fuzzing, Self::VirtualMachine, Self::Systemd];

    fn purpose(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Networks => "networks of tests",
            Self::Containers => "container tests",
            Self::Fuzzing => "fuzz targets",
            Self::VirtualMachine => "virtual machines",
            Self::Systemd => "systemd test",
            Self::Peers => "peers of the bench",
        }
    }
}

/// A program, and the package of Debian that has it. Found by the program, so that what came from elsewhere
/// (Docker's own packages, say) counts too.
struct Tool {
    program: &'static str,
    package: &'static str,
    needed_for: Need,
}

const fn tool(program: &'static str, package: &'static str, needed_for: Need) -> Tool {
    Tool { program, package, needed_for }
}

const TOOLS: &[Tool] = &[
    // Compiles the messages of containerd's API.
    tool("protoc", "protobuf-compiler", Need::Build),
    tool("ip", "iproute2", Need::Networks),
    tool("iptables", "iptables", Need::Networks),
    tool("nsenter", "util-linux", Need::Networks),
    tool("dockerd", "docker.io", Need::Containers),
    tool("docker", "docker.io", Need::Containers),
    tool("containerd", "containerd", Need::Containers),
    tool("ctr", "containerd", Need::Containers),
    tool("podman", "podman", Need::Containers),
    // Networks of pods. No program of it is on PATH.
    tool("/usr/lib/cni/bridge", "containernetworking-plugins", Need::Containers),
    tool("crun", "crun", Need::Containers),
    tool("iptables", "iptables", Need::Containers),
    tool("busybox", "busybox-static", Need::Containers),
    tool("ip", "iproute2", Need::Containers),
    tool("setpriv", "util-linux", Need::Containers),
    tool("setcap", "libcap2-bin", Need::Containers),
    tool("dnsmasq", "dnsmasq-base", Need::Containers),
    tool("prometheus", "prometheus", Need::Containers),
    tool("promtool", "prometheus", Need::Containers),
    tool("prometheus-alertmanager", "prometheus-alertmanager", Need::Containers),
    tool("amtool", "prometheus-alertmanager", Need::Containers),
    tool("openssl", "openssl", Need::Containers),
    tool("dot", "graphviz", Need::Containers),
    tool("c++", "g++", Need::Fuzzing),
    tool("qemu-system-x86_64", "qemu-system-x86", Need::VirtualMachine),
    tool("busybox", "busybox-static", Need::VirtualMachine),
    tool("cpio", "cpio", Need::VirtualMachine),
    tool("ip", "iproute2", Need::VirtualMachine),
    tool("xz", "xz-utils", Need::VirtualMachine),
    tool("mmdebstrap", "mmdebstrap", Need::Systemd),
    tool("bpftool", "bpftool", Need::Containers),
    tool("bpftool", "bpftool", Need::Systemd),
    tool("systemd-analyze", "systemd", Need::Systemd),
    tool("auditd", "auditd", Need::Peers),
    tool("auditctl", "auditd", Need::Peers),
    tool("bpftrace", "bpftrace", Need::Peers),
    tool("execsnoop.bt", "bpftrace", Need::Peers),
    tool("tcpstates", "libbpf-tools", Need::Peers),
];

/// Makes sure that everything for `needs` is there.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let apt = apt::Apt::default();
    let mut unmet = Vec::new();
    for need in Need::ALL.into_iter().filter(|need| needs.contains(need)) {
        let met = tools(need, &apt).and_then(|found| match need {
            Need::Build => Ok(format!("{found}; {}", bpf::ensure(&apt)?)),
            _ => Ok(found),
        });
        match met {
            Ok(found) => shell::step(&format!("{}: {found}", need.purpose())),
            Err(error) => {
                shell::step(&format!("{}: {error:#}", need.purpose()));
                unmet.push(need);
            }
        }
    }
    if unmet.is_empty() {
        return Ok(());
    }
    bail!("set-up is not complete. Run this, then try again:\n\n{}", instructions::of(&unmet));
}

/// Whether the kernel programs can be compiled; nothing is installed.
pub(crate) fn can_build() -> bool {
    bpf::found().is_some()
}

/// Updates the lists of packages: a kernel that they name may have left the mirror.
pub(crate) fn update_lists() -> Result<()> {
    apt::Apt::default().update()
}

fn tools(need: Need, apt: &apt::Apt) -> Result<String> {
    let tools = || TOOLS.iter().filter(move |tool| tool.needed_for == need);
    let missing = || tools().filter(|tool| !present(tool)).map(|tool| tool.package);
    let packages: Vec<_> = missing().collect();
    if !packages.is_empty() {
        apt.install(&packages)?;
        if let Some(package) = missing().next() {
            bail!("{package} is installed, yet its program is not found");
        }
    }
    let mut names: Vec<_> = tools().map(|tool| tool.program).collect();
    names.dedup();
    Ok(format!("found {}", names.join(", ")))
}

fn present(tool: &Tool) -> bool {
    shell::which(tool.program).is_some_and(|path| tool.package != "busybox-static" || is_static(&path))
}

/// A container or virtual machine of the tests has no libraries: only the static busybox runs there.
fn is_static(program: &Path) -> bool {
    !shell::succeeds(Command::new("ldd").arg(program))
}
