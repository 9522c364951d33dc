//! What all targets promise: whatever came in, what goes out is sound.

use std::{collections::HashSet, path::PathBuf};

use cofferdam::{
    attribution::{Attribution, ContainerFacts, Source},
    event::{Event, is_hostile},
    sensor::{clock::Clock, record::Record},
};
use cofferdam_common::{container::CgroupRecord, ids::CgroupId};
use jiff::Timestamp;
use zerocopy::FromZeros;

/// A host of which nothing is known.
#[must_use]
pub fn host() -> Attribution {
    Attribution::new(PathBuf::from("/nonexistent"))
}

/// The record of a cgroup with this path, as far as there is room for it.
#[must_use]
pub fn cgroup(id: CgroupId, path: &[u8]) -> Box<CgroupRecord> {
    let mut record = CgroupRecord::new_zeroed();
    let length = path.len().min(record.path.len());
    record.subject = id;
    record.path[..length].copy_from_slice(&path[..length]);
    record.path_length = length as u32;
    Box::new(record)
}

/// The event of a record, after it went through JSON and came back the same.
///
/// # Panics
/// When it does not, or when it holds what a terminal would obey.
#[must_use]
pub fn told(host: &Attribution, record: &Record) -> Event {
    let event = host.attribute(record, &Clock::fixed(Timestamp::UNIX_EPOCH), 1);
    let json = serde_json::to_string(&event).expect("an event becomes JSON");
    plain(&json);
    plain(&event.message);
    let back: Event = serde_json::from_str(&json).expect("JSON becomes an event");
    assert_eq!(back, event);
    event
}

/// Nothing in it is for a terminal to obey.
///
/// # Panics
/// When something is.
pub fn plain(text: &str) {
    assert!(!text.contains(is_hostile), "{text:?}");
}

/// What a runtime's API tells about containers is harmless text, and can be forgotten.
///
/// # Panics
/// When it is not, or cannot.
pub fn learned(source: &Source, told: Vec<ContainerFacts>) {
    let host = host();
    for facts in told {
        let id = facts.id.clone();
        host.learn(source, facts);
        let containers = host.containers();
        assert_eq!(containers.len(), 1, "{containers:?}");
        plain(&serde_json::to_string(&containers).expect("containers become JSON"));
        host.forget(source, &id);
    }
    host.retain(source, &HashSet::new());
    assert!(host.containers().is_empty());
}
