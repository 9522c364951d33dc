//! What runs in no container: a service, a scope and a slice as systemd makes them, a machine of nspawn, and a cgroup
//! that is nobody's.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use cofferdam::event::{Runtime, WorkloadKind};
use cofferdam_tests::{Node, Unit, built};

use super::cast::Cast;

pub(super) fn set(node: &Arc<Node>) -> Result<Cast> {
    let traffic = built("traffic")?;
    let traffic = traffic.to_str().context("a path of letters")?;
    let (slice, jobs) = (node.slice(), format!("{}/jobs", node.cgroup()));
    let mut cast = Cast::default();
    for (name, path, serves) in [
        ("billing", format!("{slice}/billing.service"), "--tcp 7000"),
        ("backup", format!("{slice}/backup.scope"), ""),
        ("batch", format!("{slice}/batch.slice"), ""),
        ("build", format!("{slice}/machine.slice/systemd-nspawn@build.service"), ""),
        ("jobs", jobs.clone(), ""),
    ] {
        let mut unit = Unit::make(node, &path)?;
        if !serves.is_empty() {
            unit.serve(serves)?;
        }
        cast.actor(name, &[traffic, "connect"], move |words| unit.run(words));
    }
    for name in ["billing.service", "backup.scope", "batch.slice"] {
        cast.show(WorkloadKind::Unit, name);
    }
    cast.show_container("build", Runtime::Systemd, "build", None);
    cast.show(WorkloadKind::Cgroup, &jobs);
    cast.place("jobs", jobs);
    Ok(cast)
}
