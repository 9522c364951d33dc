//! The file: opened, written, kept small. The only writer.

use std::{
    fs::{self, OpenOptions},
    io,
    num::NonZeroUsize,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use lru::LruCache;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};

use super::{
    batch::Batch,
    rows::{add_event, add_minute, edge_id},
};
use crate::{event::Workload, interaction::EdgeKey};

/// The name of the file in its folder.
pub const FILE_NAME: &str = "history.db";
/// `Cfdm`: whose file it is (SQLite's application id).
const APPLICATION_ID: i32 = 0x4366_646d;
/// Of the tables.
const VERSION: i32 = 1;
const SCHEMA: &str = include_str!("schema.sql");

/// Ids of workloads and edges that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();
/// Longest that another program that has the file open is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// From how much of its largest size on the oldest goes, and until how much of it.
const NEARLY_FULL_PERCENT: u64 = 95;
const ROOMY_PERCENT: u64 = 85;
/// Rows that are deleted at once, and how often in one go: whoever reads meanwhile is not kept waiting.
const DELETED_AT_ONCE: u32 = 20_000;
const MOST_DELETIONS: usize = 100;
/// Which part of the file events may have, taken to be so many bytes each: who is denied often cannot push out the rest.
const EVENTS_PART: u64 = 4;
const EVENT_BYTES: u64 = 2_048;
/// Which part of the file a text that outlives the daemon may have: less than is free once there is room again.
const STATE_PART: u64 = 10;
/// Files that were set aside and are kept.
const SET_ASIDE: usize = 3;

/// How large it may become, and how old what is in it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Bytes of the file. What has not been moved into it yet (SQLite's write-ahead log) comes on top.
    pub bytes: u64,
    /// Days.
    pub days: u32,
}

/// The open file.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    bounds: Bounds,
    workloads: LruCache<Arc<Workload>, i64>,
    edges: LruCache<EdgeKey, i64>,
}

impl Store {
    /// Opens the file in this folder, or makes it. One that is damaged is set aside under the name that is returned. Reads all
    /// of it.
    ///
    /// # Errors
    /// It can be neither read nor made, or is of a newer version.
    pub fn open(folder: &Path, bounds: Bounds) -> anyhow::Result<(Self, Option<PathBuf>)> {
        let path = folder.join(FILE_NAME);
        match Self::open_file(&path, bounds) {
            Err(error) if is_damage(&error) => {
                let aside = set_aside(&path).with_context(|| format!("{} is damaged", path.display()))?;
                Ok((Self::open_file(&path, bounds)?, Some(aside)))
            }
            opened => Ok((opened?, None)),
        }
    }

    fn open_file(path: &Path, bounds: Bounds) -> anyhow::Result<Self> {
        make(path).with_context(|| format!("cannot make {}", path.display()))?;
        let cannot = || format!("cannot open {}", path.display());
        let connection = Connection::open(path).with_context(cannot)?;
        connection.busy_timeout(PATIENCE).with_context(cannot)?;
        set_up(&connection, bounds).with_context(cannot)?;
        Ok(Self {
            connection,
            path: path.to_owned(),
            bounds,
            workloads: LruCache::new(REMEMBERED),
            edges: LruCache::new(REMEMBERED),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it, or nothing. When the file is full, what is oldest makes room.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, batch: &Batch) -> anyhow::Result<()> {
        self.with_room(|store| store.try_write(batch))
    }

    /// Writes, once more where what is oldest had to make room.
    fn with_room(&mut self, write: impl Fn(&mut Self) -> rusqlite::Result<()>) -> anyhow::Result<()> {
        let written = match write(self) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DiskFull) => {
                self.make_room().and_then(|()| write(self))
            }
            written => written,
        };
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn try_write(&mut self, batch: &Batch) -> rusqlite::Result<()> {
        let Self { connection, workloads, edges, .. } = self;
        let mut write = || {
            let transaction = connection.transaction()?;
            for ((minute, key), edge) in &batch.minutes {
                let id = edge_id(&transaction, key, workloads, edges)?;
                add_minute(&transaction, *minute, id, edge)?;
            }
            for event in &batch.events {
                add_event(&transaction, event)?;
            }
            transaction.commit()
        };
        let written = write();
        if written.is_err() {
            self.forget();
        }
        written
    }

    /// Deletes what is too old, and what is oldest where there is too much. Some of it, so that nobody waits long: the rest the
    /// next time.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn prune(&mut self, now: Timestamp) -> anyhow::Result<()> {
        let pruned = self.prune_old(now).and_then(|()| {
            if self.used()? > self.bounds.bytes / 100 * NEARLY_FULL_PERCENT {
                self.make_room()
            } else {
                Ok(())
            }
        });
        pruned.with_context(|| format!("cannot make {} smaller", self.path.display()))
    }

