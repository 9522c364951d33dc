//! One event of each kind: what the tests of the surface speak about and what `docs/events.md` shows.

use std::{collections::BTreeMap, sync::Arc};

use crate::event::{
    Alert, AlertKind, AlertState, Caller, CgroupChange, CgroupEvent, Denial, Direction, DnsAnswer, Endpoint,
    Event, EventKind, Exec, Exit, FlowEnd, FlowEvent, Fork, Lost, Process, Protocol, Reason, RuleName,
    Runtime, SCHEMA_VERSION, Severity, Verdict, Workload, WorkloadKind,
};

pub(crate) const WEB_ID: &str = "3f2a9c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f809";
pub(crate) const API_ID: &str = "b17c0ffee5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f80";

pub(crate) fn container(service: &str, id: &str) -> Arc<Workload> {
    Arc::new(Workload {
        runtime: Some(Runtime::Docker),
        id: Some(id.to_owned()),
        image: Some(format!("registry.example/{service}:1.4")),
        container_name: Some(format!("shop-{service}-1")),
        project: Some("shop".to_owned()),
        service: Some(service.to_owned()),
        labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
        ..Workload::named(WorkloadKind::Container, format!("shop/{service}"))
    })
}

pub(crate) fn web() -> Arc<Workload> {
    container("web", WEB_ID)
}

pub(crate) fn api() -> Arc<Workload> {
    container("api", API_ID)
}

fn event(seq: u64, message: &str, kind: EventKind) -> Event {
    let time = "2026-11-24T10:00:00.123456789Z".parse().expect("a time");
    Event { schema_version: SCHEMA_VERSION, seq, time, message: message.to_owned(), kind }
}

fn process(pid: u32, executable: &str) -> Process {
    Process { pid, start_time: 81_000_000_000, executable: Some(executable.to_owned()) }
}

pub(crate) fn fork() -> Event {
    let kind =
        Fork { workload: web(), process: process(4_242, "/bin/sh"), parent: process(4_200, "/bin/sh") };
    event(1, "shop/web: process 4200 made process 4242", EventKind::ProcessFork(kind))
}

pub(crate) fn exec() -> Event {
    let kind = Exec {
        workload: web(),
        process: process(4_242, "/usr/bin/curl"),
        parent: process(4_200, "/bin/sh"),
        args: vec!["curl".to_owned(), "http://api:8080/".to_owned()],
        args_truncated: false,
        uid: 1_000,
        gid: 1_000,
    };
    event(2, "shop/web ran /usr/bin/curl http://api:8080/", EventKind::ProcessExec(kind))
}

pub(crate) fn exit() -> Event {
    let kind =
        Exit { workload: web(), process: process(4_242, "/usr/bin/curl"), code: Some(0), signal: None };
    event(3, "shop/web: process 4242 exited with 0", EventKind::ProcessExit(kind))
}

fn flow(end: Option<FlowEnd>) -> FlowEvent {
    let closed = end.is_some();
    FlowEvent {
        source: Endpoint { workload: web(), address: [172, 18, 0, 2].into(), port: 41_782 },
        target: Endpoint { workload: api(), address: [172, 18, 0, 3].into(), port: 8_080 },
        dialled: Some(([172, 18, 0, 1], 80).into()),
        protocol: Protocol::Tcp,
        verdict: Verdict::Allow,
        end,
        duration_seconds: closed.then_some(0.25),
        bytes_sent: if closed { 512 } else { 0 },
        bytes_received: if closed { 8_192 } else { 0 },
        packets_sent: if closed { 6 } else { 1 },
        packets_received: if closed { 5 } else { 1 },
    }
}

pub(crate) fn flow_open() -> Event {
    event(4, "shop/web -> shop/api tcp/8080 opened", EventKind::FlowOpen(flow(None)))
}

pub(crate) fn flow_close() -> Event {
    let message = "shop/web -> shop/api tcp/8080 closed after 0.250 s, 512 bytes sent, 8192 received";
    event(5, message, EventKind::FlowClose(flow(Some(FlowEnd::Closed))))
}

