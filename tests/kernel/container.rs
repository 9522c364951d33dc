//! Family container: the life of a cgroup.

use cofferdam::sensor::record::Record;
use cofferdam_common::{container::CgroupRecord, ids::Tgid};

use crate::node::Node;

fn path(record: &CgroupRecord) -> String {
    String::from_utf8_lossy(&record.path[..record.path_length as usize]).into_owned()
}

#[test]
fn a_cgroup_is_reported_when_it_is_made_joined_and_removed() {
    let mut node = Node::start();
    let cgroup = node.cgroup();
    let (id, name) = (cgroup.id, cgroup.name());
    cgroup.enter(|| {});
    drop(cgroup);

    let made = node.record(|record| match record {
        Record::CgroupMade(made) if made.subject == id => Some(path(made)),
        _ => None,
    });
    assert_eq!(made, name);
    let joined = node.record(|record| match record {
        Record::CgroupAttached(attached) if attached.subject == id => Some(attached.tgid),
        _ => None,
    });
    assert_eq!(joined, Tgid(std::process::id()));
    let removed = node.record(|record| match record {
        Record::CgroupRemoved(removed) if removed.subject == id => Some(path(removed)),
        _ => None,
    });
    assert_eq!(removed, name);
}