    fn prune_old(&mut self, now: Timestamp) -> rusqlite::Result<()> {
        let oldest = now.as_second() - i64::from(self.bounds.days) * 24 * 3_600;
        let mut deleted = 0;
        for _ in 0..MOST_DELETIONS {
            let rows = self.delete_minutes(oldest.div_euclid(60))? + self.delete_events(oldest * 1_000)?;
            deleted += rows;
            if rows == 0 {
                break;
            }
        }
        deleted += self.delete_excess_events()?;
        if deleted == 0 {
            return Ok(());
        }
        self.forget_unused()?;
        self.give_back()
    }

    /// Deletes what is oldest until there is room again.
    fn make_room(&mut self) -> rusqlite::Result<()> {
        for _ in 0..MOST_DELETIONS {
            if self.used()? <= self.bounds.bytes / 100 * ROOMY_PERCENT {
                break;
            }
            let Some(before) = self.oldest_part()? else { break };
            self.delete_minutes(before)?;
            self.delete_events(before * 60_000)?;
            // Where many came and went, they take more room than what they did.
            self.forget_unused()?;
        }
        self.give_back()
    }

    /// Before which minute the oldest twentieth lies of the time that is told of; nothing where nothing is.
    fn oldest_part(&self) -> rusqlite::Result<Option<i64>> {
        let minutes = |sql| self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0));
        let firsts: [Option<i64>; 2] =
            [minutes("SELECT min(minute) FROM minute")?, minutes("SELECT min(time) / 60000 FROM event")?];
        let lasts: [Option<i64>; 2] =
            [minutes("SELECT max(minute) FROM minute")?, minutes("SELECT max(time) / 60000 FROM event")?];
        let ends = firsts.into_iter().flatten().min().zip(lasts.into_iter().flatten().max());
        Ok(ends.map(|(first, last)| first + 1 + (last - first) / 20))
    }

    /// Some rows, the oldest, of minutes before this one.
    fn delete_minutes(&self, before: i64) -> rusqlite::Result<usize> {
        let sql = "DELETE FROM minute WHERE (minute, edge) IN
            (SELECT minute, edge FROM minute WHERE minute < ?1 ORDER BY minute LIMIT ?2)";
        self.connection.prepare_cached(sql)?.execute(params![before, DELETED_AT_ONCE])
    }

    /// Some events, the oldest, of before this time.
    fn delete_events(&self, before: i64) -> rusqlite::Result<usize> {
        let sql =
            "DELETE FROM event WHERE id IN (SELECT id FROM event WHERE time < ?1 ORDER BY time LIMIT ?2)";
        self.connection.prepare_cached(sql)?.execute(params![before, DELETED_AT_ONCE / 10])
    }

    /// The oldest events that are more than there may be.
    fn delete_excess_events(&self) -> rusqlite::Result<usize> {
        let most = self.bounds.bytes / EVENTS_PART / EVENT_BYTES;
        // Ids are given in order, and are not given again while later ones are there.
        let sql = "DELETE FROM event WHERE id <= (SELECT max(id) FROM event) - ?1";
        self.connection.prepare_cached(sql)?.execute([i64::try_from(most).unwrap_or(i64::MAX)])
    }

    /// Forgets edges and workloads of which nothing is told any more.
    fn forget_unused(&mut self) -> rusqlite::Result<()> {
        self.forget();
        self.connection.execute_batch(
            "DELETE FROM edge WHERE last < (SELECT coalesce(min(minute), 9000000000000) * 60000 FROM minute);
             DELETE FROM workload WHERE id NOT IN (SELECT source FROM edge UNION SELECT target FROM edge);",
        )
    }

    /// Gives back what is empty.
    fn give_back(&self) -> rusqlite::Result<()> {
        self.connection.execute_batch("PRAGMA incremental_vacuum;")
    }

    /// Bytes of the file that are in use.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn used(&self) -> rusqlite::Result<u64> {
        let number = |name| self.connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
        let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
        Ok(u64::from(pages) * u64::from(number("page_size")?))
    }

    /// Writes a text that has to outlive the daemon, in the place of an older one.
    ///
    /// # Errors
    /// It is too large, or cannot be written. The older one stays.
    pub fn set_state(&mut self, name: &str, json: &str) -> anyhow::Result<()> {
        let room = self.bounds.bytes / STATE_PART;
        anyhow::ensure!(
            json.len() as u64 <= room,
            "it is larger than {room} bytes, for which there is room: raise `history.megabytes`"
        );
        self.with_room(|store| {
            let sql = "INSERT OR REPLACE INTO state (name, json) VALUES (?1, ?2)";
            store.connection.prepare_cached(sql)?.execute([name, json]).map(drop)
        })
    }

    /// A text that outlived a daemon.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn state(&self, name: &str) -> rusqlite::Result<Option<String>> {
        let sql = "SELECT json FROM state WHERE name = ?1";
        self.connection.query_row(sql, [name], |row| row.get(0)).optional()
    }

    /// Ids may not be right any more.
    fn forget(&mut self) {
        self.workloads.clear();
        self.edges.clear();
    }
}