pub(crate) fn dns_answer() -> Event {
    let resolver = Endpoint { workload: Workload::host().into(), address: [127, 0, 0, 11].into(), port: 53 };
    let kind = DnsAnswer {
        workload: web(),
        resolver,
        name: Some("api.example.org".to_owned()),
        record_type: Some("A".to_owned()),
        addresses: vec![[203, 0, 113, 7].into()],
        truncated: false,
    };
    event(8, "shop/web looked up api.example.org: 203.0.113.7", EventKind::DnsAnswer(kind))
}

pub(crate) fn cgroup(change: CgroupChange) -> Event {
    let path = format!("/system.slice/docker-{WEB_ID}.scope");
    let message = format!("shop/web: cgroup {path} was made");
    let kind = CgroupEvent { workload: web(), change, cgroup_id: 7_316, path: Some(path), pid: None };
    event(6, &message, EventKind::Cgroup(kind))
}

/// `shop/web` may not go round `shop/api` to its database.
pub(crate) fn denial() -> Event {
    let db = Arc::new(Workload::named(WorkloadKind::Container, "shop/db"));
    let rule = RuleName {
        name: "shop#2".to_owned(),
        file: "/etc/cofferdam/policies/shop.yaml".to_owned(),
        line: 14,
    };
    let kind = Denial {
        id: String::new(),
        source: Endpoint { workload: web(), address: [172, 18, 0, 2].into(), port: 41_790 },
        target: Endpoint { workload: db, address: [172, 18, 0, 4].into(), port: 5_432 },
        protocol: Protocol::Tcp,
        verdict: Verdict::Deny,
        direction: Direction::Ingress,
        reason: Reason::NotAllowed,
        rule: Some(rule.into()),
        layer: "connect".to_owned(),
        attempts: 3,
        caller: Some(Caller {
            process: process(8_123, "/usr/bin/psql"),
            command: "psql".to_owned(),
            uid: 1_000,
            ancestors: vec![process(8_120, "/bin/sh")],
        }),
    };
    let kind = kind.with_id();
    event(9, &kind.to_string(), EventKind::Denial(kind))
}

pub(crate) fn alert() -> Event {
    let db = Arc::new(Workload::named(WorkloadKind::Container, "shop/db"));
    let time = |time: &str| time.parse().expect("a time");
    let kind = Alert {
        id: "9f2c41d07ab3e865".to_owned(),
        kind: AlertKind::NewEdge,
        severity: Severity::Critical,
        source: web(),
        target: Some(db),
        protocol: Some(Protocol::Tcp),
        port: Some(5_432),
        sentence:
            "shop/web has never talked to shop/db in 21 days; now tcp/5432, 3 times, from the same image"
                .to_owned(),
        began: time("2026-11-24T09:58:00Z"),
        last_seen: time("2026-11-24T10:00:00Z"),
        count: 3,
        state: AlertState::Open,
        acknowledged: None,
    };
    event(10, &kind.sentence.clone(), EventKind::Alert(Box::new(kind)))
}

pub(crate) fn lost() -> Event {
    let kind = Lost { shed: 230, workload: Some(web()), ..Lost::of("network", 17) };
    event(7, "shop/web: 230 records of family network were shed, 17 lost", EventKind::Lost(kind))
}

/// One of each, in the order of the list of kinds.
pub(crate) fn all() -> Vec<Event> {
    vec![
        fork(),
        exec(),
        exit(),
        flow_open(),
        flow_close(),
        dns_answer(),
        cgroup(CgroupChange::Made),
        denial(),
        alert(),
        lost(),
    ]
}

#[test]
fn the_documentation_shows_each_kind_as_it_is_written() {
    let page = include_str!("../../../docs/events.md");
    for event in all() {
        let json = serde_json::to_string_pretty(&event).expect("events become JSON");
        assert!(
            page.contains(&json),
            "docs/events.md lacks this example of `{}`:\n{json}",
            event.kind.name()
        );
    }
}
