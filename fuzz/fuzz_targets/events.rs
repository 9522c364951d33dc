//! Lines of JSON, as clients read them: what is an event stays that event.
#![no_main]

use cofferdam::{
    cli::{printable, printable_json},
    event::Event,
    metrics::Metrics,
};
use cofferdam_fuzz::plain;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let Ok(event) = serde_json::from_slice::<Event>(line) else { return };
    Metrics::new().observe(&event);
    plain(&printable(&event.message));
    let json = serde_json::to_string(&event).expect("an event becomes JSON");
    let shown = printable_json(&json);
    plain(&shown);
    assert_eq!(serde_json::from_str::<Event>(&shown).expect("JSON"), event);
});
