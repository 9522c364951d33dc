//! What was written is there, in each state of the file and of the disk.

mod asked;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    event::{Event, EventKind, Protocol, Workload, WorkloadKind},
    interaction::{Edge, Verdicts},
    metrics::samples::edge,
    sink::samples,
};

/// A folder of its own, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("cofferdam-history-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> (Store, Option<PathBuf>) {
        self.open_with(8_000_000)
    }

    fn open_with(&self, bytes: u64) -> (Store, Option<PathBuf>) {
        Store::open(&self.0, Bounds { bytes, days: 30 }).unwrap()
    }

    /// All that lies in it now, in another.
    fn copied(&self) -> Self {
        let copy = Self::new();
        fs::create_dir_all(&copy.0).unwrap();
        for entry in fs::read_dir(&self.0).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), copy.0.join(entry.file_name())).unwrap();
        }
        copy
    }

    fn file(&self) -> PathBuf {
        self.0.join(FILE_NAME)
    }

    fn history(&self, store: &Store) -> History {
        let history = History::default();
        history.opened(store, None);
        history
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn at(time: &str) -> Timestamp {
    time.parse().unwrap()
}

fn minutes_later(time: Timestamp, minutes: i64) -> Timestamp {
    time + SignedDuration::from_mins(minutes)
}

/// What an edge gained at a time.
fn gained(port: u16, flows: u64, time: Timestamp) -> Batch {
    let mut batch = Batch::default();
    let verdicts = Verdicts { allow: flows, ..Verdicts::default() };
    let edge = Edge { port, flows, verdicts, first_seen: time, last_seen: time, ..edge() };
    assert_eq!(batch.add(&[edge], time), 0);
    batch
}

fn all(history: &History) -> Vec<Past> {
    history.interactions(Timestamp::MIN, Timestamp::MAX).unwrap().past
}

const TEN: &str = "2026-11-24T10:00:01Z";

#[test]
fn what_was_written_is_told_with_its_sums_minutes_and_days() {
    let folder = Folder::new();
    let (mut store, _) = folder.open();
    for (flows, minutes) in [(1, 0), (2, 0), (4, 1), (8, 24 * 60)] {
        store.write(&gained(5_432, flows, minutes_later(at(TEN), minutes))).unwrap();
    }
    let history = folder.history(&store);
    let told = |since: &str, until: &str| {
        let past = history.interactions(at(since), at(until)).unwrap().past;
        past.iter().map(|past| (past.edge.flows, past.minutes, past.days)).collect::<Vec<_>>()
    };
    assert_eq!(told("2026-11-24T10:00:00Z", "2026-11-26T00:00:00Z"), [(15, 3, 2)]);
    // Of the minutes in which the two times lie, all is told.
    assert_eq!(told("2026-11-24T10:00:59Z", "2026-11-24T10:01:00Z"), [(7, 2, 1)]);
    assert_eq!(told("2026-11-24T10:02:00Z", "2026-11-24T10:03:00Z"), []);
    let past = &all(&history)[0];
    assert_eq!((&*past.edge.source, &*past.edge.target), (&*edge().source, &*edge().target));
    assert_eq!((past.edge.protocol, past.edge.port, past.edge.via.as_deref()), (Protocol::Tcp, 5_432, None));
    assert_eq!((past.edge.first_seen, past.edge.last_seen), (at(TEN), minutes_later(at(TEN), 24 * 60)));
    assert_eq!(history.begins().unwrap(), Some(at("2026-11-24T10:00:00Z")));
}

#[test]
fn a_part_does_not_pass_for_all() {
    let of =
        |left_out| Interactions { past: Vec::new(), left_out }.whole().map_err(|error| error.to_string());
    assert_eq!(of(0), Ok(Vec::new()));
    assert_eq!(of(1), Err("there are more than 100000 interactions: ask for a shorter time".to_owned()));
}

#[test]
fn a_later_daemon_goes_on_where_one_ended_without_a_word() {
    let folder = Folder::new();
    let (mut store, _) = folder.open();
    store.write(&gained(1, 3, at(TEN))).unwrap();
    store.set_state("learned", "{}").unwrap();
    // As a kill leaves it: with its log beside it.
    let folder = folder.copied();
    let (mut store, aside) = folder.open();
    store.write(&gained(1, 4, at(TEN))).unwrap();
    let history = folder.history(&store);
    assert_eq!((aside, all(&history)[0].edge.flows, all(&history).len()), (None, 7, 1));
    assert_eq!(store.state("learned").unwrap().as_deref(), Some("{}"));
}

#[test]
fn a_damaged_file_and_one_of_somebody_else_is_set_aside_and_a_new_one_begun() {
    let damage: [fn(&Path); 3] = [
        |file| fs::write(file, "this is no database, but somebody wrote it").unwrap(),
        |file| {
            let mut bytes = fs::read(file).unwrap();
            bytes.truncate(bytes.len() / 2);
            fs::write(file, bytes).unwrap();
        },
        |file| {
            fs::remove_file(file).unwrap();
            let other = rusqlite::Connection::open(file).unwrap();
            other.execute_batch("CREATE TABLE minute (x)").unwrap();
        },
    ];
    for damage in damage {
        let folder = Folder::new();
        let (mut store, _) = folder.open();
        for port in 0..200 {
            store.write(&gained(port, 1, at(TEN))).unwrap();
        }
        // Closed in order, so that all is in the file.
        drop(store);
        damage(&folder.file());
        let (mut store, aside) = folder.open();
        let aside = aside.expect("it was set aside");
        assert!(aside.exists() && aside.to_string_lossy().contains("history.db.damaged-"), "{aside:?}");
        store.write(&gained(1, 1, at(TEN))).unwrap();
        assert_eq!(all(&folder.history(&store)).len(), 1);
    }
}

#[test]
fn of_files_that_were_set_aside_the_last_three_are_kept() {
    let folder = Folder::new();
    for _ in 0..6 {
        drop(folder.open());
        fs::write(folder.file(), "broken again, for longer than a header of SQLite would be").unwrap();
    }
    drop(folder.open());
    let names = fs::read_dir(&folder.0).unwrap().map(|entry| entry.unwrap().file_name());
    let aside = names.filter(|name| name.to_string_lossy().contains(".damaged-")).count();
    assert_eq!(aside, 3);
}

#[test]
fn a_file_of_a_newer_version_is_left_alone() {
    let folder = Folder::new();
    let (store, _) = folder.open();
    drop(store);
    rusqlite::Connection::open(folder.file()).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let error = Store::open(&folder.0, Bounds { bytes: 8_000_000, days: 30 }).unwrap_err();
    assert!(format!("{error:#}").contains("of a newer version of Cofferdam (7)"), "{error:#}");
    assert!(folder.file().exists());
}

#[test]
fn nobody_else_may_read_it() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let (mut store, _) = folder.open();
    store.write(&gained(1, 1, at(TEN))).unwrap();
    for entry in fs::read_dir(&folder.0).unwrap().map(Result::unwrap) {
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
}

#[test]
fn what_is_too_old_goes_and_takes_along_whom_nothing_else_is_told_of() {
    let folder = Folder::new();
    let (mut store, _) = folder.open();
    store.write(&gained(1, 1, at(TEN))).unwrap();
    store.write(&gained(2, 1, minutes_later(at(TEN), 24 * 60))).unwrap();
    store.prune(minutes_later(at(TEN), 31 * 24 * 60 - 60)).unwrap();
    let history = folder.history(&store);
    assert_eq!(all(&history).iter().map(|past| past.edge.port).collect::<Vec<_>>(), [2]);
    store.prune(minutes_later(at(TEN), 40 * 24 * 60)).unwrap();
    assert_eq!(all(&history), []);
    let left: u32 = rusqlite::Connection::open(folder.file())
        .unwrap()
        .query_row("SELECT (SELECT count(*) FROM edge) + (SELECT count(*) FROM workload)", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(left, 0);
    // Whoever was forgotten can come again.
    store.write(&gained(1, 1, at(TEN))).unwrap();
    assert_eq!(all(&history).len(), 1);
}

#[test]
fn it_never_grows_beyond_its_bound_and_what_is_newest_stays() {
    let folder = Folder::new();
    let bound = 2_000_000;
    let (mut store, _) = folder.open_with(bound);
    for minute in 0..200 {
        let time = minutes_later(at(TEN), minute);
        let mut batch = Batch::default();
        let edges: Vec<_> =
            (0..500).map(|port| Edge { port, first_seen: time, last_seen: time, ..edge() }).collect();
        batch.add(&edges, time);
        batch.add_event(Event { time, ..samples::denial() });
        store.write(&batch).unwrap();
        assert!(fs::metadata(folder.file()).unwrap().len() <= bound, "after {minute} minutes");
    }
    let history = folder.history(&store);
    let last = history.interactions(minutes_later(at(TEN), 199), Timestamp::MAX).unwrap().past;
    assert_eq!(last.len(), 500);
    assert!(history.begins().unwrap().unwrap() > at(TEN), "all 100,000 rows are there");
}

#[test]
fn where_many_came_and_went_what_is_newest_stays() {
    let folder = Folder::new();
    let (mut store, _) = folder.open_with(2_000_000);
    let history = folder.history(&store);
    for minute in 0..200 {
        let time = minutes_later(at(TEN), minute);
        let brief = |number| {
            let name = format!("ci/{minute}-{number}");
            let labels = [("digest".to_owned(), "0".repeat(500))].into();
            Arc::new(Workload { labels, ..Workload::named(WorkloadKind::Container, &name) })
        };
        let edges =
            (0..20).map(|number| Edge { source: brief(number), first_seen: time, last_seen: time, ..edge() });
        let mut batch = Batch::default();
        assert_eq!(batch.add(&Vec::from_iter(edges), time), 0);
        store.write(&batch).unwrap();
        store.prune(time).unwrap();
        let kept = time.duration_since(history.begins().unwrap().unwrap()).as_mins();
        assert!(kept >= minute.min(20), "after {minute} minutes {kept} are there");
    }
}

#[test]
fn what_outlives_the_daemon_takes_no_room_from_what_happened() {
    let folder = Folder::new();
    let (mut store, _) = folder.open_with(2_000_000);
    store.set_state("learned", "{}").unwrap();
    let mut minute = 0;
    while store.used().unwrap() < 1_850_000 {
        let time = minutes_later(at(TEN), minute);
        let mut batch = Batch::default();
        let edges = (0..500).map(|port| Edge { port, first_seen: time, last_seen: time, ..edge() });
        batch.add(&Vec::from_iter(edges), time);
        store.write(&batch).unwrap();
        minute += 1;
    }
    let rows = || {
        let other = rusqlite::Connection::open(folder.file()).unwrap();
        other.query_row("SELECT count(*) FROM minute", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = rows();
    let error = store.set_state("learned", &"x".repeat(300_000)).unwrap_err().to_string();
    assert!(error.contains("raise `history.megabytes`"), "{error}");
    assert_eq!((rows(), store.state("learned").unwrap().as_deref()), (before, Some("{}")));
    let fits = "x".repeat(190_000);
    store.set_state("learned", &fits).unwrap();
    assert_eq!(store.state("learned").unwrap(), Some(fits));
    assert!(rows() > before / 2, "{} of {before} rows are left", rows());
}

#[test]
fn what_cannot_be_written_is_written_the_next_time() {
    let folder = Folder::new();
    let (mut store, _) = folder.open();
    let other = rusqlite::Connection::open(folder.file()).unwrap();
    store.write(&gained(1, 1, at(TEN))).unwrap();
    other.execute_batch("ALTER TABLE event RENAME TO elsewhere").unwrap();
    let mut batch = gained(2, 1, at(TEN));
    batch.add_event(samples::denial());
    assert!(store.write(&batch).is_err());
    let history = folder.history(&store);
    assert_eq!(all(&history).len(), 1, "a part of it was written");
    other.execute_batch("ALTER TABLE elsewhere RENAME TO event").unwrap();
    store.write(&batch).unwrap();
    assert_eq!(all(&history).len(), 2);
}

#[test]
fn where_there_is_none_that_is_said() {
    let history = History::default();
    let error = history.interactions(Timestamp::MIN, Timestamp::MAX).unwrap_err();
    assert!(error.to_string().starts_with("there is no history: it is turned off"), "{error}");
    history.failed("cannot open /x/history.db: no".to_owned());
    let error = history.begins().unwrap_err();
    assert_eq!(error.to_string(), "there is no history: cannot open /x/history.db: no");
}
