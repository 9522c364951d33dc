//! Whose call it was that a policy denies, or would.
//!
//! Fail direction: none, it is only told. Where it is not sure, nothing is.

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_probe_read_kernel};
use cofferdam_common::{
    ids::{CgroupId, Tgid},
    network::{PROTOCOL_SCTP, PROTOCOL_TCP},
    policy::{VerdictRecord, layer},
    process::COMMAND_LIMIT,
};

use crate::{
    container,
    offsets::{KernelPointer, offset},
    process::{start_time, tgid},
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
    let VerdictRecord { header, layer, protocol, caller, .. } = record;
    caller.tgid = Tgid(0);
    caller.uid = 0;
    caller.start_time = 0;
    caller.command = [0; COMMAND_LIMIT];
    // SAFETY: a helper without arguments.
    let task = KernelPointer(unsafe { bpf_get_current_task() } as *const _);
    let is_meant = match *layer {
        layer::CONNECT | layer::LSM => true,
        // These the kernel sends of itself as well, whoever runs meanwhile. All else is sent within a call, and not by a thread
        // of the kernel's, which has no memory of its own.
        layer::EGRESS if !matches!(*protocol, PROTOCOL_TCP | PROTOCOL_SCTP) => {
            task.follow(offset!(task_mm)).is_some() && cgroup(task) == Some(header.cgroup)
        }
        _ => false,
    };
    if !is_meant {
        return;
    }
    caller.tgid = tgid(task);
    caller.start_time = start_time(task);
    caller.uid = task.follow(offset!(task_cred)).and_then(|cred| cred.read(offset!(cred_uid))).unwrap_or(0);
    // SAFETY: the helper writes as much as it is told, or fails.
    unsafe {
        let command = task.0.cast::<u8>().add(offset!(task_comm) as usize);
        bpf_probe_read_kernel((&raw mut caller.command).cast(), COMMAND_LIMIT as u32, command.cast());
    }
}
