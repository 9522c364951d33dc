//! A record becomes an event. Touches memory only; what the record tells is learned on the way.

use std::{net::SocketAddr, sync::Arc, sync::atomic::Ordering};

use cofferdam_common::{
    container::{AttachRecord, CGROUP_PATH_LIMIT, CgroupRecord},
    dns::{DNS_PORT, DnsRecord},
    ids::{Address, CgroupId, Tgid},
    network::{FlowRecord, Party, VERDICT_AUDIT, VERDICT_DENY, VERDICT_HOLD, end},
    policy::{EGRESS, Judgement, VerdictRecord, layer, why},
    process::{self, ExecRecord, ExitRecord, ForkRecord},
};

use super::{
    Attribution,
    cgroup::{Place, identify},
    counts::DnsOutcome,
    dns, sentence,
    text::{ARGUMENT_LIMIT, PATH_LIMIT, clean_bytes},
};
use crate::{
    event::{
        Caller, CgroupChange, CgroupEvent, Denial, Direction, DnsAnswer, Endpoint, Event, EventKind, Exec,
        Exit, FlowEnd, FlowEvent, Fork, Protocol, Reason, SCHEMA_VERSION, Verdict, Workload, WorkloadKind,
    },
    sensor::{clock::Clock, record::Record},
};

impl Attribution {
    /// Who did it, to whom, with names; `seq` is the event's place in the stream. Never waits for anything but
    /// short-held locks.
    #[must_use]
    pub fn attribute(&self, record: &Record, clock: &Clock, seq: u64) -> Event {
        let (time, kind) = match record {
            Record::Fork(record) => (record.header.time, self.fork(record)),
            Record::Exec(record) => (record.header.time, self.exec(record)),
            Record::Exit(record) => (record.header.time, self.exit(record)),
            Record::FlowOpen(record) => (record.header.time, EventKind::FlowOpen(self.flow(record, false))),
            Record::FlowClose(record) => (record.header.time, EventKind::FlowClose(self.flow(record, true))),
            Record::DnsAnswer(record) => (record.header.time, self.dns_answer(record)),
            Record::Verdict(record) => (record.header.time, EventKind::Denial(self.denial(record))),
            Record::CgroupMade(record) => (record.header.time, self.cgroup_made(record)),
            Record::CgroupRemoved(record) => (record.header.time, self.cgroup_removed(record)),
            Record::CgroupAttached(record) => (record.header.time, self.cgroup_attached(record)),
        };
        if kind.workloads().iter().any(|workload| workload.kind == WorkloadKind::Unknown) {
            self.unattributed.fetch_add(1, Ordering::Relaxed);
        }
        let message = sentence::of(&kind);
        Event { schema_version: SCHEMA_VERSION, seq, time: clock.from_boot(time), message, kind }
    }

    fn fork(&self, record: &ForkRecord) -> EventKind {
        let workload = self.workload(record.header.cgroup);
        let (process, parent) = self.processes().forked(record.tgid, record.start_time, record.parent);
        EventKind::ProcessFork(Fork { workload, process, parent })
    }

    fn exec(&self, record: &ExecRecord) -> EventKind {
        let workload = self.workload(record.header.cgroup);
        let path = clean_bytes(used(&record.path, record.path_length.into()), PATH_LIMIT);
        let args = used(&record.args, record.args_length.into());
        let args_truncated = record.args_total > u32::from(record.args_length);
        let mut processes = self.processes();
        let process = processes.executed(record.tgid, record.start_time, &path, record.parent);
        let parent = processes.parent(record.parent);
        drop(processes);
        let args = arguments(args);
        EventKind::ProcessExec(Exec {
            workload,
            process,
            parent,
            args,
            args_truncated,
            uid: record.uid,
            gid: record.gid,
        })
    }

