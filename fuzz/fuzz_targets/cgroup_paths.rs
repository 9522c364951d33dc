//! Paths of cgroups: who lives there, and the life of it.
#![no_main]

use cofferdam::{event::EventKind, sensor::record::Record};
use cofferdam_common::ids::CgroupId;
use cofferdam_fuzz::{cgroup, host, plain, told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    let host = host();
    let record = cgroup(CgroupId(7), path);
    let made = told(&host, &Record::CgroupMade(record.clone()));
    let EventKind::Cgroup(told_of) = made.kind else { panic!("{made:?} is of another kind") };
    assert_eq!(host.workload(CgroupId(7)), told_of.workload);
    let containers = host.containers();
    assert!(containers.len() <= 1, "{containers:?}");
    for container in containers {
        plain(&container.workload.name);
    }
    let _ = told(&host, &Record::CgroupRemoved(record));
    assert!(host.containers().is_empty());
});
