//! Edges and counts that tests speak about.

use crate::{
    enforcement::{Deviation, Shadowed, Shadowing},
    event::{Direction, Protocol, Verdict},
    interaction::{Edge, Failed, Verdicts},
    policy::{diff::Decided, explain::Why},
    sensor::counts::{Counters, Family, HookStatus, Named, Use},
    sink::samples::{api, web},
    syscall::{Abi, Syscall},
};

/// `shop/web` to `shop/api`, tcp/8080.
pub(crate) fn edge() -> Edge {
    Edge {
        source: web(),
        target: api(),
        protocol: Protocol::Tcp,
        port: 8_080,
        via: None,
        flows: 412,
        attempts: 415,
        failed: Failed { refused: 3, ..Failed::default() },
        bytes_sent: 1_200_000,
        bytes_received: 9_800_000,
        packets_sent: 4_000,
        packets_received: 8_000,
        verdicts: Verdicts { allow: 415, audit: 0, deny: 0 },
        first_seen: "2026-11-24T09:00:00Z".parse().expect("a time"),
        last_seen: "2026-11-24T10:00:00Z".parse().expect("a time"),
        last_denied: None,
    }
}

/// Of `edge`, three attempts would have been denied, by no rule.
pub(crate) fn shadowed() -> Shadowed {
    let Edge { source, target, protocol, port, last_seen, .. } = edge();
    let would_be =
        Decided { verdict: Verdict::Deny, why: Why::Default, direction: Direction::Ingress, rule: None };
    let finding =
        Deviation { source, target, protocol, port, was: Verdict::Allow, would_be, attempts: 3, last_seen };
    Shadowed {
        shadowing: Shadowing { files: Vec::new(), since: last_seen, of: Vec::new() },
        interactions: 1,
        findings: vec![finding],
        left_out: 0,
        not_judged: 0,
    }
}

/// `openat` of `shop/web`.
pub(crate) fn syscall() -> Syscall {
    Syscall {
        workload: web(),
        syscall: "openat".to_owned(),
        abi: Abi::X86_64,
        calls: 1_204,
        errors: 17,
        errnos: [("ENOENT".to_owned(), 15), ("EACCES".to_owned(), 2)].into(),
    }
}

pub(crate) fn counters() -> Counters {
    let named = |name: &str| name.to_owned();
    Counters {
        families: vec![Family { family: named("network"), issued: 1_000, shed: 40, lost: 17 }],
        failures: vec![Named { name: named("ledger_full"), count: 2 }],
        rings: vec![Use { name: named("network"), used: 4_096, capacity: 1 << 20 }],
        maps: vec![Use { name: named("ledger"), used: 31, capacity: 16_384 }],
    }
}

pub(crate) fn hooks() -> Vec<HookStatus> {
    let hook = |name: &str, kind: &str, family: &str, refused: Option<&str>, without: &str| HookStatus {
        name: name.to_owned(),
        kind: kind.to_owned(),
        family: family.to_owned(),
        refused: refused.map(str::to_owned),
        off: None,
        optional: false,
        without: without.to_owned(),
        min_kernel: "5.8".to_owned(),
    };
    vec![
        hook("cgroup_skb_egress", "cgroup_skb", "network", None, "who talks to whom is unknown"),
        hook(
            "sched_process_exec",
            "tp_btf",
            "process",
            Some("the kernel has no BTF"),
            "programs that start are not reported",
        ),
        HookStatus {
            off: Some("nothing selects it".to_owned()),
            ..hook("sys_exit", "tp_btf", "syscall", None, "system calls are not counted")
        },
    ]
}
