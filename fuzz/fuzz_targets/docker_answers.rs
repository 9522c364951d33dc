//! Answers and events of Docker's API: what they tell about containers.
#![no_main]

use cofferdam::{
    attribution::{Source, runtime::told},
    event::Runtime,
};
use cofferdam_fuzz::learned;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| learned(&Source::api(Runtime::Docker, "docker.sock"), told::by_docker(json)));
