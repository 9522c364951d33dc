//! Events as sentences for people. Everything that goes in was made harmless before.

use std::fmt::Write as _;

use crate::event::{CgroupChange, CgroupEvent, DnsAnswer, EventKind, Exec, Exit, FlowEnd, FlowEvent};

/// Longest command that a sentence quotes, in bytes.
const COMMAND_LIMIT: usize = 200;

/// Most addresses of a name that a sentence lists.
const ADDRESSES_SHOWN: usize = 4;

/// `shop/web -> shop/db tcp/5432 opened`.
pub(super) fn of(kind: &EventKind) -> String {
    match kind {
        EventKind::ProcessFork(fork) => {
            format!("{}: process {} made process {}", fork.workload, fork.parent.pid, fork.process.pid)
        }
        EventKind::ProcessExec(exec) => format!("{} ran {}", exec.workload, command(exec)),
        EventKind::ProcessExit(exit) => {
            format!("{}: process {} {}", exit.workload, exit.process.pid, fate(exit))
        }
        EventKind::FlowOpen(flow) => format!("{} opened", ends(flow)),
        EventKind::FlowClose(flow) => format!("{} {}", ends(flow), close(flow)),
        EventKind::DnsAnswer(answer) => dns(answer),
        EventKind::Cgroup(change) => cgroup(change),
        EventKind::Denial(denial) => denial.to_string(),
        EventKind::Alert(alert) => alert.to_string(),
        EventKind::Lost(lost) => lost.to_string(),
    }
}

fn command(exec: &Exec) -> String {
    let mut command = exec.process.executable.clone().unwrap_or_default();
    for argument in exec.args.iter().skip(1) {
        command.push(' ');
        command.push_str(argument);
    }
    if command.len() > COMMAND_LIMIT {
        while command.len() > COMMAND_LIMIT && command.pop().is_some() {}
        command.push('…');
    } else if exec.args_truncated {
        command.push_str(" …");
    }
    command
}

fn fate(exit: &Exit) -> String {
    match (exit.signal, exit.code) {
        (Some(signal), _) => format!("was killed by signal {signal}"),
        (None, Some(code)) => format!("exited with {code}"),
        (None, None) => "ended".to_owned(),
    }
}

fn ends(flow: &FlowEvent) -> String {
    let (source, target) = (&flow.source.workload, &flow.target.workload);
    format!("{source} -> {target} {}", flow.protocol.service(flow.target.port))
}

fn close(flow: &FlowEvent) -> String {
    let how = match flow.end {
        Some(FlowEnd::Refused) => return "refused".to_owned(),
        Some(FlowEnd::Unanswered) => return "got no answer".to_owned(),
        Some(FlowEnd::Unreachable) => return "found no way to its target".to_owned(),
        Some(FlowEnd::Aborted) => return "was given up before it opened".to_owned(),
        Some(FlowEnd::TimedOut) => "got no more answer",
        Some(FlowEnd::Reset) => "was reset",
        Some(FlowEnd::Idle) => "fell silent",
        Some(FlowEnd::Gone) => "ended with its container",
        Some(FlowEnd::Closed) | None => "closed",
    };
    let mut sentence = how.to_owned();
    if let Some(seconds) = flow.duration_seconds {
        // Writing to a string cannot fail.
        let _ = write!(sentence, " after {seconds:.3} s");
    }
    let _ = write!(sentence, ", {} bytes sent, {} received", flow.bytes_sent, flow.bytes_received);
    sentence
}

fn dns(answer: &DnsAnswer) -> String {
    let DnsAnswer { workload, resolver, .. } = answer;
    let (Some(name), Some(record_type)) = (&answer.name, &answer.record_type) else {
        return format!("{workload} got an answer from {} that is no DNS", resolver.workload);
    };
    let mut addresses: Vec<_> =
        answer.addresses.iter().take(ADDRESSES_SHOWN).map(ToString::to_string).collect();
    if answer.addresses.len() > ADDRESSES_SHOWN {
        addresses.push("…".to_owned());
    }
    if addresses.is_empty() {
        return format!("{workload} looked up {name} ({record_type})");
    }
    format!("{workload} looked up {name}: {}", addresses.join(", "))
}

fn cgroup(event: &CgroupEvent) -> String {
    let workload = &event.workload;
    let path = event.path.clone().unwrap_or_else(|| event.cgroup_id.to_string());
    match (event.change, event.pid) {
        (CgroupChange::Made, _) => format!("{workload}: cgroup {path} was made"),
        (CgroupChange::Removed, _) => format!("{workload}: cgroup {path} was removed"),
        (CgroupChange::Attached, Some(pid)) => {
            format!("{workload}: process {pid} was moved into cgroup {path}")
        }
        (CgroupChange::Attached, None) => format!("{workload}: a process was moved into cgroup {path}"),
    }
}
