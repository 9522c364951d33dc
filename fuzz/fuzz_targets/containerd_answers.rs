//! Answers and events of containerd's API: what they tell about containers.
#![no_main]

use std::collections::HashSet;

use cofferdam::{
    attribution::{Source, runtime::told},
    event::Runtime,
};
use cofferdam_fuzz::{host, plain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let (host, source) = (host(), Source::api(Runtime::Containerd, "containerd.sock"));
    for facts in told::by_containerd(message) {
        let id = facts.id.clone();
        host.learn(&source, facts);
        let containers = host.containers();
        assert_eq!(containers.len(), 1, "{containers:?}");
        plain(&serde_json::to_string(&containers).expect("containers become JSON"));
        host.forget(&source, &id);
    }
    host.retain(&source, &HashSet::new());
    assert!(host.containers().is_empty());
});
