//! Bytes out of a ring, as records: decoding, attribution, JSON.
#![no_main]

use cofferdam::{metrics::Metrics, sensor::record::Record};
use cofferdam_fuzz::{host, told};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (host, metrics) = (host(), Metrics::new());
    // Two records, so that the second meets what the first left behind.
    for part in bytes.chunks(bytes.len().div_ceil(2).max(1)).chain([bytes]) {
        if let Ok(record) = Record::decode(part) {
            metrics.delivered(record.family());
            metrics.observe(&told(&host, &record));
        }
    }
});
