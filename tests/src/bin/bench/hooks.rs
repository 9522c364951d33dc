//! How often each program in the kernel ran for a workload, and how long.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::Duration,
};

use aya::{
    programs::{ProgramInfo, loaded_programs},
    sys::{Stats, enable_stats},
};
use cofferdam::sensor::hooks::HOOKS;
use cofferdam_tests::load::Workload;

use crate::{pairs::Counts, results::Hook, scene::Scene, subject::Running};

/// Runs each workload with the kernel's own statistics on, which cost two readings of the clock per run: their price
/// is in these figures and in no others.
pub(crate) fn measure(
    scene: &mut Scene,
    running: &Running,
    workloads: &[Workload],
    counts: &Counts,
) -> anyhow::Result<Vec<Hook>> {
    let pid = running.daemon()?.pid();
    let _statistics = enable_stats(Stats::RunTime)?;
    let mut hooks = Vec::new();
    for workload in workloads {
        let count = counts.get(workload).copied().unwrap_or(1);
        let before = programs(pid)?;
        let done = scene.run(*workload, count)?;
        // What closes a connection may still be on its way.
        thread::sleep(Duration::from_millis(50));
        for (program, (runs, time)) in programs(pid)? {
            let (old_runs, old_time) = before.get(&program).copied().unwrap_or_default();
            let (runs, time) = (runs - old_runs, time.saturating_sub(old_time));
            // Fewer are the daemon's own doings, or the machine's.
            if runs as f64 >= 0.1 * done.count as f64 {
                hooks.push(Hook {
                    workload: *workload,
                    program,
                    runs: runs as f64 / done.count as f64,
                    nanoseconds: time.as_nanos() as f64 / runs as f64,
                });
            }
        }
    }
    Ok(hooks)
}

/// The programs that a process holds, by name: how often they ran, and how long in all.
fn programs(pid: u32) -> anyhow::Result<BTreeMap<String, (u64, Duration)>> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fdinfo"))?.flatten();
    let own: BTreeSet<u32> = descriptors
        .filter_map(|entry| {
            let text = fs::read_to_string(entry.path()).ok()?;
            text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        })
        .collect();
    // One that was unloaded between being listed and being looked at is none.
    let mut programs: Vec<_> =
        loaded_programs().flatten().filter(|program| own.contains(&program.id())).collect();
    programs.sort_by_key(ProgramInfo::id);
    let mut hooks: Vec<&str> = HOOKS.iter().map(|hook| hook.name).collect();
    let mut found = BTreeMap::new();
    for program in programs {
        // The kernel keeps 15 bytes of a name; programs get their numbers in the order in which they are loaded.
        let short = program.name_as_str().unwrap_or_default();
        let whole = hooks.iter().position(|hook| hook.starts_with(short)).map(|at| hooks.remove(at));
        found.insert(whole.unwrap_or(short).to_owned(), (program.run_count(), program.run_time()));
    }
    Ok(found)
}
