//! Peers outside have the name under which the other end looked them up.

use cofferdam_common::{
    dns::{DNS_LIMIT, DnsRecord},
    ids::CgroupId,
    record::{Header, kind},
};
use domain::base::Rtype;

use super::{DB_CGROUP, Host, WEB_CGROUP, address, flow};
use crate::{
    attribution::dns::tests::message,
    event::{DnsAnswer, EventKind, FlowEvent, Scope},
    sensor::record::Record,
};

const PEER: &str = "203.0.113.7";

fn told(cgroup: CgroupId, message: &[u8]) -> Record {
    let length = message.len().min(DNS_LIMIT);
    let mut record = DnsRecord {
        header: Header { kind: kind::DNS_ANSWER, padding: 0, time: 7, cgroup },
        resolver: CgroupId::ROOT,
        resolver_address: address("127.0.0.11"),
        length: u16::try_from(length).unwrap(),
        trusted: 0,
        total: u32::try_from(message.len()).unwrap(),
        message: [0; DNS_LIMIT],
    };
    record.message[..length].copy_from_slice(&message[..length]);
    Record::DnsAnswer(Box::new(record))
}

fn answer(name: &str, addresses: &[&str]) -> Vec<u8> {
    let records: Vec<_> = addresses.iter().map(|address| (name, *address)).collect();
    message(name, Rtype::A, &records)
}

fn to_peer(host: &Host, cgroup: CgroupId) -> FlowEvent {
    match host.event(&Record::FlowOpen(flow(cgroup, "198.18.1.2", CgroupId::NONE, PEER, 443))).kind {
        EventKind::FlowOpen(flow) => flow,
        other => panic!("{other:?}"),
    }
}

fn dns_answer(host: &Host, record: &Record) -> DnsAnswer {
    match host.event(record).kind {
        EventKind::DnsAnswer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_peer_has_the_name_under_which_this_workload_looked_it_up_and_no_other() {
    let host = Host::shop();
    assert_eq!(
        host.says(&told(WEB_CGROUP, &answer("api.example.org", &[PEER]))),
        "shop/web looked up api.example.org: 203.0.113.7"
    );
    assert_eq!(
        to_peer(&host, WEB_CGROUP).target.workload.to_string(),
        "outside api.example.org (203.0.113.7)"
    );
    let seen_by_db = to_peer(&host, DB_CGROUP).target.workload;
    assert_eq!((seen_by_db.to_string().as_str(), &seen_by_db.dns_name), ("outside 203.0.113.7", &None));
    let _ = host.event(&told(DB_CGROUP, &answer("evil.example", &[PEER])));
    assert_eq!(to_peer(&host, WEB_CGROUP).target.workload.dns_name.as_deref(), Some("api.example.org"));
    assert_eq!(to_peer(&host, DB_CGROUP).target.workload.dns_name.as_deref(), Some("evil.example"));
}

#[test]
fn a_name_that_a_nested_cgroup_looked_up_is_the_whole_containers() {
    let host = Host::shop();
    let nested = CgroupId(111);
    host.made(nested, &format!("/docker/{}/init.scope", super::WEB));
    let _ = host.event(&told(nested, &answer("api.example.org", &[PEER])));
    assert_eq!(to_peer(&host, WEB_CGROUP).target.workload.dns_name.as_deref(), Some("api.example.org"));
}

#[test]
fn whether_a_peer_is_private_or_public_is_told() {
    let host = Host::shop();
    let scope = |to: &str| {
        let event = host.event(&Record::FlowOpen(flow(WEB_CGROUP, "198.18.1.2", CgroupId::NONE, to, 443)));
        let EventKind::FlowOpen(flow) = event.kind else { panic!("{event:?}") };
        flow.target.workload.scope
    };
    assert_eq!(scope("10.0.0.9"), Some(Scope::Private));
    assert_eq!(scope("192.0.3.9"), Some(Scope::Public));
    assert_eq!(scope("239.0.0.9"), Some(Scope::Multicast));
    assert_eq!(scope("198.18.1.3"), None, "a container");
}

#[test]
fn a_containers_own_name_counts_more_than_what_it_was_looked_up_as() {
    let host = Host::shop();
    let _ = host.event(&told(WEB_CGROUP, &answer("db", &["198.18.1.3"])));
    let event =
        host.event(&Record::FlowOpen(flow(WEB_CGROUP, "198.18.1.2", CgroupId::NONE, "198.18.1.3", 5432)));
    assert_eq!(event.message, "shop/web -> shop/db tcp/5432 opened");
}

#[test]
fn each_answer_is_told_and_counted_by_what_came_of_it() {
    let host = Host::shop();
    let many: Vec<_> = (0..90).map(|number| format!("203.0.113.{number}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let long = dns_answer(&host, &told(WEB_CGROUP, &answer("many.example", &many)));
    assert!(long.truncated && long.addresses.len() > 40, "{long:?}");
    let garbage = host.event(&told(WEB_CGROUP, &[0x81; 40]));
    assert_eq!(garbage.message, "shop/web got an answer from host that is no DNS");
    let text = dns_answer(&host, &told(WEB_CGROUP, &message("note.example", Rtype::TXT, &[])));
    assert_eq!((text.record_type.as_deref(), text.addresses.len()), (Some("TXT"), 0));
    assert_eq!(host.0.dns_answers(), [0, 1, 1, 1]);
    let five = answer("five.example", &["1.0.0.1", "1.0.0.2", "1.0.0.3", "1.0.0.4", "1.0.0.5"]);
    assert_eq!(
        host.says(&told(WEB_CGROUP, &five)),
        "shop/web looked up five.example: 1.0.0.1, 1.0.0.2, 1.0.0.3, 1.0.0.4, …"
    );
    assert_eq!((host.0.dns_answers(), host.0.dns_names()), ([1, 1, 1, 1], long.addresses.len() + 5));
}
