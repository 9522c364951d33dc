//! Text of a file of policies: what is taken has its places within the text and can be checked, and what is not is told
//! in words that are safe to print.
#![no_main]

use std::path::Path;

use cofferdam::{
    cli::printable,
    policy::{check::check, folder::Set},
};
use cofferdam_fuzz::plain;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut set = Set::default();
    match set.add_text(Path::new("/etc/cofferdam/policies/shop.yaml"), text.to_owned()) {
        Ok(()) => {
            for finding in check(set.documents(), None) {
                plain(&printable(&finding.message));
            }
            // YAML also ends lines with a carriage return.
            let lines = text.split(['\n', '\r']).count();
            for policy in set.into_parts().0 {
                plain(&policy.name);
                for rule in &policy.rules {
                    let places = rule.entries.iter().map(|entry| &entry.place).chain([&rule.place]);
                    places
                        .for_each(|place| assert!((1..=lines).contains(&(place.line as usize)), "{place:?}"));
                    assert!(!rule.subjects.is_empty());
                    rule.entries.iter().for_each(|entry| {
                        assert!(!entry.peers.is_empty() && !entry.services.is_empty());
                    });
                }
            }
        }
        Err(problem) => {
            plain(problem.line());
            problem.to_string().lines().for_each(|line| plain(&printable(line)));
        }
    }
});
