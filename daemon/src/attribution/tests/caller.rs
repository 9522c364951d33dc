//! Whose call it was that was denied.

use cofferdam_common::policy::VerdictRecord;

use super::*;
use crate::event::Caller;

/// Who is told of a call of process 7, which calls itself so.
fn caller(host: &Host, command: &[u8]) -> Caller {
    let mut record = VerdictRecord::new_zeroed();
    (record.source, record.target) = (WEB_CGROUP, DB_CGROUP);
    let own = &mut record.caller;
    (own.tgid, own.parent, own.start_time, own.uid) = (Tgid(7), Tgid(6), 70, 1_000);
    record.caller.command[..command.len()].copy_from_slice(command);
    match host.event(&Record::Verdict(Box::new(record))).kind {
        EventKind::Denial(denial) => denial.caller.expect("a caller"),
        other => panic!("{other:?}"),
    }
}

fn executed(host: &Host, tgid: u32, parent: u32, path: &str) {
    let mut record = ExecRecord::new_zeroed();
    (record.tgid, record.parent, record.start_time) = (Tgid(tgid), Tgid(parent), u64::from(tgid) * 10);
    record.path[..path.len()].copy_from_slice(path.as_bytes());
    record.path_length = path.len() as u16;
    host.says(&Record::Exec(Box::new(record)));
}

#[test]
fn who_tried_it_is_told_with_his_program_and_who_made_him() {
    let host = Host::shop();
    executed(&host, 6, 1, "/bin/sh");
    executed(&host, 7, 6, "/usr/lib/postgresql/bin/pg_receivewal-16");
    let told = caller(&host, b"pg_receivewal-1");
    assert_eq!(
        told.to_string(),
        "pid 7 pg_receivewal-1 (/usr/lib/postgresql/bin/pg_receivewal-16) ← /bin/sh, user 1000"
    );
}

#[test]
fn a_program_that_is_not_the_one_he_is_called_by_is_not_told() {
    let host = Host::shop();
    executed(&host, 6, 1, "/bin/sh");
    // What he has begun since was shed.
    executed(&host, 7, 6, "/bin/sh");
    assert_eq!(caller(&host, b"psql").to_string(), "pid 7 psql ← /bin/sh, user 1000");
    // What he calls himself is text like any other.
    let hostile = caller(&host, b"\x1b[2Jps\nql\xff");
    assert!(!hostile.to_string().contains(crate::event::is_hostile), "{hostile}");
}
