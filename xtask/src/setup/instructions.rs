//! What to type where set-up may not install.

use std::fmt::Write as _;

use super::{Need, TOOLS, bpf};

/// What Fedora calls Debian's packages, where the names differ.
const FEDORA: [(&str, &str); 8] = [
    ("docker.io", "moby-engine"),
    ("busybox-static", "busybox"),
    ("qemu-system-x86", "qemu-system-x86-core"),
    ("libcap2-bin", "libcap"),
    ("iproute2", "iproute"),
    ("xz-utils", "xz"),
    ("prometheus", "golang-github-prometheus"),
    ("prometheus-alertmanager", "golang-github-prometheus-alertmanager"),
];

/// The commands for `needs`, for each kind of system.
pub(super) fn of(needs: &[Need]) -> String {
    let mut packages: Vec<_> =
        TOOLS.iter().filter(|tool| needs.contains(&tool.needed_for)).map(|tool| tool.package).collect();
    packages.sort_unstable();
    packages.dedup();
    let fedora: Vec<_> = packages.iter().map(|package| on_fedora(package)).collect();
    let build = needs.contains(&Need::Build);

    let mut text = String::new();
    if build {
        text += "If there is no rustup yet:  curl -sSf https://sh.rustup.rs | sh\n\n";
    }
    text += "Debian, Ubuntu:\n  sudo apt-get update\n";
    if build {
        packages.extend(bpf::PACKAGES);
    }
    let _ = writeln!(text, "  sudo apt-get install --no-install-recommends {}", packages.join(" "));
    if build {
        text += "  rustup toolchain link cofferdam-bpf /usr\n  LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker \
                 --version 0.13.0 --no-default-features --features llvm-22\n";
        text += "  (where rustc-web is not to be had: \"any system with rustup\" below)\n";
    }
    if !fedora.is_empty() {
        let _ = writeln!(text, "\nFedora:\n  sudo dnf install {}", fedora.join(" "));
    }
    if build {
        text += "\nAny system with rustup:\n  rustup toolchain install nightly --component rust-src\n  \
                 cargo install bpf-linker\n";
    }
    text
}

fn on_fedora(package: &str) -> &str {
    FEDORA.iter().find(|(debian, _)| *debian == package).map_or(package, |(_, fedora)| fedora)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_build_can_be_set_up_by_hand_on_each_kind_of_system() {
        let text = of(&[Need::Build]);
        for expected in [
            "protobuf-compiler",
            "rustc-web cargo-web rust-web-src",
            "toolchain link cofferdam-bpf /usr",
            "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0",
            "toolchain install nightly --component rust-src",
        ] {
            assert!(text.contains(expected), "{expected} is not in:\n{text}");
        }
    }

    #[test]
    fn fedora_is_told_its_own_names() {
        let text = of(&[Need::Containers]);
        let (_, fedora) = text.split_once("dnf install ").unwrap();
        for expected in ["moby-engine", "golang-github-prometheus", " iproute ", " libcap "] {
            assert!(fedora.contains(expected), "{expected} is not in:\n{fedora}");
        }
    }
}