    fn exit(&self, record: &ExitRecord) -> EventKind {
        let workload = self.workload(record.header.cgroup);
        let process = self.processes().exited(record.tgid, record.start_time);
        let [low, high, ..] = record.status.to_le_bytes();
        let (code, signal) = match low & 0x7f {
            0 => (Some(high), None),
            signal => (None, Some(signal)),
        };
        EventKind::ProcessExit(Exit { workload, process, code, signal })
    }

    fn flow(&self, record: &FlowRecord, closed: bool) -> FlowEvent {
        let (source, target) = self.parties(
            &Party::new(record.client, &record.client_address),
            &Party::new(record.server, &record.server_address),
        );
        let dialled = (record.dialled != Address::NONE)
            .then(|| SocketAddr::new(record.dialled.into(), record.dialled_port));
        let open_for = record.header.time.saturating_sub(record.opened_at);
        FlowEvent {
            source: endpoint(source, record.client_address, record.client_port),
            target: endpoint(target, record.server_address, record.server_port),
            dialled,
            protocol: Protocol::from_number(record.protocol),
            verdict: verdict(record.judgement),
            end: match record.end {
                end::CLOSED => Some(FlowEnd::Closed),
                end::RESET => Some(FlowEnd::Reset),
                end::REFUSED => Some(FlowEnd::Refused),
                end::UNANSWERED => Some(FlowEnd::Unanswered),
                end::UNREACHABLE => Some(FlowEnd::Unreachable),
                end::ABORTED => Some(FlowEnd::Aborted),
                end::TIMED_OUT => Some(FlowEnd::TimedOut),
                end::IDLE => Some(FlowEnd::Idle),
                end::GONE => Some(FlowEnd::Gone),
                _ => None,
            },
            duration_seconds: closed.then(|| std::time::Duration::from_nanos(open_for).as_secs_f64()),
            bytes_sent: record.volume.bytes_sent,
            bytes_received: record.volume.bytes_received,
            packets_sent: record.volume.packets_sent,
            packets_received: record.volume.packets_received,
        }
    }

    fn denial(&self, record: &VerdictRecord) -> Denial {
        let (source, target) = self.parties(
            &Party::new(record.source, &record.source_address),
            &Party::new(record.target, &record.target_address),
        );
        let judgement = record.judgement;
        let denial = Denial {
            id: String::new(),
            source: endpoint(source, record.source_address, record.source_port),
            target: endpoint(target, record.target_address, record.port),
            protocol: Protocol::from_number(record.protocol),
            verdict: verdict(judgement),
            direction: if judgement.direction == EGRESS { Direction::Egress } else { Direction::Ingress },
            reason: match judgement.why {
                why::RULE => Reason::Rule,
                why::NOT_ALLOWED => Reason::NotAllowed,
                why::DEFAULT => Reason::Default,
                why::FORGED => Reason::Forged,
                _ => Reason::Unresolved,
            },
            rule: self.rule(judgement.rule),
            layer: layer::NAMES.get(usize::from(record.layer)).unwrap_or(&"unknown").to_string(),
            attempts: record.attempts,
            caller: self.caller(&record.caller),
        };
        denial.with_id()
    }

    /// The process in whose call it was, where that is told.
    fn caller(&self, told: &process::Caller) -> Option<Caller> {
        if told.tgid == Tgid(0) {
            return None;
        }
        let (mut process, ancestors) =
            self.processes().with_ancestors(told.tgid, told.start_time, told.parent);
        let command = told.command.split(|byte| *byte == 0).next().unwrap_or_default();
        let command = clean_bytes(command, PATH_LIMIT);
        // That it has begun another may not have been told yet, or was shed.
        process.executable.take_if(|path| !path.rsplit('/').next().unwrap_or_default().starts_with(&command));
        Some(Caller { process, command, uid: told.uid, ancestors })
    }

