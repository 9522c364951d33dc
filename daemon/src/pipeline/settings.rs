//! The configuration as the stages take it.

use crate::{
    attribution::runtime::{Sockets, oci::Roots},
    baseline::anomaly::Settings,
    config::{self, Config, Room},
    sensor::{
        budgets::{Allowance, Allowances},
        policy::PolicySize,
    },
};

/// Where runtimes listen, and where they keep what they write down.
pub(super) fn runtimes(config: &Config) -> (Sockets, Roots) {
    let runtimes = &config.runtimes;
    let sockets = Sockets {
        docker: runtimes.docker.path().to_owned(),
        podman: runtimes.podman.path().to_owned(),
        containerd: runtimes.containerd.path().to_owned(),
        ..Sockets::default()
    };
    let roots = Roots {
        docker: runtimes.docker_root.path().to_owned(),
        storage: runtimes.storage_root.path().to_owned(),
        ..Roots::default()
    };
    (sockets, roots)
}

/// What each cgroup may send.
pub(super) fn allowances(config: &Config) -> Allowances {
    let limits = &config.limits;
    let ordinary =
        Allowance { per_second: limits.records_per_second.get(), burst: limits.record_burst.get() };
    Allowances { ordinary, ..Allowances::default() }
}

/// What is called unusual.
pub(super) fn anomalies(config: &config::Anomalies) -> Settings {
    let config::Anomalies { enabled, learn_hours, deploy_hours, fan_out, forget_days, resolve_minutes } =
        config;
    Settings {
        enabled: *enabled,
        learn_hours: learn_hours.get(),
        deploy_hours: deploy_hours.get(),
        fan_out: fan_out.get(),
        forget_days: forget_days.get(),
        resolve_minutes: resolve_minutes.get(),
    }
}

/// For how much of the policies the kernel has room.
pub(super) fn policy_size(room: &Room) -> PolicySize {
    let Room { identities, pairs, intervals, networks, names, cgroups, addresses } = room;
    PolicySize {
        identities: identities.get(),
        pairs: pairs.get(),
        intervals: intervals.get(),
        networks: networks.get(),
        names: names.get(),
        cgroups: cgroups.get(),
        addresses: addresses.get(),
    }
}
