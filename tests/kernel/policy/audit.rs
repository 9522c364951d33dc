//! Flows that are older than the policy that would deny them: each is told of once, and counted as what it is.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use cofferdam::sensor::record::Record;
use cofferdam_common::{
    network::{VERDICT_ALLOW, VERDICT_AUDIT},
    policy::VerdictRecord,
};

use super::{
    judge::{Judge, RULE, WEB, WHILE},
    open::forget,
};
use crate::node::{Cgroup, Node};

/// Longer than what has come since the last report waits for the next (ebpf/src/verdict.rs).
const REPORTED_AFTER: Duration = Duration::from_millis(1_100);

/// Somebody of `db` to whom somebody of `web` talks.
struct Talk {
    listener: TcpListener,
    streams: Vec<(TcpStream, TcpStream)>,
}

impl Talk {
    fn begin(web: &Cgroup, db: &Cgroup, connections: usize) -> Self {
        let listener = db.enter(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("it listens"));
        let to = listener.local_addr().expect("an address");
        let connect = |_| {
            let client = web.enter(|| TcpStream::connect(to).expect("it connects"));
            (client, listener.accept().expect("it is accepted").0)
        };
        let streams = (0..connections).map(connect).collect();
        let mut talk = Self { listener, streams };
        talk.goes_on();
        talk
    }

    fn port(&self) -> u16 {
        self.listener.local_addr().expect("an address").port()
    }

    /// Each connection carries something.
    fn goes_on(&mut self) {
        for (client, server) in &mut self.streams {
            client.write_all(&[1; 10]).expect("it sends");
            server.read_exact(&mut [0; 10]).expect("it arrives");
        }
    }
}

/// All that was told of a port, after a while.
fn told(judge: &mut Judge<'_>, port: u16) -> Vec<VerdictRecord> {
    thread::sleep(WHILE);
    let records = judge.node.drain().iter();
    let verdicts = records.filter_map(|record| match record {
        Record::Verdict(verdict) if verdict.port == port => Some(**verdict),
        _ => None,
    });
    verdicts.collect()
}

/// How many attempts are counted as such that would be denied.
fn counted(judge: &Judge<'_>, web: &Cgroup) -> u64 {
    let rows = judge.node.rows(|key| key.source.cgroup == web.id && key.verdict == VERDICT_AUDIT);
    assert!(rows.iter().all(|(key, _)| key.rule == RULE), "{rows:#?}");
    rows.iter().map(|(_, row)| row.attempts).sum()
}

#[test]
fn of_flows_that_are_older_than_the_policy_each_is_told_and_counted_once() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    let mut talk = Talk::begin(&web, &db, 5);
    talk.streams.truncate(2);
    judge.says(Some(WEB), VERDICT_AUDIT);
    assert_eq!(counted(&judge, &web), 0);
    talk.goes_on();
    let first = told(&mut judge, talk.port());
    assert!(
        matches!(first[..], [record] if record.attempts == 1 && record.judgement.verdict == VERDICT_AUDIT),
        "of one the second is to come: {first:#?}"
    );
    assert_eq!(counted(&judge, &web), 2);
    // Each reload is a generation.
    judge.says(Some(WEB), VERDICT_AUDIT);
    thread::sleep(REPORTED_AFTER);
    talk.goes_on();
    assert_eq!(counted(&judge, &web), 2);
    assert_eq!(told(&mut judge, talk.port()).len(), first.len(), "it is told again");
    judge.says(Some(WEB), VERDICT_ALLOW);
    judge.says_by(Some(WEB), VERDICT_AUDIT, RULE + 1);
    talk.goes_on();
    let another = told(&mut judge, talk.port());
    assert_eq!(another.last().map(|record| record.judgement.rule), Some(RULE + 1), "another rule");
}

#[test]
fn of_connections_that_are_older_than_the_daemon_as_well() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    let mut talk = Talk::begin(&web, &db, 1);
    let port = talk.port();
    for (client, _) in &talk.streams {
        forget(&judge.node.loaded.ledger, client.local_addr().expect("an address"));
    }
    judge.says(Some(WEB), VERDICT_AUDIT);
    talk.goes_on();
    let told = told(&mut judge, port);
    assert!(matches!(told[..], [record] if record.attempts == 1 && record.source == web.id), "{told:#?}");
    assert_eq!(counted(&judge, &web), 1);
}
