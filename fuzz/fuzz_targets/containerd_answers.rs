//! Answers and events of containerd's API: what they tell about containers.
#![no_main]

use cofferdam::{
    attribution::{Source, runtime::told},
    event::Runtime,
};
use cofferdam_fuzz::learned;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| learned(
    &Source::api(Runtime::Containerd, "containerd.sock"),
    told::by_containerd(message)
));
