//! Family syscall: counts the calls of the selected cgroups. Attached only while something is selected, for every
//! process of the host pays for it at every call.
//!
//! One hook, where calls return: the number, the result and what a seccomp filter refused are all there.
//! It does not see `exit` and `exit_group`, which never return.
//!
//! Fail direction: none, this hook only watches.

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::BPF_NOEXIST, helpers::generated::bpf_get_current_task_btf, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use cofferdam_common::{
    ids::CgroupId,
    stats::failure,
    syscall::{
        CallKey, ERESTART, FIRST_UNKNOWN, FORKS, LARGEST_ERRNO, NEW_CGROUPS, OTHER, RESTART_CODES,
        SIGNAL_RETURN, UNKNOWN_NUMBER, abi,
    },
};

use crate::{
    atomic::add,
    emit::{count_failure, current_cgroup},
    maps::{CALLS, SELECTED},
    offsets::offset,
};

/// `thread_info.status`: the call that is being made came by the 32-bit ABI (arch/x86/include/asm/thread_info.h).
const TS_COMPAT: u32 = 2;
/// Results from `-MAX_ERRNO` to -1 are errors (include/linux/err.h).
const MAX_ERRNO: u64 = 4095;

/// kernel: TP_PROTO(struct pt_regs *regs, long ret)
#[btf_tracepoint(function = "sys_exit")]
pub(crate) fn sys_exit(context: BtfTracePointContext) -> i32 {
    // SAFETY: a value is a word, which the daemon replaces as a whole.
    if let Some(account) = unsafe { SELECTED.get(&current_cgroup()) } {
        count(*account, context.arg(0), context.arg(1));
    }
    0
}

/// A cgroup was made: what runs in it is counted from its first call on, until the daemon knows whose it is.
#[inline(always)]
pub(crate) fn cgroup_made(cgroup: CgroupId) {
    // SAFETY: as in `sys_exit`.
    if unsafe { SELECTED.get(&NEW_CGROUPS) }.is_some()
        && SELECTED.insert(&cgroup, &cgroup, u64::from(BPF_NOEXIST)).is_err()
    {
        count_failure(failure::SYSCALLS_OVERFULL);
    }
}

#[inline(always)]
fn count(account: CgroupId, regs: *const c_void, result: i64) {
    let abi = current_abi();
    let offset = offset!(regs_orig_ax);
    // SAFETY: the kernel passes the registers of the call that ends.
    let orig_ax: u64 = unsafe { load(regs, offset) };
    // The kernel goes by the lower half, whatever the program left in the upper one.
    let number = orig_ax as i32;
    let (forks, signal_return) = tables(abi);
    if number == -1 {
        return bump(CallKey { account, number: signal_return, errno: 0, abi });
    }
    let number = if (number as u32 as u64) < FIRST_UNKNOWN { number as u16 } else { UNKNOWN_NUMBER };
    // The new task comes out of a call that it never made.
    if result == 0 && forks.contains(&number) {
        return;
    }
    let result = if abi == abi::COMPAT { i64::from(result as i32) } else { result };
    bump(CallKey { account, number, errno: errno(result), abi });
}

/// Which table of numbers the current call was made by.
#[inline(always)]
fn current_abi() -> u32 {
    let offset = offset!(task_thread_info) + offset!(thread_status);
    // SAFETY: a helper without arguments; what it returns is the current task, which lives while it runs this.
    let status: u32 = unsafe { load(bpf_get_current_task_btf().cast_const().cast(), offset) };
    if status & TS_COMPAT != 0 { abi::COMPAT } else { abi::NATIVE }
}

#[inline(always)]
fn tables(abi: u32) -> ([u16; 4], u16) {
    if abi == abi::COMPAT { (FORKS[1], SIGNAL_RETURN[1]) } else { (FORKS[0], SIGNAL_RETURN[0]) }
}

/// What a result means; 0 where it is none of an error.
#[inline(always)]
fn errno(result: i64) -> u16 {
    let code = result.unsigned_abs();
    if result >= 0 || code > MAX_ERRNO {
        0
    } else if RESTART_CODES.contains(&code) {
        ERESTART
    } else if code > LARGEST_ERRNO {
        OTHER
    } else {
        code as u16
    }
}

/// Counts one call; a full table folds, it never evicts.
#[inline(always)]
fn bump(key: CallKey) {
    if found(&key) || CALLS.insert(&key, &1, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    // Either another CPU was first, or the table is full.
    if found(&key) {
        return;
    }
    if found(&CallKey::other(key.account, key.errno != 0)) {
        count_failure(failure::SYSCALLS_FULL);
    } else {
        count_failure(failure::SYSCALLS_OVERFULL);
    }
}

#[inline(always)]
fn found(key: &CallKey) -> bool {
    match CALLS.get_ptr_mut(key) {
        // SAFETY: a value is only ever added to; the daemon removes those that nobody counts into any more.
        Some(count) => {
            add(unsafe { &mut *count }, 1);
            true
        }
        None => false,
    }
}

/// Reads a field of a structure that the verifier knows the type of: a load, without a helper call.
///
/// # Safety
/// `pointer` must come from the kernel as such a structure, `offset` must be known to the verifier as a constant.
#[inline(always)]
unsafe fn load<T: Copy>(pointer: *const c_void, offset: u32) -> T {
    // SAFETY: the verifier refuses the program unless the field is there; memory that is gone reads as zero.
    unsafe { ptr::read_volatile(pointer.cast::<u8>().add(offset as usize).cast()) }
}
