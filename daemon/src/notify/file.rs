//! A file with one line of JSON for each alert. It is moved aside when it is long, and a few of those are kept.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::fcntl::OFlag;

use super::{Receive, apart::Apart, body::Body, lane::Failure};
use crate::event::Alert;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    /// Longest file, in bytes.
    pub(super) bytes: u64,
    /// Files besides: `alerts.json.1` is the newest of them.
    pub(super) files: u32,
}

/// The file.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    host: Arc<str>,
    writer: Apart<io::Result<()>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { bytes: 16 << 20, files: 5 }
    }
}

impl LogFile {
    /// The one at `path`. Its folder must be there.
    pub(super) fn new(path: PathBuf, host: Arc<str>) -> Self {
        Self { path, host, writer: Apart::default() }
    }
}

impl Receive for LogFile {
    const AT_ONCE: usize = 64;

    async fn deliver(&mut self, alerts: &[Arc<Alert>]) -> Result<(), Failure> {
        let mut lines = Vec::new();
        for alert in alerts {
            serde_json::to_writer(&mut lines, &Body { host: &self.host, alert }).map_err(Failure::lasting)?;
            lines.push(b'\n');
        }
        let path = self.path.clone();
        self.writer.run(move || append(&path, &lines, Kept::default())).await??;
        Ok(())
    }
}

/// Adds whole lines, or none. The file is opened each time, so that others may move it away as well.
fn append(path: &Path, lines: &[u8], kept: Kept) -> io::Result<()> {
    let found = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file);
    let length = found.map_or(0, |found| found.len());
    if length > 0 && length.saturating_add(lines.len() as u64) > kept.bytes {
        move_aside(path, kept.files)?;
    }
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let mut file = options.append(true).create(true).mode(0o600).custom_flags(flags.bits()).open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    file.write_all(lines).inspect_err(|_| {
        // A full disk took half a line.
        let _ = file.set_len(found.len());
    })
}

/// `alerts.json` becomes `alerts.json.1`, that one `alerts.json.2`; the last is no more.
fn move_aside(path: &Path, files: u32) -> io::Result<()> {
    let numbered = |number: u32| match number {
        0 => path.to_owned(),
        _ => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        }
    };
    if files == 0 {
        return fs::remove_file(path);
    }
    for number in (0..files).rev() {
        match fs::rename(numbered(number), numbered(number + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::notify::samples::Folder;

    #[test]
    fn a_long_file_is_moved_aside_and_few_are_kept() {
        let folder = Folder::new("rotate");
        let path = folder.join("alerts.json");
        for line in 0..9 {
            append(&path, format!("line {line}\n").as_bytes(), Kept { bytes: 15, files: 2 }).unwrap();
        }
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(text("alerts.json"), "line 8\n");
        assert_eq!(text("alerts.json.1"), "line 6\nline 7\n");
        assert_eq!(text("alerts.json.2"), "line 4\nline 5\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_is_longer_than_a_file_may_be_is_written_all_the_same() {
        let folder = Folder::new("longer");
        let path = folder.join("alerts.json");
        for _ in 0..2 {
            append(&path, &[b'x'; 99], Kept { bytes: 15, files: 1 }).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 99);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn nothing_is_written_but_into_a_file() {
        let folder = Folder::new("else");
        let path = folder.join("alerts.json");
        symlink(folder.join("elsewhere"), &path).unwrap();
        assert!(append(&path, b"line\n", Kept::default()).is_err());
        assert!(append(folder.path(), b"line\n", Kept::default()).is_err());
        assert!(append(&folder.join("none/alerts.json"), b"line\n", Kept::default()).is_err());
        assert!(append(Path::new("/dev/null"), b"line\n", Kept::default()).is_err());
        assert!(append(Path::new("/dev/full"), b"line\n", Kept::default()).is_err());
        assert!(!folder.join("elsewhere").exists());
    }
}
