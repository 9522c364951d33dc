//! Stories: records and facts in, names and sentences out.

use cofferdam_common::{
    container::{AttachRecord, CgroupRecord},
    ids::{Address, Tgid},
    network::{FlowRecord, PROTOCOL_TCP, end},
    process::{ExecRecord, ExitRecord, ForkRecord},
};
use jiff::Timestamp;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};
use zerocopy::FromZeros;

use super::*;
use crate::{
    event::{EventKind, FlowEnd, Runtime, WorkloadKind},
    sensor::{clock::Clock, record::Record},
};

mod caller;

mod dns;

mod outside;

mod ownership;

const WEB: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const DB: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const WEB_CGROUP: CgroupId = CgroupId(101);
const DB_CGROUP: CgroupId = CgroupId(102);

/// A host with two containers of compose project `shop`.
struct Host(Attribution);

impl Host {
    fn empty() -> Self {
        Self(Attribution::new("/nowhere".into()))
    }

    fn shop() -> Self {
        let host = Self::empty();
        host.made(WEB_CGROUP, &format!("/docker/{WEB}"));
        host.made(DB_CGROUP, &format!("/system.slice/docker-{DB}.scope"));
        host.0.learn(&docker(), compose(WEB, "web", "198.18.1.2"));
        host.0.learn(&docker(), compose(DB, "db", "198.18.1.3"));
        host
    }

    fn event(&self, record: &Record) -> crate::event::Event {
        self.0.attribute(record, &Clock::fixed(Timestamp::UNIX_EPOCH), 1)
    }

    fn says(&self, record: &Record) -> String {
        self.event(record).message
    }

    fn made(&self, cgroup: CgroupId, path: &str) -> String {
        self.says(&Record::CgroupMade(Box::new(cgroup_record(cgroup, path))))
    }

    fn removed(&self, cgroup: CgroupId, path: &str) -> String {
        self.says(&Record::CgroupRemoved(Box::new(cgroup_record(cgroup, path))))
    }

    fn name(&self, cgroup: CgroupId) -> String {
        self.0.workload(cgroup).to_string()
    }

    fn names(&self) -> Vec<String> {
        self.0.containers().iter().map(|container| container.workload.name.clone()).collect()
    }
}

fn docker() -> Source {
    Source::api(Runtime::Docker, "docker.sock")
}

fn compose(id: &str, service: &str, address: &str) -> ContainerFacts {
    let labels = [("com.docker.compose.project", "shop"), ("com.docker.compose.service", service)];
    ContainerFacts {
        name: Some(format!("shop_{service}_1")),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        state: Some(ContainerState::Running),
        addresses: Some(vec![address.parse().unwrap()]),
        ..ContainerFacts::new(id)
    }
}

fn cgroup_record(cgroup: CgroupId, path: &str) -> CgroupRecord {
    let mut record = CgroupRecord::new_zeroed();
    record.subject = cgroup;
    let length = path.len().min(record.path.len());
    record.path[..length].copy_from_slice(&path.as_bytes()[..length]);
    record.path_length = u32::try_from(length).unwrap();
    record
}

fn exec(cgroup: CgroupId, tgid: u32, path: &str, args: &[u8]) -> Record {
    let mut record = ExecRecord::new_zeroed();
    record.header.cgroup = cgroup;
    record.tgid = Tgid(tgid);
    record.start_time = 7;
    record.path[..path.len()].copy_from_slice(path.as_bytes());
    record.path_length = u16::try_from(path.len()).unwrap();
    record.args[..args.len()].copy_from_slice(args);
    record.args_length = u16::try_from(args.len()).unwrap();
    record.args_total = u32::try_from(args.len()).unwrap();
    Record::Exec(Box::new(record))
}

fn exit(cgroup: CgroupId, tgid: u32, status: u32) -> Record {
    let mut record = ExitRecord::new_zeroed();
    record.header.cgroup = cgroup;
    record.tgid = Tgid(tgid);
    record.start_time = 7;
    record.status = status;
    Record::Exit(record)
}

fn address(text: &str) -> Address {
    Address(match text.parse().unwrap() {
        IpAddr::V4(v4) => Ipv4Addr::to_ipv6_mapped(&v4).octets(),
        IpAddr::V6(v6) => v6.octets(),
    })
}

