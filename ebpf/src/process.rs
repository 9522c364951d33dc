//! Family process: fork, exec and exit, from the scheduler's tracepoints.
//!
//! Fail direction: none, these hooks only watch. A field that cannot be read is left empty.

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::{
    helpers::generated::{bpf_get_current_uid_gid, bpf_probe_read_kernel_str, bpf_probe_read_user},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use cofferdam_common::{
    ids::Tgid,
    process::{ARGS_LIMIT, ExecRecord, ExitRecord, ForkRecord, PATH_LIMIT},
    record::{Header, family, kind},
};

use crate::{
    budget::account_of_current,
    emit::{current_cgroup, emit, header},
    maps::RECORDS,
    offsets::{KernelPointer, offset},
};

/// kernel: TP_PROTO(struct task_struct *parent, struct task_struct *child)
#[btf_tracepoint(function = "sched_process_fork")]
pub(crate) fn sched_process_fork(context: BtfTracePointContext) -> i32 {
    let (parent, child) = (KernelPointer(context.arg(0)), KernelPointer(context.arg(1)));
    let tgid = tgid(child);
    if tgid.0 != thread(child) {
        return 0;
    }
    let cgroup = current_cgroup();
    emit::<ForkRecord>(&RECORDS, family::PROCESS, account_of_current(cgroup), |entry, now| {
        entry.write(ForkRecord {
            header: header(kind::PROCESS_FORK, cgroup, now),
            tgid,
            parent: self::tgid(parent),
            start_time: start_time(child),
        });
    });
    0
}

/// kernel: TP_PROTO(struct task_struct *p, pid_t old_pid, struct linux_binprm *bprm)
#[btf_tracepoint(function = "sched_process_exec")]
pub(crate) fn sched_process_exec(context: BtfTracePointContext) -> i32 {
    let (task, binprm) = (KernelPointer(context.arg(0)), KernelPointer(context.arg(2)));
    let cgroup = current_cgroup();
    emit::<ExecRecord>(&RECORDS, family::PROCESS, account_of_current(cgroup), |entry, now| {
        fill_exec(entry, header(kind::PROCESS_EXEC, cgroup, now), task, binprm);
    });
    0
}

#[inline(always)]
fn fill_exec(
    entry: &mut MaybeUninit<ExecRecord>,
    header: Header,
    task: KernelPointer,
    binprm: KernelPointer,
) {
    let record = entry.as_mut_ptr();
    // SAFETY: the ring handed out memory for one record, and every field of it is written here: the two buffers
    // by the helpers, which leave zeros behind what they wrote or are cleared first.
    unsafe {
        ptr::write_bytes(record, 0, 1);
        // SAFETY: a helper without arguments.
        let ids = bpf_get_current_uid_gid();
        (*record).header = header;
        (*record).tgid = tgid(task);
        (*record).parent = parent(task);
        (*record).start_time = start_time(task);
        (*record).uid = ids as u32;
        (*record).gid = (ids >> 32) as u32;
        (*record).path_length = read_path(ptr::addr_of_mut!((*record).path), binprm);
        let (length, total) = read_args(ptr::addr_of_mut!((*record).args), task);
        (*record).args_length = length;
        (*record).args_total = total;
    }
}

/// kernel: TP_PROTO(struct task_struct *p) until 6.14, (struct task_struct *p, bool group_dead) since
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn sched_process_exit(context: BtfTracePointContext) -> i32 {
    let task = KernelPointer(context.arg(0));
    let live: i32 =
        task.follow(offset!(task_signal)).and_then(|signal| signal.read(offset!(signal_live))).unwrap_or(0);
    if live != 0 {
        return 0;
    }
    let cgroup = current_cgroup();
    emit::<ExitRecord>(&RECORDS, family::PROCESS, account_of_current(cgroup), |entry, now| {
        entry.write(ExitRecord {
            header: header(kind::PROCESS_EXIT, cgroup, now),
            tgid: tgid(task),
            status: task.read(offset!(task_exit_code)).unwrap_or(0),
            start_time: start_time(task),
        });
    });
    0
}

#[inline(always)]
pub(crate) fn tgid(task: KernelPointer) -> Tgid {
    Tgid(task.read(offset!(task_tgid)).unwrap_or(0))
}

#[inline(always)]
fn thread(task: KernelPointer) -> u32 {
    task.read(offset!(task_pid)).unwrap_or(0)
}

#[inline(always)]
pub(crate) fn start_time(task: KernelPointer) -> u64 {
    task.read(offset!(task_start_boottime)).unwrap_or(0)
}

#[inline(always)]
pub(crate) fn parent(task: KernelPointer) -> Tgid {
    task.follow(offset!(task_real_parent)).map_or(Tgid(0), tgid)
}

/// Copies `linux_binprm.filename`; returns its length, or the limit when it was cut.
#[inline(always)]
fn read_path(buffer: *mut [u8; PATH_LIMIT], binprm: KernelPointer) -> u16 {
    let Some(name) = binprm.follow(offset!(binprm_filename)) else { return 0 };
    // SAFETY: the helper writes at most PATH_LIMIT bytes, the last of them NUL, or fails.
    let length = unsafe { bpf_probe_read_kernel_str(buffer.cast(), PATH_LIMIT as u32, name.0) };
    if length > 0 { (length - 1) as u16 } else { 0 }
}

/// Copies the beginning of the argument vector from the new program's stack, which the kernel has just written.
/// Returns how many bytes were copied and how many there are.
#[inline(always)]
fn read_args(buffer: *mut [u8; ARGS_LIMIT], task: KernelPointer) -> (u16, u32) {
    let Some(mm) = task.follow(offset!(task_mm)) else { return (0, 0) };
    let start: u64 = mm.read(offset!(mm_arg_start)).unwrap_or(0);
    let total = mm.read::<u64>(offset!(mm_arg_end)).unwrap_or(0).saturating_sub(start);
    let mut length = total;
    if length > ARGS_LIMIT as u64 {
        length = ARGS_LIMIT as u64;
    }
    if length == 0 {
        return (0, 0);
    }
    // SAFETY: the helper writes `length` bytes, at most ARGS_LIMIT, or fails.
    let result = unsafe { bpf_probe_read_user(buffer.cast(), length as u32, start as *const _) };
    (if result == 0 { length as u16 } else { 0 }, total as u32)
}
