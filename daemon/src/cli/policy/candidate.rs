//! Files that are to be in the daemon's folder, out of what is named on the command line.

use std::path::PathBuf;

use anyhow::anyhow;

use crate::{
    api::Candidate,
    cli::Failure,
    policy::folder::{FileName, Kind, NamedText, Set},
};

/// Reads them. What is wrong with them is told here already, with the places in these files.
pub(super) fn load(paths: &[PathBuf]) -> Result<Candidate, Failure> {
    let mut set = Set::default();
    for path in paths {
        if !path.is_dir() && Kind::of(path) != Some(Kind::Policies) {
            let path = path.display().to_string();
            return Err(refused(&path, "files of policies end in .yaml or .yml, and are not hidden"));
        }
        set.add_path(path).map_err(Failure::Policies)?;
    }
    let mut files = Vec::<NamedText>::new();
    for file in set.into_parts().1 {
        let path = file.path.display().to_string();
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = FileName::try_from(name).map_err(|error| refused(&path, &error))?;
        if files.iter().any(|known| known.name == name) {
            return Err(refused(&path, "another file is called so: in the folder there can be one"));
        }
        files.push(NamedText { name, text: file.text });
    }
    Ok(Candidate { files, ..Candidate::default() })
}

fn refused(path: &str, why: &str) -> Failure {
    Failure::Failed(anyhow!("{}: {why}", crate::cli::printable(path)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_and_folders_become_names_and_texts_without_expectations() {
        let folder = std::env::temp_dir().join(format!("cofferdam-candidate-{}", std::process::id()));
        fs::create_dir_all(folder.join("more")).unwrap();
        for (name, text) in [
            ("b.yaml", "policy: b\nrules: []\n"),
            ("b.test.yaml", "[]"),
            ("more/a.yml", "policy: a\nrules: []\n"),
            ("more/b.yaml", "policy: c\nrules: []\n"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let names_of = |names: &[&str]| {
            let paths: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
            let files = load(&paths).map_err(|failure| failure.to_string())?.files;
            Ok::<_, String>(files.into_iter().map(|file| String::from(file.name)).collect::<Vec<_>>())
        };
        assert_eq!(names_of(&["", "more/a.yml"]), Ok(vec!["b.yaml".to_owned(), "a.yml".to_owned()]));
        assert!(names_of(&["b.yaml", "more/b.yaml"]).unwrap_err().contains("another file is called so"));
        assert!(names_of(&["b.test.yaml"]).unwrap_err().contains("end in .yaml or .yml"));
        assert!(names_of(&["absent.yaml"]).unwrap_err().contains("the policies are broken"));
        assert_eq!(names_of(&[]), Ok(Vec::new()));
        fs::remove_dir_all(folder).unwrap();
    }
}