    fn dns_answer(&self, record: &DnsRecord) -> EventKind {
        let answer = dns::read(used(&record.message, record.length.into()));
        let truncated = record.total > u32::from(record.length);
        if let Some(answer) = &answer {
            self.tables_mut().looked_up(record.header.cgroup, answer, record.header.time);
            if record.trusted != 0 {
                self.was_told(record.header.cgroup, answer);
            }
        }
        self.count_dns_answer(match &answer {
            None => DnsOutcome::Malformed,
            Some(_) if truncated => DnsOutcome::Truncated,
            Some(answer) if answer.addresses.is_empty() => DnsOutcome::NoAddress,
            Some(_) => DnsOutcome::Learned,
        });
        let asker = Party { cgroup: record.header.cgroup, address: Address::NONE };
        let (workload, resolver) =
            self.parties(&asker, &Party::new(record.resolver, &record.resolver_address));
        let (name, record_type, addresses) = match answer {
            Some(answer) => (Some(answer.name), Some(answer.record_type), answer.addresses),
            None => (None, None, Vec::new()),
        };
        let resolver = endpoint(resolver, record.resolver_address, DNS_PORT);
        EventKind::DnsAnswer(DnsAnswer { workload, resolver, name, record_type, addresses, truncated })
    }

    fn cgroup_made(&self, record: &CgroupRecord) -> EventKind {
        if let Some(path) = whole_path(record) {
            self.made(record.subject, &path);
        }
        self.cgroup_event(record.subject, CgroupChange::Made, Some(record), None)
    }

    fn cgroup_removed(&self, record: &CgroupRecord) -> EventKind {
        if let Some(path) = whole_path(record) {
            let mut tables = self.tables_mut();
            // The record of its making may have been lost.
            tables.made(record.subject, &path);
            tables.removed(record.subject);
        }
        self.cgroup_event(record.subject, CgroupChange::Removed, Some(record), None)
    }

    fn cgroup_attached(&self, record: &AttachRecord) -> EventKind {
        self.cgroup_event(record.subject, CgroupChange::Attached, None, Some(record.tgid.0))
    }

    fn cgroup_event(
        &self,
        subject: CgroupId,
        change: CgroupChange,
        record: Option<&CgroupRecord>,
        pid: Option<u32>,
    ) -> EventKind {
        let workload = self.workload(subject);
        let told =
            record.map(|record| clean_bytes(used(&record.path, record.path_length as usize), PATH_LIMIT));
        let path =
            self.tables().path(subject).map(|path| path.to_string()).or(told).filter(|path| !path.is_empty());
        EventKind::Cgroup(CgroupEvent { workload, change, cgroup_id: subject.0, path, pid })
    }
}

/// The first `length` bytes, or all where fewer are there.
fn used(bytes: &[u8], length: usize) -> &[u8] {
    bytes.get(..length).unwrap_or(bytes)
}

/// The path, if it tells who lives there: a path that was cut does, if the container's component is in it whole.
fn whole_path(record: &CgroupRecord) -> Option<String> {
    let length = record.path_length as usize;
    let path = String::from_utf8_lossy(used(&record.path, length));
    if length < CGROUP_PATH_LIMIT {
        return (!path.is_empty()).then(|| path.into_owned());
    }
    let whole = path.rsplit_once('/')?.0;
    // Whatever was cut off lies below the container. The mark keeps it from passing for its own cgroup.
    matches!(identify(whole), Place::Container(_)).then(|| format!("{whole}/…"))
}

fn endpoint(workload: Arc<Workload>, address: Address, port: u16) -> Endpoint {
    Endpoint { workload, address: address.into(), port }
}

/// What the kernel decided.
fn verdict(judgement: Judgement) -> Verdict {
    match judgement.verdict {
        VERDICT_AUDIT => Verdict::Audit,
        VERDICT_DENY | VERDICT_HOLD => Verdict::Deny,
        _ => Verdict::Allow,
    }
}

/// The argument vector out of bytes in which each argument ends with NUL; the last may have been cut.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).map(|argument| clean_bytes(argument, ARGUMENT_LIMIT)).collect()
}
