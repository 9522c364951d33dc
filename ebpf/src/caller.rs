//! Whose call it was that a policy denies, or would.
//!
//! Fail direction: none, it is only told. Where it is not sure, nothing is.

use core::ptr;

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel};
use cofferdam_common::{
    ids::CgroupId,
    network::{PROTOCOL_UDP, PROTOCOL_UDPLITE},
    policy::{VerdictRecord, layer},
    process::{COMMAND_LIMIT, Caller},
};

use crate::{
    container,
    offsets::{KernelPointer, offset},
    process::{parent, start_time, tgid},
};

/// The cgroup of a task in the v2 hierarchy. Not by its helper, which not all programs may call before 6.10.
#[inline(always)]
fn cgroup(task: KernelPointer) -> Option<CgroupId> {
    container::id(task.follow(offset!(task_cgroups))?.follow(offset!(css_set_dfl_cgrp))?)
}

/// Writes into a record, of which all else is written, the process that tries it. A function of its own, for the stack is
/// small.
#[inline(never)]
pub(crate) fn fill(record: &mut VerdictRecord) {
    let VerdictRecord { header, source, layer, protocol, caller, .. } = record;
    let words = ptr::from_mut(caller).cast::<u64>();
    for word in 0..size_of::<Caller>() / size_of::<u64>() {
        // SAFETY: a whole number of aligned words. One by one: a call of `memset` would be one frame too many on the stack.
        unsafe { words.add(word).write_volatile(0) };
    }
    // This kernel lacks one of the fields.
    if offset!(task_group_leader) == 0 {
        return;
    }
    // SAFETY: a helper without arguments.
    let task = KernelPointer(unsafe { bpf_get_current_task() } as *const _);
    let is_meant = match *layer {
        layer::CONNECT => true,
        // He may use the socket of another, as whose it is told.
        layer::LSM => header.cgroup == *source,
        // All else the kernel sends of itself as well, whoever runs meanwhile. These it sends within a call, but for threads of
        // its own, which have no memory.
        layer::EGRESS if matches!(*protocol, PROTOCOL_UDP | PROTOCOL_UDPLITE) => {
            task.follow(offset!(task_mm)).is_some() && cgroup(task) == Some(header.cgroup)
        }
        _ => false,
    };
    if !is_meant {
        return;
    }
    let Some(leader) = task.follow(offset!(task_group_leader)) else { return };
    let Some(uid) = task.follow(offset!(task_cred)).and_then(|cred| cred.read(offset!(cred_uid))) else {
        return;
    };
    caller.uid = uid;
    caller.start_time = start_time(leader);
    let at = offset!(task_comm) as usize;
    // SAFETY: the helper writes as much as it is told, or fails.
    unsafe {
        let command = leader.0.cast::<u8>().add(at);
        bpf_probe_read_kernel((&raw mut caller.command).cast(), COMMAND_LIMIT as u32, command.cast());
    }
    caller.parent = parent(leader);
    caller.tgid = tgid(leader);
}
