//! Paths of cgroups: who lives there, and the life of it.
#![no_main]

use cofferdam::{event::EventKind, sensor::record::Record};
use cofferdam_common::{container::CgroupRecord, ids::CgroupId};
use cofferdam_fuzz::{host, plain, told};
use libfuzzer_sys::fuzz_target;
use zerocopy::FromZeros;

fuzz_target!(|path: &[u8]| {
    let host = host();
    let mut record = CgroupRecord::new_zeroed();
    let length = path.len().min(record.path.len());
    record.subject = CgroupId(7);
    record.path[..length].copy_from_slice(&path[..length]);
    record.path_length = length as u32;
    let made = told(&host, &Record::CgroupMade(Box::new(record)));
    let EventKind::Cgroup(cgroup) = made.kind else { panic!("{made:?} is of another kind") };
    assert_eq!(host.workload(CgroupId(7)), cgroup.workload);
    let containers = host.containers();
    assert!(containers.len() <= 1, "{containers:?}");
    for container in containers {
        plain(&container.workload.name);
    }
    let _ = told(&host, &Record::CgroupRemoved(Box::new(record)));
    assert!(host.containers().is_empty());
});