fn flow(client: CgroupId, from: &str, server: CgroupId, to: &str, port: u16) -> FlowRecord {
    let mut record = FlowRecord::new_zeroed();
    (record.client, record.client_address, record.client_port) = (client, address(from), 40_000);
    (record.server, record.server_address, record.server_port) = (server, address(to), port);
    record.protocol = PROTOCOL_TCP;
    record
}

#[test]
fn a_flow_between_containers_is_told_by_their_names() {
    let record = flow(WEB_CGROUP, "198.18.1.2", DB_CGROUP, "198.18.1.3", 5432);
    assert_eq!(Host::shop().says(&Record::FlowOpen(record)), "shop/web -> shop/db tcp/5432 opened");
}

#[test]
fn a_flow_that_closed_tells_how_long_and_how_much() {
    let mut record = flow(WEB_CGROUP, "198.18.1.2", DB_CGROUP, "198.18.1.3", 5432);
    record.opened_at = 1_000_000_000;
    record.header.time = 2_250_000_000;
    record.end = end::CLOSED;
    record.volume.bytes_sent = 12;
    record.volume.bytes_received = 3_456;
    let event = Host::shop().event(&Record::FlowClose(record));
    assert_eq!(
        event.message,
        "shop/web -> shop/db tcp/5432 closed after 1.250 s, 12 bytes sent, 3456 received"
    );
    let EventKind::FlowClose(flow) = event.kind else { panic!("no flow") };
    assert_eq!((flow.end, flow.duration_seconds), (Some(FlowEnd::Closed), Some(1.25)));
    assert_eq!(flow.source.address, "198.18.1.2".parse::<IpAddr>().unwrap());
}

#[test]
fn a_refused_attempt_and_the_dialled_address_are_told() {
    let mut record = flow(WEB_CGROUP, "198.18.1.2", CgroupId::NONE, "198.18.1.3", 5432);
    record.end = end::REFUSED;
    (record.dialled, record.dialled_port) = (address("203.0.113.7"), 80);
    let event = Host::shop().event(&Record::FlowClose(record));
    assert_eq!(event.message, "shop/web -> shop/db tcp/5432 refused");
    let EventKind::FlowClose(flow) = event.kind else { panic!("no flow") };
    assert_eq!(flow.dialled, Some("203.0.113.7:80".parse().unwrap()));
}

#[test]
fn an_end_without_a_cgroup_is_known_by_its_address() {
    let host = Host::shop();
    host.0.tables_mut().addresses.set_host(["198.18.1.1".parse().unwrap()].into());
    let party = |party: Party| host.0.party(&party, WEB_CGROUP);
    let name = |to: &str| party(Party { cgroup: CgroupId::NONE, address: address(to) }).to_string();
    assert_eq!(name("198.18.1.3"), "shop/db");
    assert_eq!(name("198.18.1.1"), "host");
    assert_eq!(name("127.0.0.1"), "host");
    assert_eq!(name("203.0.113.7"), "outside 203.0.113.7");
    assert_eq!(name("2001:db8::1"), "outside 2001:db8::1");
    let other = party(Party { cgroup: CgroupId::OTHER, address: Address::NONE });
    assert_eq!((other.kind, &*other.name), (WorkloadKind::Other, "other"));
}

#[test]
fn loopback_that_nobody_listens_on_is_the_clients_own() {
    let mut record = flow(WEB_CGROUP, "127.0.0.1", CgroupId::NONE, "127.0.0.1", 9);
    record.end = end::REFUSED;
    assert_eq!(Host::shop().says(&Record::FlowClose(record)), "shop/web -> shop/web tcp/9 refused");
}

#[test]
fn a_program_is_told_with_its_arguments() {
    let host = Host::shop();
    let record = exec(WEB_CGROUP, 9, "/usr/bin/psql", b"psql\0-h\0db\0");
    assert_eq!(host.says(&record), "shop/web ran /usr/bin/psql -h db");
    let EventKind::ProcessExec(event) = host.event(&exec(WEB_CGROUP, 9, "/bin/a", b"a\0\0x\xff")).kind else {
        panic!("no exec")
    };
    assert_eq!(event.args, ["a", "", "x\u{fffd}"]);
}

#[test]
fn arguments_cannot_write_to_a_terminal() {
    let record = exec(WEB_CGROUP, 9, "/bin/sh", b"sh\0-c\0\x1b[2J\nshop/web -> x\0");
    assert_eq!(Host::shop().says(&record), r"shop/web ran /bin/sh -c \u{1b}[2J\nshop/web -> x");
}

