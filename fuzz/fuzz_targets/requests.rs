//! Bodies of requests with policies: their files lead nowhere else than into the folder, and what is wrong with them is told
//! in words that are safe to print.
#![no_main]

use std::path::Path;

use cofferdam::{
    api::{Candidate, ForShadow},
    config::Policies,
    policy::{
        Plan, RuleNumbers, Settings,
        folder::{NamedText, Set},
    },
};
use cofferdam_fuzz::plain;
use libfuzzer_sys::fuzz_target;

const FOLDER: &str = "/nonexistent/policies";

fuzz_target!(|body: &[u8]| {
    if let Ok(candidate) = serde_json::from_slice::<Candidate>(body) {
        taken(&candidate.files);
        let again = serde_json::to_vec(&candidate).expect("a request becomes JSON");
        let again: Candidate = serde_json::from_slice(&again).expect("JSON becomes a request");
        assert_eq!(again.files, candidate.files);
    }
    if let Ok(shadow) = serde_json::from_slice::<ForShadow>(body) {
        taken(&shadow.files);
    }
});

fn taken(files: &[NamedText]) {
    match Set::load_with(Path::new(FOLDER), files) {
        Ok(set) => {
            for file in set.files() {
                let name = file.path.to_str().and_then(|path| path.strip_prefix(FOLDER)?.strip_prefix('/'));
                let name = name.expect("a file in the folder");
                assert!(!name.contains('/') && name.ends_with('l'), "{name}");
                plain(name);
            }
            let settings = Settings::from(&Policies::default());
            if let Err(error) = Plan::new(set.into_parts().0, settings, &mut RuleNumbers::default()) {
                plain(&error.to_string());
            }
        }
        Err(problem) => plain(problem.line()),
    }
}
