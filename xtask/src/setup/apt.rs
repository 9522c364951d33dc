//! Packages of Debian and its kin.

use std::{cell::Cell, process::Command};

use anyhow::{Result, ensure};

use crate::shell;

/// Services that come with our packages and that apt starts where nothing forbids it.
const SERVICES: [&str; 7] = [
    "docker.socket",
    "docker",
    "containerd",
    "podman.socket",
    "prometheus",
    "prometheus-alertmanager",
    "auditd",
];

/// Installs packages; updates the lists once, and only if something is to be installed.
#[derive(Default)]
pub(crate) struct Apt {
    updated: Cell<bool>,
}

impl Apt {
    /// Installs the packages. Services that were not running before do not run afterwards.
    pub(crate) fn install(&self, packages: &[&str]) -> Result<()> {
        let mut packages = packages.to_vec();
        packages.sort_unstable();
        packages.dedup();
        ensure!(
            shell::which("apt-get").is_some(),
            "missing {}, and there is no apt-get here",
            packages.join(", ")
        );
        ensure!(shell::is_root(), "missing {}, and only root can install", packages.join(", "));
        self.update()?;
        shell::step(&format!("installing {}", packages.join(" ")));
        let running: Vec<_> = SERVICES.into_iter().filter(|service| is_running(service)).collect();
        let mut install = apt_get();
        install.args(["install", "--yes", "-qq", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]);
        shell::output(install.args(&packages))?;
        for service in SERVICES.iter().filter(|service| !running.contains(service)) {
            if is_running(service) {
                shell::step(&format!("stopping {service}, which the installation started"));
                shell::run(Command::new("service").args([service, "stop"]))?;
            }
        }
        Ok(())
    }

    /// Updates the lists, the first time it is called.
    pub(crate) fn update(&self) -> Result<()> {
        if !self.updated.replace(true) {
            shell::step("updating the lists of packages");
            shell::output(apt_get().args(["update", "-qq"]))?;
        }
        Ok(())
    }
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn is_running(service: &str) -> bool {
    shell::succeeds(Command::new("service").args([service, "status"]))
}