#[test]
fn the_life_of_a_process_is_told() {
    let host = Host::shop();
    host.says(&exec(WEB_CGROUP, 9, "/bin/sh", b"sh\0"));
    let mut fork = ForkRecord::new_zeroed();
    fork.header.cgroup = WEB_CGROUP;
    (fork.tgid, fork.parent, fork.start_time) = (Tgid(123), Tgid(9), 7);
    assert_eq!(host.says(&Record::Fork(fork)), "shop/web: process 9 made process 123");
    let event = host.event(&exit(WEB_CGROUP, 123, 256));
    assert_eq!(event.message, "shop/web: process 123 exited with 1");
    let EventKind::ProcessExit(event) = event.kind else { panic!("no exit") };
    assert_eq!(event.process.executable.as_deref(), Some("/bin/sh"));
    assert_eq!(host.says(&exit(WEB_CGROUP, 9, 9 | 0x80)), "shop/web: process 9 was killed by signal 9");
}

#[test]
fn a_container_is_named_by_its_id_until_the_runtime_tells() {
    let host = Host::empty();
    let path = format!("/docker/{WEB}");
    assert_eq!(host.made(WEB_CGROUP, &path), format!("aaaaaaaaaaaa: cgroup {path} was made"));
    let shown = host.0.containers();
    assert_eq!((shown.len(), shown[0].state, shown[0].cgroup_id), (1, ContainerState::Running, Some(101)));
    host.0.learn(&docker(), compose(WEB, "web", "198.18.1.2"));
    assert_eq!(host.name(WEB_CGROUP), "shop/web");
}

#[test]
fn a_name_told_before_the_container_runs_is_there_from_its_first_moment() {
    let host = Host::empty();
    host.0.learn(&docker(), compose(WEB, "web", "198.18.1.2"));
    assert_eq!(
        host.made(WEB_CGROUP, &format!("/docker/{WEB}")),
        format!("shop/web: cgroup /docker/{WEB} was made")
    );
}

#[test]
fn a_nested_cgroup_belongs_to_its_container_and_does_not_become_its_cgroup() {
    let host = Host::shop();
    host.made(CgroupId(103), &format!("/docker/{WEB}/docker/{DB}"));
    assert_eq!(host.name(CgroupId(103)), "shop/web");
    let web =
        host.0.containers().into_iter().find(|container| container.workload.name == "shop/web").unwrap();
    assert_eq!(web.cgroup_id, Some(WEB_CGROUP.0));
}

#[test]
fn a_name_outlives_container_and_cgroup_until_it_is_dropped_and_beyond() {
    let host = Host::shop();
    host.0.forget(&docker(), WEB);
    host.removed(WEB_CGROUP, &format!("/docker/{WEB}"));
    assert_eq!(host.names(), ["shop/db"]);
    assert_eq!(host.name(WEB_CGROUP), "shop/web");
    assert_eq!(host.0.gone(), [WEB_CGROUP]);

    host.0.drop_gone(&[WEB_CGROUP, DB_CGROUP]);
    assert_eq!(host.0.gone(), []);
    assert_eq!(host.name(WEB_CGROUP), "shop/web");
    assert_eq!(host.name(DB_CGROUP), "shop/db");
}

#[test]
fn what_was_dropped_is_not_remembered_for_ever() {
    let host = Host::shop();
    host.0.forget(&docker(), WEB);
    host.removed(WEB_CGROUP, &format!("/docker/{WEB}"));
    host.0.drop_gone(&[WEB_CGROUP]);
    for number in 1_000..6_000 {
        host.made(CgroupId(number), "/batch");
        host.removed(CgroupId(number), "/batch");
    }
    host.0.drop_gone(&host.0.gone());
    assert_eq!(host.name(WEB_CGROUP), "unknown");
}

#[test]
fn a_container_whose_making_was_lost_is_known_when_it_is_removed() {
    let host = Host::empty();
    host.0.learn(&docker(), compose(WEB, "web", "198.18.1.2"));
    let path = format!("/docker/{WEB}");
    assert_eq!(host.removed(WEB_CGROUP, &path), format!("shop/web: cgroup {path} was removed"));
}

#[test]
fn a_container_that_ended_stays_in_the_list_until_the_runtime_removes_it() {
    let host = Host::shop();
    host.removed(WEB_CGROUP, &format!("/docker/{WEB}"));
    host.0
        .learn(&docker(), ContainerFacts { state: Some(ContainerState::Exited), ..ContainerFacts::new(WEB) });
    assert_eq!(host.names(), ["shop/db", "shop/web"]);
    host.0.retain(&docker(), &HashSet::from([DB.to_owned()]));
    assert_eq!(host.names(), ["shop/db"]);
}

