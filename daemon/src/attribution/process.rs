//! Processes: which executable runs as which process. Bounded; the data path only touches memory.

use std::{
    collections::{HashMap, HashSet},
    io, iter,
    sync::Arc,
};

use cofferdam_common::ids::Tgid;

use super::text::{PATH_LIMIT, clean_bytes};
use crate::event::Process;

/// Most processes that are remembered. What exceeds it is shown without executable, and counted.
const LIMIT: usize = 65_536;

/// Most parents, and parents of those, that are told.
const MOST_ANCESTORS: usize = 4;

/// A process as `/proc` shows it.
pub(super) struct Running {
    tgid: Tgid,
    parent: Tgid,
    start_time: u64,
    executable: Option<Arc<str>>,
}

struct Entry {
    /// Its parent when it was made, or began what it runs.
    parent: Tgid,
    /// Nanoseconds since boot. Read from `/proc` it is rounded down to [`tick`] until a record tells it exactly.
    start_time: u64,
    executable: Option<Arc<str>>,
}

/// The processes that run. A number belongs to one process at a time, so the table is found by number, and the
/// start time decides whether that is the process meant.
pub(super) struct ProcessTable {
    entries: HashMap<Tgid, Entry>,
    tick: u64,
    limit: usize,
    overflow: u64,
}

impl ProcessTable {
    pub(super) fn new() -> Self {
        Self { entries: HashMap::new(), tick: tick(), limit: LIMIT, overflow: 0 }
    }

    /// Puts in what runs already; what records told meanwhile is newer and stays.
    pub(super) fn seed(&mut self, running: Vec<Running>) {
        for Running { tgid, parent, start_time, executable } in running {
            if !self.entries.contains_key(&tgid) {
                self.put(tgid, Entry { parent, start_time, executable });
            }
        }
    }

    /// `parent` made `child`, which runs the same executable until it begins another.
    pub(super) fn forked(&mut self, child: Tgid, start_time: u64, parent: Tgid) -> (Process, Process) {
        let executable = self.entries.get(&parent).and_then(|parent| parent.executable.clone());
        self.put(child, Entry { parent, start_time, executable });
        (self.process(child, start_time), self.parent(parent))
    }

    /// A child of `parent` began `executable`.
    pub(super) fn executed(
        &mut self,
        tgid: Tgid,
        start_time: u64,
        executable: &str,
        parent: Tgid,
    ) -> Process {
        self.put(tgid, Entry { parent, start_time, executable: Some(executable.into()) });
        Process { pid: tgid.0, start_time, executable: Some(executable.to_owned()) }
    }

    /// A process, and its parent, the parent of that one and so on, as far as they are known and run.
    pub(super) fn with_ancestors(
        &self,
        tgid: Tgid,
        start_time: u64,
        parent: Tgid,
    ) -> (Process, Vec<Process>) {
        // Who began later has the number of one who has ended.
        let known = |parent: Tgid, child: u64| {
            self.entries.get(&parent).filter(|entry| entry.start_time <= child).map(|entry| (parent, entry))
        };
        let of_parent = |(_, entry): &(Tgid, &Entry)| known(entry.parent, entry.start_time);
        let ancestors = iter::successors(known(parent, start_time), of_parent).take(MOST_ANCESTORS);
        (self.process(tgid, start_time), ancestors.map(|(tgid, _)| self.parent(tgid)).collect())
    }

    /// A process ended.
    pub(super) fn exited(&mut self, tgid: Tgid, start_time: u64) -> Process {
        let process = self.process(tgid, start_time);
        if self.same(tgid, start_time).is_some() {
            self.entries.remove(&tgid);
        }
        process
    }

    /// Whoever has this number now. Start time 0: not known.
    pub(super) fn parent(&self, tgid: Tgid) -> Process {
        self.entries.get(&tgid).map_or(Process { pid: tgid.0, start_time: 0, executable: None }, |entry| {
            Process {
                pid: tgid.0,
                start_time: entry.start_time,
                executable: entry.executable.as_deref().map(str::to_owned),
            }
        })
    }

