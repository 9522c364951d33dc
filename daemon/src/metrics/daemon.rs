//! The daemon's own use of the machine, under the names that every exporter has (`process_*`).

use procfs::process::{LimitValue, Process};

use super::{
    definitions::{
        PROCESS_CPU, PROCESS_MAX_FDS, PROCESS_OPEN_FDS, PROCESS_RESIDENT, PROCESS_START, PROCESS_THREADS,
        PROCESS_VIRTUAL,
    },
    page::Page,
};

/// Reads /proc/self.
///
/// # Errors
/// When it cannot be read; nothing is written then.
#[expect(clippy::cast_precision_loss, reason = "the text format has floats only")]
pub(super) fn write(page: &mut Page) -> procfs::ProcResult<()> {
    let process = Process::myself()?;
    let (stat, limits, open) = (process.stat()?, process.limits()?, process.fd_count()?);
    let ticks = procfs::ticks_per_second() as f64;
    let booted = procfs::boot_time_secs()? as f64;
    page.add(&PROCESS_CPU, &[], (stat.utime + stat.stime) as f64 / ticks);
    page.add(&PROCESS_START, &[], booted + stat.starttime as f64 / ticks);
    page.count(&PROCESS_VIRTUAL, &[], stat.vsize);
    page.count(&PROCESS_RESIDENT, &[], stat.rss * procfs::page_size());
    page.add(&PROCESS_THREADS, &[], stat.num_threads as f64);
    page.add(&PROCESS_OPEN_FDS, &[], open as f64);
    if let LimitValue::Value(most) = limits.max_open_files.soft_limit {
        page.count(&PROCESS_MAX_FDS, &[], most);
    }
    Ok(())
}