#[test]
fn what_a_container_makes_below_its_own_cgroup_is_known_to_be_its_own() {
    let host = Host::shop();
    let (inside, unit) = (CgroupId(103), CgroupId(104));
    host.made(inside, &format!("/docker/{WEB}/docker/{DB}"));
    host.made(unit, "/system.slice/nginx.service");
    assert_eq!(host.0.container_of(inside), Some(WEB_CGROUP), "whatever it calls itself");
    assert_eq!(host.0.container_of(WEB_CGROUP), Some(WEB_CGROUP));
    assert_eq!(host.0.container_of(unit), None);
    let mut own = host.0.containers_own();
    own.sort_unstable();
    assert_eq!(own, [WEB_CGROUP, DB_CGROUP]);

    host.removed(WEB_CGROUP, &format!("/docker/{WEB}"));
    assert_eq!(host.0.containers_own(), [DB_CGROUP]);
    assert!(!host.0.is_live(WEB_CGROUP) && host.0.is_live(inside) && host.0.is_live(CgroupId::ROOT));
}

#[test]
fn an_unknown_cgroup_is_counted_searched_for_and_named_when_found() {
    let root = std::env::temp_dir().join(format!("cofferdam-tree-{}", std::process::id()));
    let directory = root.join("docker").join(WEB);
    std::fs::create_dir_all(&directory).unwrap();
    let cgroup = CgroupId(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&directory).unwrap()));
    let host = Host(Attribution::new(root.clone()));

    assert_eq!(host.says(&exec(cgroup, 9, "/bin/sh", b"sh\0")), "unknown ran /bin/sh");
    assert_eq!(host.0.unattributed(), 1);
    host.0.refresh(false);
    assert_eq!(host.says(&exec(cgroup, 9, "/bin/sh", b"sh\0")), "aaaaaaaaaaaa ran /bin/sh");
    assert_eq!(host.0.unattributed(), 1);

    let nowhere = CgroupId(u64::MAX - 1);
    assert_eq!(host.name(nowhere), "unknown");
    host.0.refresh(false);
    assert_eq!(host.name(nowhere), "unknown");
    assert!(lock(&host.0.wanted).is_empty(), "a search that failed is not repeated");

    std::fs::remove_dir_all(&directory).unwrap();
    host.0.refresh(true);
    assert_eq!(host.0.gone(), [cgroup], "a removal whose record was lost is noticed");
    std::fs::remove_dir_all(&root).unwrap();
}

#[test]
fn a_path_that_was_cut_still_names_its_container() {
    let host = Host::empty();
    let deep = "/very-long-name-of-a-nested-cgroup".repeat(8);
    host.made(WEB_CGROUP, &format!("/docker/{WEB}{deep}"));
    assert_eq!(host.name(WEB_CGROUP), "aaaaaaaaaaaa");
    assert_eq!(host.0.containers()[0].cgroup_id, None);
    host.made(CgroupId(105), &deep);
    assert_eq!(host.name(CgroupId(105)), "unknown");
}

#[test]
fn a_process_that_is_moved_is_told() {
    let mut record = AttachRecord::new_zeroed();
    (record.subject, record.tgid) = (DB_CGROUP, Tgid(77));
    let said = Host::shop().says(&Record::CgroupAttached(record));
    assert_eq!(said, format!("shop/db: process 77 was moved into cgroup /system.slice/docker-{DB}.scope"));
}

#[test]
fn labels_of_a_container_cannot_grow_without_bound() {
    let host = Host::shop();
    let labels: BTreeMap<_, _> = (0..100).map(|number| (number.to_string(), String::new())).collect();
    host.0.learn(&docker(), ContainerFacts { labels: Some(labels), ..ContainerFacts::new(WEB) });
    assert_eq!(host.0.overflows(), Overflows { workloads: 0, processes: 0, labels: 68, names: 0 });
}

#[test]
fn seeding_finds_the_tree_that_this_machine_has() {
    let Some(root) = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .find(|root| std::path::Path::new(root).join("cgroup.controllers").exists())
    else {
        return;
    };
    let attribution = Attribution::new(root.into());
    attribution.seed().unwrap();
    assert_eq!(attribution.workload(CgroupId::ROOT).kind, WorkloadKind::Host);
    assert!(Attribution::new("/nowhere".into()).seed().is_err());
}