    /// All numbers in the table.
    pub(super) fn tgids(&self) -> HashSet<Tgid> {
        self.entries.keys().copied().collect()
    }

    /// Takes out processes whose exit was lost: those that were in the table `before` and are not in `running`.
    pub(super) fn sweep(&mut self, before: &HashSet<Tgid>, running: &HashSet<Tgid>) {
        self.entries.retain(|tgid, _| !before.contains(tgid) || running.contains(tgid));
    }

    /// Processes that found no room.
    pub(super) fn overflow(&self) -> u64 {
        self.overflow
    }

    fn process(&self, tgid: Tgid, start_time: u64) -> Process {
        let executable = self.same(tgid, start_time).and_then(|entry| entry.executable.as_deref());
        Process { pid: tgid.0, start_time, executable: executable.map(str::to_owned) }
    }

    fn same(&self, tgid: Tgid, start_time: u64) -> Option<&Entry> {
        self.entries.get(&tgid).filter(|entry| entry.start_time / self.tick == start_time / self.tick)
    }

    fn put(&mut self, tgid: Tgid, entry: Entry) {
        if self.entries.len() >= self.limit && !self.entries.contains_key(&tgid) {
            self.overflow += 1;
        } else {
            self.entries.insert(tgid, entry);
        }
    }
}

/// The unit of start times in `/proc/<pid>/stat`, in nanoseconds. No number is used twice within one.
fn tick() -> u64 {
    1_000_000_000 / procfs::ticks_per_second().clamp(1, 1_000_000_000)
}

/// Reads all processes from `/proc`. One that ends meanwhile is left out. Blocks.
///
/// # Errors
/// When `/proc` cannot be read.
pub(super) fn running() -> io::Result<Vec<Running>> {
    let tick = tick();
    let processes = procfs::process::all_processes().map_err(io::Error::other)?;
    Ok(processes
        .flatten()
        .filter_map(|process| {
            let stat = process.stat().ok()?;
            let start_time = stat.starttime.saturating_mul(tick);
            // Kernel threads have none.
            let executable = process.exe().ok().map(|path| {
                let path = path.as_os_str().as_encoded_bytes();
                Arc::from(clean_bytes(path.strip_suffix(b" (deleted)").unwrap_or(path), PATH_LIMIT))
            });
            let [tgid, parent] = [process.pid(), stat.ppid].map(|pid| u32::try_from(pid).map(Tgid));
            Some(Running { tgid: tgid.ok()?, parent: parent.ok()?, start_time, executable })
        })
        .collect())
}

