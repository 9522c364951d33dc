//! Answers and events of Docker's API: what they tell about containers.
#![no_main]

use std::collections::HashSet;

use cofferdam::{attribution::runtime::docker, event::Runtime};
use cofferdam_fuzz::{host, plain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let host = host();
    for facts in docker::told_by(json) {
        let id = facts.id.clone();
        host.learn(facts);
        let containers = host.containers();
        assert_eq!(containers.len(), 1, "{containers:?}");
        plain(&serde_json::to_string(&containers).expect("containers become JSON"));
        host.forget(&id);
    }
    host.retain(Runtime::Docker, &HashSet::new());
    assert!(host.containers().is_empty());
});
