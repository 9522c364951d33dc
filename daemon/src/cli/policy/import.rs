//! `cofferdam policy import`: Kubernetes' NetworkPolicy objects and Compose files as policies.

use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;

use crate::{
    cli::{
        Failure,
        output::{print, printable},
    },
    config::{self, Problem},
    policy::{
        import::{File, Imported, Options, import},
        model::Mode,
    },
};

/// Most bytes of a file.
const SIZE_LIMIT: usize = 16 << 20;
/// What stands for stdin.
const STDIN: &str = "-";

/// Of what, and how.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Files with NetworkPolicy objects, and Compose files; `-` is stdin.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Where the policies are written to. [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Policies in mode enforce. [default: audit]
    #[arg(long)]
    enforce: bool,
    /// Writes what can be told where something cannot.
    #[arg(long)]
    partial: bool,
    /// The namespace of objects that name none.
    #[arg(long, value_name = "NAMESPACE", default_value = "default", value_parser = Options::namespace)]
    namespace: String,
    /// What a Compose file's project is called. [default: as it says, or as its folder]
    #[arg(long, value_name = "PROJECT")]
    project: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    write(arguments, &mut anstream::stderr().lock())
}

/// Policies go to where they shall, talk to `talk`.
fn write(arguments: &Arguments, talk: &mut impl Write) -> Result<(), Failure> {
    let files = arguments.files.iter().map(|path| file(path)).collect::<Result<Vec<_>, _>>();
    let options = Options {
        mode: if arguments.enforce { Mode::Enforce } else { Mode::Audit },
        namespace: arguments.namespace.clone(),
        project: arguments.project.clone(),
    };
    let imported = files.and_then(|files| import(&files, &options)).map_err(Failure::Policies)?;
    let Imported { text, missing, notes } = imported;
    for text in notes
        .iter()
        .map(|note| format!("note: {}\n", printable(note)))
        .chain(missing.iter().map(Problem::to_string))
    {
        // Nobody is left to tell where stderr is closed.
        let _ = talk.write_all(text.as_bytes());
    }
    if !missing.is_empty() && !arguments.partial {
        return Err(Failure::Untold(u64::try_from(missing.len()).unwrap_or(u64::MAX)));
    }
    match &arguments.output {
        Some(path) => fs::write(path, text)
            .with_context(|| format!("cannot write {}", path.display()))
            .map_err(Failure::Failed),
        None => print(&text),
    }
}

/// Reads a file, and finds out in which folder it is.
fn file(path: &Path) -> Result<File, Problem> {
    let unreadable = |error: io::Error| Problem::unreadable(path, "what is to be imported", &error);
    if path == Path::new(STDIN) {
        let text = stdin().map_err(unreadable)?;
        return Ok(File { path: "stdin".into(), text, folder: None });
    }
    let text = config::read(path, SIZE_LIMIT).map_err(unreadable)?;
    // The file's own, also where it is named from within it.
    let folder = path.canonicalize().map_err(unreadable)?;
    let folder = folder.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    Ok(File { path: path.to_owned(), text, folder })
}

fn stdin() -> io::Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(SIZE_LIMIT as u64 + 1).read_to_string(&mut text)?;
    if text.len() > SIZE_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is longer than {SIZE_LIMIT} bytes"),
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own for a test, with one file.
    fn folder(name: &str, text: &str) -> (PathBuf, PathBuf) {
        let folder = std::env::temp_dir().join(format!("cofferdam-import-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let path = folder.join("file.yaml");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    fn arguments(path: PathBuf, output: PathBuf) -> Arguments {
        Arguments {
            files: vec![path],
            output: Some(output),
            enforce: false,
            partial: false,
            namespace: "default".to_owned(),
            project: None,
        }
    }

    #[test]
    fn a_project_without_a_name_is_called_as_its_folder() {
        let (folder, path) = folder("Shop_1", "services: {web: {}}\n");
        let output = folder.join("output");
        write(&arguments(path, output.clone()), &mut io::sink()).unwrap();
        let text = fs::read_to_string(output).unwrap();
        let name = format!("policy: cofferdam-import-{}-shop_1\nmode: audit\n", std::process::id());
        assert!(text.contains(&name), "{text}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_cannot_be_told_is_exit_code_3_and_nothing_is_written_unless_it_was_asked_for() {
        let (folder, path) =
            folder("partial", "name: shop\nservices: {web: {network_mode: 'container:x'}}\n");
        let output = folder.join("output");
        let whole = arguments(path, output.clone());
        let mut talk = Vec::new();
        let failure = write(&whole, &mut talk).unwrap_err();
        assert_eq!(failure.code(), 3);
        let talk = String::from_utf8(talk).unwrap();
        assert!(
            talk.starts_with("error: `services.web.network_mode`: which network the container `x`"),
            "{talk}"
        );
        assert!(failure.sentence().unwrap().starts_with("1 thing cannot be told"), "{failure}");
        assert!(!output.exists());
        write(&Arguments { partial: true, enforce: true, ..whole }, &mut io::sink()).unwrap();
        let text = fs::read_to_string(output).unwrap();
        assert!(text.contains("mode: enforce") && text.contains("# Missing: "), "{text}");
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn what_is_to_be_known_is_told_on_stderr_and_cannot_harm_a_terminal() {
        let text = "{apiVersion: v1, kind: \"Pod\\e[2J\", metadata: {name: web}}\n";
        let (folder, path) = folder("notes", text);
        let mut talk = Vec::new();
        write(&arguments(path, folder.join("output")), &mut talk).unwrap();
        let talk = String::from_utf8(talk).unwrap();
        assert!(
            talk.starts_with("note: ") && talk.ends_with(":1: Pod\\u{1b}[2J web (v1) is not imported\n"),
            "{talk}"
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_namespace_is_no_pattern() {
        assert_eq!(Options::namespace("shop"), Ok("shop".to_owned()));
        for odd in ["", "*", "a/b", &"x".repeat(64)] {
            assert!(Options::namespace(odd).unwrap_err().contains("is no name of a namespace"));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_exit_code_3() {
        let absent =
            write(&arguments("/nonexistent/a.yaml".into(), "/nonexistent/b".into()), &mut io::sink())
                .unwrap_err();
        assert_eq!(absent.code(), 3);
    }
}
