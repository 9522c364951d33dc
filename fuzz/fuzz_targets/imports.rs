//! Text of a file to import, Kubernetes' or Compose's: what comes of it are policies that are taken, and what is said of it is
//! safe to print.
#![no_main]

use std::path::Path;

use cofferdam::{
    cli::printable,
    policy::{
        folder::Set,
        import::{File, Imported, Options, import},
        model::Mode,
    },
};
use cofferdam_fuzz::plain;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let file = File { path: "file.yaml".into(), text: text.to_owned(), folder: Some("shop".to_owned()) };
    let options = Options { mode: Mode::Enforce, namespace: "default".to_owned(), project: None };
    match import(&[file], &options) {
        Ok(Imported { text, missing, notes }) => {
            text.lines().for_each(plain);
            missing.iter().for_each(|problem| plain(problem.line()));
            notes.iter().for_each(|note| plain(&printable(note)));
            let taken = Set::default().add_text(Path::new("output.yaml"), text.clone());
            taken.unwrap_or_else(|problem| panic!("{problem}\n{text}"));
        }
        Err(problem) => {
            plain(problem.line());
            // What comes of it is not to be what is wrong, unless it is too much.
            let told = problem.told();
            assert!(told.file != "output" || told.message.contains("more than"), "{problem}");
        }
    }
});