/// Numbers of all processes. Blocks.
///
/// # Errors
/// When `/proc` cannot be read.
pub(super) fn running_tgids() -> io::Result<HashSet<Tgid>> {
    let processes = procfs::process::all_processes().map_err(io::Error::other)?;
    Ok(processes.flatten().filter_map(|process| u32::try_from(process.pid()).ok().map(Tgid)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(limit: usize) -> ProcessTable {
        ProcessTable { limit, ..ProcessTable::new() }
    }

    #[test]
    fn a_child_runs_its_parents_executable_until_it_begins_another() {
        let mut table = table(8);
        table.executed(Tgid(1), 100, "/bin/sh", Tgid(0));
        let (child, parent) = table.forked(Tgid(2), 200, Tgid(1));
        assert_eq!(child.executable.as_deref(), Some("/bin/sh"));
        assert_eq!((parent.pid, parent.start_time), (1, 100));
        table.executed(Tgid(2), 200, "/bin/ls", Tgid(0));
        assert_eq!(table.exited(Tgid(2), 200).executable.as_deref(), Some("/bin/ls"));
        assert_eq!(table.parent(Tgid(2)).executable, None);
    }

    #[test]
    fn a_number_used_again_is_another_process() {
        let mut table = table(8);
        table.executed(Tgid(1), 0, "/bin/old", Tgid(0));
        let much_later = 3_600_000_000_000;
        assert_eq!(table.exited(Tgid(1), much_later).executable, None);
        assert_eq!(table.parent(Tgid(1)).executable.as_deref(), Some("/bin/old"));
    }

    #[test]
    fn a_process_read_from_proc_is_found_by_its_exact_start_time() {
        let mut table = table(8);
        let start_time = 5 * table.tick;
        table.seed(vec![Running {
            tgid: Tgid(7),
            parent: Tgid(1),
            start_time,
            executable: Some("/bin/db".into()),
        }]);
        assert_eq!(table.exited(Tgid(7), start_time + 1_234).executable.as_deref(), Some("/bin/db"));
    }

    #[test]
    fn the_parents_of_a_process_are_told_as_far_as_they_run() {
        let mut table = table(8);
        let proc = |tgid, executable: &str| Running {
            tgid: Tgid(tgid),
            parent: Tgid(tgid - 1),
            start_time: 0,
            executable: Some(executable.into()),
        };
        table.seed(vec![proc(1, "/sbin/init"), proc(2, "/bin/shim")]);
        table.executed(Tgid(3), 300, "/bin/sh", Tgid(2));
        table.forked(Tgid(4), 400, Tgid(3));
        table.executed(Tgid(4), 400, "/bin/psql", Tgid(3));
        let told = |table: &ProcessTable| {
            let (process, ancestors) = table.with_ancestors(Tgid(4), 400, Tgid(3));
            let names = |process: Process| process.executable.unwrap_or_default();
            (names(process), ancestors.into_iter().map(names).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(told(&table), ("/bin/psql".to_owned(), "/bin/sh /bin/shim /sbin/init".to_owned()));
        table.exited(Tgid(3), 300);
        assert_eq!(told(&table), ("/bin/psql".to_owned(), String::new()));
        // Another has its number, who began later.
        table.executed(Tgid(3), 3_600_000_000_000, "/bin/other", Tgid(2));
        assert_eq!(told(&table), ("/bin/psql".to_owned(), String::new()));
        // And another the number of the process itself.
        assert_eq!(table.with_ancestors(Tgid(4), 3_600_000_000_000, Tgid(9)).0.executable, None);
        // Its parent has ended since it was made, and there is another.
        assert_eq!(table.with_ancestors(Tgid(4), 400, Tgid(2)).1.len(), 2);
        // One that is its own parent, as records that were lost may make it.
        table.executed(Tgid(5), 500, "/bin/loop", Tgid(5));
        assert_eq!(table.with_ancestors(Tgid(5), 500, Tgid(5)).1.len(), MOST_ANCESTORS);
    }

    #[test]
    fn a_full_table_counts_what_it_cannot_take() {
        let mut table = table(1);
        table.executed(Tgid(1), 1, "/bin/a", Tgid(0));
        table.executed(Tgid(2), 1, "/bin/b", Tgid(0));
        table.executed(Tgid(1), 1, "/bin/c", Tgid(0));
        assert_eq!(table.overflow(), 1);
        assert_eq!(table.parent(Tgid(1)).executable.as_deref(), Some("/bin/c"));
    }

    #[test]
    fn processes_whose_exit_was_lost_are_swept_and_new_ones_are_not() {
        let mut table = table(8);
        table.executed(Tgid(1), 1, "/bin/a", Tgid(0));
        table.executed(Tgid(2), 1, "/bin/b", Tgid(0));
        let before = table.tgids();
        table.executed(Tgid(3), 1, "/bin/c", Tgid(0));
        table.sweep(&before, &HashSet::from([Tgid(2)]));
        assert_eq!(table.tgids(), HashSet::from([Tgid(2), Tgid(3)]));
    }

    #[test]
    fn this_test_is_found_in_proc() {
        let own =
            running().unwrap().into_iter().find(|process| process.tgid.0 == std::process::id()).unwrap();
        assert_eq!(own.executable.as_deref(), std::env::current_exe().unwrap().to_str());
        assert!(own.start_time > 0);
        assert!(running_tgids().unwrap().contains(&own.tgid));
    }
}
