//! The table of hooks: where each attaches, and what nobody sees without it. A tidy test compares it with the
//! programs in `ebpf`.

/// How a hook is attached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Attach {
    /// A tracepoint with BTF, by the hook's name.
    Tracepoint,
    /// At the root of the v2 tree, for packets that sockets send.
    CgroupEgress,
    /// At the root of the v2 tree, for packets that sockets receive.
    CgroupIngress,
    /// At the root of the v2 tree, for system calls that name an address; which, the hook's name says.
    CgroupAddress,
    /// At the host's end of each virtual Ethernet link, for what the container sends.
    VethIngress,
    /// Likewise, for what the container receives.
    VethEgress,
    /// Among the security modules, at the hook's name; which kernels do that only if they are told to.
    Lsm,
}

impl Attach {
    /// The kernel's word for it.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Tracepoint => "tp_btf",
            Self::CgroupEgress | Self::CgroupIngress => "cgroup_skb",
            Self::CgroupAddress => "cgroup_sock_addr",
            Self::VethIngress | Self::VethEgress => "sched_cls",
            Self::Lsm => "lsm",
        }
    }

    /// Whether a host may do without it: who is not wholly judged then is told as `partial`.
    #[must_use]
    pub fn is_optional(self) -> bool {
        matches!(self, Self::Lsm)
    }

    /// Whether it is attached to links, as they come and go.
    #[must_use]
    pub fn is_at_links(self) -> bool {
        matches!(self, Self::VethIngress | Self::VethEgress)
    }
}

/// One hook.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// Name of the program, and of the tracepoint.
    pub name: &'static str,
    /// How it is attached.
    pub attach: Attach,
    /// The family that it serves.
    pub family: &'static str,
    /// The first kernel that has all it needs.
    pub min_kernel: &'static str,
    /// What nobody sees while it is not attached.
    pub without: &'static str,
    /// Why it is off where no feature in use needs it; `None` for those that are always attached.
    pub off: Option<&'static str>,
}

/// Every hook, in the order in which they are attached: what names things comes before what needs names.
pub const HOOKS: [Hook; 16] = [
    Hook {
        name: "cgroup_mkdir",
        attach: Attach::Tracepoint,
        family: "container",
        min_kernel: "5.8",
        without: "new containers are noticed late, by walking the cgroup tree",
        off: None,
    },
    Hook {
        name: "cgroup_rmdir",
        attach: Attach::Tracepoint,
        family: "container",
        min_kernel: "5.8",
        without: "removed containers stay listed",
        off: None,
    },
    Hook {
        name: "cgroup_attach_task",
        attach: Attach::Tracepoint,
        family: "container",
        min_kernel: "5.8",
        without: "a process that enters a running container is not reported",
        off: None,
    },
    Hook {
        name: "sched_process_fork",
        attach: Attach::Tracepoint,
        family: "process",
        min_kernel: "5.8",
        without: "new processes are not reported",
        off: None,
    },
    Hook {
        name: "sched_process_exec",
        attach: Attach::Tracepoint,
        family: "process",
        min_kernel: "5.8",
        without: "programs that start are not reported",
        off: None,
    },
    Hook {
        name: "sched_process_exit",
        attach: Attach::Tracepoint,
        family: "process",
        min_kernel: "5.8",
        without: "processes that end are not reported",
        off: None,
    },
    Hook {
        name: "cgroup_skb_ingress",
        attach: Attach::CgroupIngress,
        family: "network",
        min_kernel: "5.13",
        without: "who talks to whom is unknown",
        off: None,
    },
    Hook {
        name: "cgroup_skb_egress",
        attach: Attach::CgroupEgress,
        family: "network",
        min_kernel: "5.13",
        without: "who talks to whom is unknown",
        off: None,
    },
    // Every process of the host pays for this one at each of its calls.
    Hook {
        name: "sys_exit",
        attach: Attach::Tracepoint,
        family: "syscall",
        min_kernel: "5.11",
        without: "system calls are not counted",
        off: Some("nothing selects it"),
    },
    Hook {
        name: "inet_sk_error_report",
        attach: Attach::Tracepoint,
        family: "network",
        min_kernel: "5.14",
        without: "unreachable targets count as unanswered, and only after a while",
        off: None,
    },
    CONNECT4,
    Hook { name: "connect6", ..CONNECT4 },
    VETH_INGRESS,
    Hook {
        name: "veth_egress",
        attach: Attach::VethEgress,
        without: "AF_PACKET frames of whoever shares the host's network are not judged",
        ..VETH_INGRESS
    },
    SOCKET_SENDMSG,
    Hook { name: "socket_create", ..SOCKET_SENDMSG },
];

/// The first of those among the security modules.
const SOCKET_SENDMSG: Hook = Hook {
    name: "socket_sendmsg",
    attach: Attach::Lsm,
    family: "policy",
    min_kernel: "6.1",
    without: "AF_PACKET frames that leave by the host's own interface, or by macvlan or ipvlan, are not judged",
    off: Some("no policy is in force"),
};

/// The first of the links' ends.
const VETH_INGRESS: Hook = Hook {
    name: "veth_ingress",
    attach: Attach::VethIngress,
    family: "policy",
    min_kernel: "5.13",
    without: "what no socket sends is not judged: AF_PACKET, TUN, forwarded and forged packets",
    off: Some("no policy is in force"),
};

/// `connect` of IPv4; the other is that of IPv6.
const CONNECT4: Hook = Hook {
    name: "connect4",
    attach: Attach::CgroupAddress,
    family: "policy",
    min_kernel: "5.13",
    without: "who is denied waits for an answer instead of being told",
    off: Some("no policy is in force"),
};
