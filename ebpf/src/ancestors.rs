//! Which cgroup above another speaks for it: a container for all that lies below its own.

use aya_ebpf::{
    helpers::generated::{bpf_get_current_ancestor_cgroup_id, bpf_skb_ancestor_cgroup_id},
    programs::SkBuffContext,
};
use cofferdam_common::{ids::CgroupId, policy::LEVELS};

use crate::{
    container,
    offsets::{KernelPointer, offset},
};

/// Bytes of a pointer in the kernel.
const POINTER: u32 = 8;

/// What `find` first finds of the cgroups above the one of a packet's socket, from the root on.
#[inline(always)]
pub(crate) fn of_socket<T>(
    context: &SkBuffContext,
    cgroup: CgroupId,
    find: impl Fn(CgroupId) -> Option<T>,
) -> Option<T> {
    // SAFETY: the context is valid for the whole program.
    search(cgroup, |level| unsafe { bpf_skb_ancestor_cgroup_id(context.skb.skb, level) }, find)
}

/// The same of the current task's.
#[inline(always)]
pub(crate) fn of_current<T>(cgroup: CgroupId, find: impl Fn(CgroupId) -> Option<T>) -> Option<T> {
    // SAFETY: a helper that takes a number.
    search(cgroup, |level| unsafe { bpf_get_current_ancestor_cgroup_id(level) }, find)
}

/// The same of a cgroup that a structure of the kernel's points to.
#[inline(always)]
pub(crate) fn of_cgroup<T>(
    pointer: KernelPointer,
    cgroup: CgroupId,
    find: impl Fn(CgroupId) -> Option<T>,
) -> Option<T> {
    let deepest: i32 = pointer.read(offset!(cgroup_level))?;
    // kernel: cgroup_ancestor()
    let at = |level: i32| pointer.follow(offset!(cgroup_ancestors) + level as u32 * POINTER);
    let above = |level| (level <= deepest).then(|| container::id(at(level)?)).flatten();
    search(cgroup, |level| above(level).unwrap_or(CgroupId::NONE).0, find)
}

#[inline(always)]
fn search<T>(
    cgroup: CgroupId,
    above: impl Fn(i32) -> u64,
    find: impl Fn(CgroupId) -> Option<T>,
) -> Option<T> {
    for level in 1..LEVELS as i32 {
        let ancestor = CgroupId(above(level));
        if ancestor == CgroupId::NONE || ancestor == cgroup {
            break;
        }
        if let Some(found) = find(ancestor) {
            return Some(found);
        }
    }
    None
}
