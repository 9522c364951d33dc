//! Text of a configuration file: what is taken is whole, and what is not is told in words that are safe to print.
#![no_main]

use std::path::Path;

use cofferdam::{cli::printable, config::Config};
use cofferdam_fuzz::plain;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Config::parse(Path::new("/etc/cofferdam/config.yaml"), text) {
        Ok(config) => {
            // What a file says can be written down again, as JSON, which is YAML.
            let again = serde_json::to_string(&config).expect("a configuration becomes JSON");
            let path = Path::new("again.yaml");
            assert_eq!(Config::parse(path, &again).expect("what was taken is taken again"), config);
        }
        Err(problem) => problem.to_string().lines().for_each(|line| plain(&printable(line))),
    }
});
