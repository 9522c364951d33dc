//! Reads kernel structures at the offsets that the daemon found in the running kernel's BTF.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use cofferdam_common::offsets::Offsets;

/// Set by the daemon before it loads the programs (`EbpfLoader::override_global`), so that the verifier knows
/// each as a constant.
#[unsafe(no_mangle)]
pub(crate) static OFFSETS: Offsets = Offsets {
    task_pid: 0,
    task_tgid: 0,
    task_start_boottime: 0,
    task_real_parent: 0,
    task_mm: 0,
    task_exit_code: 0,
    task_signal: 0,
    signal_live: 0,
    mm_arg_start: 0,
    mm_arg_end: 0,
    binprm_filename: 0,
    cgroup_kn: 0,
    kernfs_id: 0,
    cgroup_root: 0,
    root_hierarchy: 0,
    sock_net: 0,
    sock_family: 0,
    sock_sport: 0,
    sock_dport: 0,
    sock_rcv_saddr: 0,
    sock_daddr: 0,
    sock_v6_rcv_saddr: 0,
    sock_v6_daddr: 0,
    sock_protocol: 0,
    sock_err: 0,
    regs_orig_ax: 0,
    task_thread_info: 0,
    thread_status: 0,
    sock_socket: 0,
    socket_file: 0,
    socket_sk: 0,
    sock_cgrp_data: 0,
    cgrp_data_cgroup: 0,
    task_group_leader: 0,
    task_comm: 0,
    task_cred: 0,
    cred_uid: 0,
    task_cgroups: 0,
    css_set_dfl_cgrp: 0,
    cgroup_level: 0,
    cgroup_ancestors: 0,
};

/// The offset of one field in the running kernel.
///
/// Volatile, so that the compiler does not fold the zeros it sees; one field, so that no others are read.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a valid, aligned static.
        unsafe { core::ptr::read_volatile(&raw const $crate::offsets::OFFSETS.$field) }
    };
}
pub(crate) use offset;

/// A pointer into the kernel, only ever followed by `bpf_probe_read_kernel`, which checks it.
#[derive(Clone, Copy)]
pub(crate) struct KernelPointer(pub(crate) *const c_void);

impl KernelPointer {
    /// Reads `T` at `offset` bytes; `None` where the memory cannot be read.
    #[inline(always)]
    pub(crate) fn read<T: Copy + Default>(self, offset: u32) -> Option<T> {
        let mut value = T::default();
        // SAFETY: the helper writes size_of::<T>() bytes into `value` or fails; any source address may be given.
        let result = unsafe {
            bpf_probe_read_kernel(
                ptr::from_mut(&mut value).cast(),
                size_of::<T>() as u32,
                self.0.cast::<u8>().add(offset as usize).cast(),
            )
        };
        (result == 0).then_some(value)
    }

    /// Follows the pointer that lies at `offset` bytes.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u32) -> Option<Self> {
        let address: u64 = self.read(offset)?;
        (address != 0).then_some(Self(address as *const c_void))
    }
}
