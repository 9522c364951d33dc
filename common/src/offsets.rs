//! Where fields of the running kernel's structures lie. The daemon reads them from BTF and hands them over.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Byte offsets of structure members (`structure_member`) in the running kernel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct Offsets {
    /// `task_struct.pid`
    pub task_pid: u32,
    /// `task_struct.tgid`
    pub task_tgid: u32,
    /// `task_struct.start_boottime` (`real_start_time` before 5.5)
    pub task_start_boottime: u32,
    /// `task_struct.real_parent`
    pub task_real_parent: u32,
    /// `task_struct.mm`
    pub task_mm: u32,
    /// `task_struct.exit_code`
    pub task_exit_code: u32,
    /// `task_struct.signal`
    pub task_signal: u32,
    /// `signal_struct.live`
    pub signal_live: u32,
    /// `mm_struct.arg_start`
    pub mm_arg_start: u32,
    /// `mm_struct.arg_end`
    pub mm_arg_end: u32,
    /// `linux_binprm.filename`
    pub binprm_filename: u32,
    /// `cgroup.kn`
    pub cgroup_kn: u32,
    /// `kernfs_node.id`
    pub kernfs_id: u32,
    /// `cgroup.root`
    pub cgroup_root: u32,
    /// `cgroup_root.hierarchy_id`
    pub root_hierarchy: u32,
    /// `sock_common.skc_net`
    pub sock_net: u32,
    /// `sock_common.skc_family`
    pub sock_family: u32,
    /// `inet_sock.inet_sport`: the socket's own port, network order
    pub sock_sport: u32,
    /// `sock_common.skc_dport`: the other end's port, network order
    pub sock_dport: u32,
    /// `sock_common.skc_rcv_saddr`
    pub sock_rcv_saddr: u32,
    /// `sock_common.skc_daddr`
    pub sock_daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`
    pub sock_v6_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`
    pub sock_v6_daddr: u32,
    /// `sock.sk_protocol`
    pub sock_protocol: u32,
    /// `sock.sk_err`
    pub sock_err: u32,
    /// `pt_regs.orig_ax`
    pub regs_orig_ax: u32,
    /// `task_struct.thread_info`
    pub task_thread_info: u32,
    /// `thread_info.status`
    pub thread_status: u32,
    /// `sock.sk_socket`
    pub sock_socket: u32,
    /// `socket.file`
    pub socket_file: u32,
    /// `socket.sk`
    pub socket_sk: u32,
    /// `sock.sk_cgrp_data`
    pub sock_cgrp_data: u32,
    /// `sock_cgroup_data.cgroup`
    pub cgrp_data_cgroup: u32,
    /// `task_struct.group_leader`; 0 where one of those is missing that tell whose call it was
    pub task_group_leader: u32,
    /// `task_struct.comm`
    pub task_comm: u32,
    /// `task_struct.cred`
    pub task_cred: u32,
    /// `cred.uid`
    pub cred_uid: u32,
    /// `task_struct.cgroups`
    pub task_cgroups: u32,
    /// `css_set.dfl_cgrp`: its cgroup of the v2 hierarchy
    pub css_set_dfl_cgrp: u32,
    /// `cgroup.level`
    pub cgroup_level: u32,
    /// `cgroup.ancestors`: pointers, by level
    pub cgroup_ancestors: u32,
}
