//! What runtimes leave on disk: what it tells about containers.
#![no_main]

use cofferdam::{
    attribution::{Source, Voice, runtime::told},
    event::Runtime,
};
use cofferdam_fuzz::{host, plain};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let host = host();
    let source = Source { voice: Voice::Disk, ..Source::api(Runtime::Containerd, "/run/containerd") };
    for facts in told::by_files(json) {
        let id = facts.id.clone();
        host.learn(&source, facts);
        plain(&serde_json::to_string(&host.containers()).expect("containers become JSON"));
        host.forget(&source, &id);
    }
});