/// Whether the file is no sound file of ours, so that it is to be set aside and a new one begun.
#[must_use]
pub fn is_damage(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) || error.is::<Damaged>()
}

/// What SQLite finds wrong, or that it is somebody else's.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Damaged(String);

/// Makes an empty file that nobody else may read, and its folder.
fn make(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().append(true).create(true).mode(0o600).open(path).map(drop)
}

fn set_up(connection: &Connection, bounds: Bounds) -> anyhow::Result<()> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let tables: u32 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        // Has to come before the first table.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    } else if number("application_id")? != APPLICATION_ID {
        return Err(Damaged("it is somebody else's".to_owned()).into());
    }
    let version = number("user_version")?;
    anyhow::ensure!(version <= VERSION, "it is of a newer version of Cofferdam ({version})");
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // What was committed survives the death of the daemon; of the host, it survives up to the last checkpoint.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 16 << 20)?;
    let page_size = connection.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?;
    let most_pages = (bounds.bytes / u64::from(page_size)).clamp(64, u32::MAX.into());
    connection.pragma_update(None, "max_page_count", i64::try_from(most_pages)?)?;
    if version < VERSION {
        connection.execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"))?;
    }
    let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if sound == "ok" { Ok(()) } else { Err(Damaged(sound).into()) }
}

/// Gives the file, and what belongs to it, another name, so that a new one can be begun.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let named = |suffix: &str| PathBuf::from(format!("{}{suffix}", path.display()));
    let aside = (0..100).map(|at| named(&format!(".damaged-{time}-{at:02}"))).find(|name| !name.exists());
    let aside = aside.ok_or_else(|| io::Error::other("there is no name to set it aside under"))?;
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        let beside = PathBuf::from(format!("{}{suffix}", aside.display()));
        match fs::rename(named(suffix), beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    remove_oldest_aside(path);
    Ok(aside)
}

/// A disk that damages files shall not be filled by them. What cannot be removed stays.
fn remove_oldest_aside(path: &Path) {
    let Some((folder, name)) = path.parent().zip(path.file_name()) else { return };
    let begins = format!("{}.damaged-", name.to_string_lossy());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let of_aside = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with(&begins) && !name.ends_with("-wal") && !name.ends_with("-shm")
    });
    let mut aside: Vec<_> = of_aside.collect();
    aside.sort_unstable_by(|a, b| b.cmp(a));
    for old in aside.iter().skip(SET_ASIDE) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", old.display()));
        }
    }
}
