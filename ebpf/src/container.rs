//! Family container: cgroups of the v2 hierarchy are made, removed and joined, without polling.
//!
//! Fail direction: none, these hooks only watch.

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::{
    helpers::generated::bpf_probe_read_kernel_str, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use cofferdam_common::{
    container::{AttachRecord, CGROUP_PATH_LIMIT, CgroupRecord},
    ids::CgroupId,
    record::{Header, family, kind},
};

use crate::{
    budget::account_of_current,
    emit::{current_cgroup, emit, header},
    maps::SECURITY_RECORDS,
    offsets::{KernelPointer, offset},
    process::tgid,
    syscall,
};

/// kernel: TP_PROTO(struct cgroup *cgrp, const char *path)
#[btf_tracepoint(function = "cgroup_mkdir")]
pub(crate) fn cgroup_mkdir(context: BtfTracePointContext) -> i32 {
    let Some(subject) = id(KernelPointer(context.arg(0))) else { return 0 };
    syscall::cgroup_made(subject);
    report(kind::CGROUP_MADE, subject, KernelPointer(context.arg(1)));
    0
}

/// kernel: TP_PROTO(struct cgroup *cgrp, const char *path)
#[btf_tracepoint(function = "cgroup_rmdir")]
pub(crate) fn cgroup_rmdir(context: BtfTracePointContext) -> i32 {
    if let Some(subject) = id(KernelPointer(context.arg(0))) {
        report(kind::CGROUP_REMOVED, subject, KernelPointer(context.arg(1)));
    }
    0
}

/// kernel: TP_PROTO(struct cgroup *dst_cgrp, const char *path, struct task_struct *task, bool threadgroup)
#[btf_tracepoint(function = "cgroup_attach_task")]
pub(crate) fn cgroup_attach_task(context: BtfTracePointContext) -> i32 {
    let Some(subject) = id(KernelPointer(context.arg(0))) else { return 0 };
    let task = KernelPointer(context.arg(2));
    // Who moves it pays, and not the cgroup that it is moved to.
    let cgroup = current_cgroup();
    emit::<AttachRecord>(&SECURITY_RECORDS, family::CONTAINER, account_of_current(cgroup), |entry, now| {
        entry.write(AttachRecord {
            header: header(kind::CGROUP_ATTACHED, cgroup, now),
            subject,
            tgid: tgid(task),
            padding: 0,
        });
    });
    0
}

#[inline(always)]
fn report(kind: u32, subject: CgroupId, path: KernelPointer) {
    let cgroup = current_cgroup();
    emit::<CgroupRecord>(&SECURITY_RECORDS, family::CONTAINER, account_of_current(cgroup), |entry, now| {
        fill(entry, header(kind, cgroup, now), subject, path);
    });
}

#[inline(always)]
fn fill(entry: &mut MaybeUninit<CgroupRecord>, header: Header, subject: CgroupId, path: KernelPointer) {
    let record = entry.as_mut_ptr();
    // SAFETY: the ring handed out memory for one record, which is cleared, so that every byte is written; the
    // helper writes at most the size of the path, the last byte NUL, or fails.
    unsafe {
        ptr::write_bytes(record, 0, 1);
        (*record).header = header;
        (*record).subject = subject;
        let buffer = ptr::addr_of_mut!((*record).path);
        let length = bpf_probe_read_kernel_str(buffer.cast(), CGROUP_PATH_LIMIT as u32, path.0);
        (*record).path_length = if length > 0 { (length - 1) as u32 } else { 0 };
    }
}

/// The id of a cgroup of the v2 hierarchy, whose number is 0 (as in /proc/PID/cgroup); `None` for those of v1.
#[inline(always)]
pub(crate) fn id(cgroup: KernelPointer) -> Option<CgroupId> {
    let hierarchy: i32 = cgroup.follow(offset!(cgroup_root))?.read(offset!(root_hierarchy))?;
    if hierarchy != 0 {
        return None;
    }
    cgroup.follow(offset!(cgroup_kn))?.read(offset!(kernfs_id)).map(CgroupId)
}
