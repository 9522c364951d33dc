//! Connections that are open when a policy begins to deny them: what the kernel says of them, and how they are cut.

use std::{
    cell::RefCell,
    collections::HashSet,
    io::{ErrorKind, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use cofferdam::{
    attribution::Home,
    cut::Cutter,
    enforcement::Sync,
    sensor::{features, ledger::Ledger},
};
use cofferdam_common::{
    ids::CgroupId,
    network::{Flow, FlowKey, VERDICT_ALLOW, VERDICT_DENY, end, flag},
};
use socket2::SockRef;

use super::{
    apply::{container, lenient, policies},
    judge::{ADDRESSES, Judge, WEB, WHILE, v4, v6},
};
use crate::{
    namespace::in_namespace,
    node::{Cgroup, Loaded, Node},
};

const ONLY_OTHERS: &str = "
policy: shop
mode: enforce
rules:
  - {to: db, allow: [{from: other}]}
";

const NOBODY: &str = "
policy: shop
mode: enforce
rules:
  - {to: db}
";

/// The client's and the server's socket of a connection to an address, made in their cgroups.
fn connect(web: &Cgroup, db: &Cgroup, to: SocketAddr) -> (TcpStream, TcpStream) {
    let listener = db.enter(|| TcpListener::bind(to).expect("it listens"));
    let to = listener.local_addr().expect("an address");
    let mut client = web.enter(|| TcpStream::connect(to).expect("it connects"));
    let (mut server, _) = listener.accept().expect("it is accepted");
    client.write_all(&[1; 10]).expect("it sends");
    server.read_exact(&mut [0; 10]).expect("it arrives");
    (client, server)
}

fn here() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// The flows of a connection.
fn flows(ledger: &Ledger, client: SocketAddr) -> Vec<(FlowKey, Flow)> {
    let port = client.port();
    let all = ledger.flows().expect("the flows");
    all.into_iter().filter(|(key, _)| key.low_port == port || key.high_port == port).collect()
}

/// From here on the connection is one that was open before the hooks.
pub(super) fn forget(ledger: &Ledger, client: SocketAddr) {
    for (key, flow) in flows(ledger, client) {
        assert!(ledger.give_up(&key, &flow, end::IDLE).expect("a map"));
    }
}

/// Ends a connection by a reset.
fn reset(client: TcpStream) {
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).expect("an option");
    drop(client);
}

fn told(server: &mut TcpStream) -> ErrorKind {
    server.set_read_timeout(Some(WHILE)).expect("a limit");
    server.read(&mut [0; 10]).expect_err("nothing arrives").kind()
}

#[test]
fn a_reset_tells_the_other_end_that_a_denied_connection_is_over_and_nothing_else_arrives() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    let (mut client, mut server) = connect(&web, &db, here());
    judge.says(Some(WEB), VERDICT_DENY);
    client.write_all(&[1; 10]).expect("it is queued");
    assert_eq!(told(&mut server), ErrorKind::WouldBlock);
    let from = client.local_addr().expect("an address");
    let denied = flows(&judge.node.loaded.ledger, from);
    assert!(matches!(denied[..], [(_, flow)] if flow.judgement.verdict == VERDICT_DENY), "{denied:?}");
    reset(client);
    assert_eq!(told(&mut server), ErrorKind::ConnectionReset);
    assert_eq!(flows(&judge.node.loaded.ledger, from), []);
}

#[test]
fn one_that_was_open_before_the_hooks_is_known_once_it_is_denied() {
    for to in [v4(2, 5_432), v6(2, 5_432)] {
        let mut node = Node::start();
        let (web, db) = (node.cgroup(), node.cgroup());
        let mut judge = Judge::new(&mut node, &web, &db);
        let (mut client, mut server) = in_namespace(&ADDRESSES, || connect(&web, &db, to));
        let from = client.local_addr().expect("an address");
        let to = client.peer_addr().expect("an address");
        judge.address(&[(from, &web), (to, &db)]);
        forget(&judge.node.loaded.ledger, from);
        judge.says(Some(WEB), VERDICT_DENY);
        client.write_all(&[1; 10]).expect("it is queued");
        assert_eq!(told(&mut server), ErrorKind::WouldBlock);
        let known = flows(&judge.node.loaded.ledger, from);
        let [(_, flow)] = known[..] else { panic!("not one flow: {known:?}") };
        assert_eq!((flow.judgement.verdict, flow.flags & flag::ADOPTED), (VERDICT_DENY, flag::ADOPTED));
        reset(client);
        assert_eq!(told(&mut server), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_silent_connection_is_judged_as_the_kernel_judges_one_that_sends() {
    let node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let Loaded { sensor: _sensor, ledger, policy, .. } = node.loaded.take();
    let mut sync = Sync::new(policy);
    let settings = lenient();
    let placed = || [(&web, "web"), (&db, "db")].map(|(cgroup, name)| container(cgroup, name));
    let (client, _server) = connect(&web, &db, here());
    let denied = |sync: &Sync| {
        let flows = flows(&ledger, client.local_addr().expect("an address"));
        assert_eq!(flows.len(), 1, "{flows:?}");
        flows.iter().any(|(key, flow)| sync.denies(key, flow))
    };
    assert!(!denied(&sync));
    sync.apply(policies(ONLY_OTHERS), settings, &placed(), |_| {}).expect("policies");
    assert!(denied(&sync), "before it sends");
    (&client).write_all(&[1; 10]).expect("it is queued");
    assert!(denied(&sync), "after it has sent");
    sync.apply(policies(&ONLY_OTHERS.replace("other", "web")), settings, &placed(), |_| {})
        .expect("policies");
    assert!(!denied(&sync), "what the kernel said before does not count any more");
    sync.apply(policies(&NOBODY.replace("enforce", "audit")), settings, &placed(), |_| {}).expect("policies");
    assert!(!denied(&sync), "what would be denied goes on");
    sync.apply(policies(NOBODY), settings, &placed(), |_| {}).expect("policies");
    assert!(denied(&sync));
}

#[test]
fn both_ends_of_a_connection_are_cut_also_while_somebody_waits_and_no_other_is() {
    let mut node = Node::start();
    let (web, db) = (node.cgroup(), node.cgroup());
    let mut judge = Judge::new(&mut node, &web, &db);
    let (client, mut server) = connect(&web, &db, here());
    let (mut another, mut anothers) = connect(&web, &db, here());
    let wanted = flows(&judge.node.loaded.ledger, client.local_addr().expect("an address"));
    // It arrives, and nobody reads it.
    (&client).write_all(&[1; 10]).expect("it sends");
    server.peek(&mut [0]).expect("it arrives");
    let waiting = thread::spawn({
        let mut client = client.try_clone().expect("a copy");
        move || client.read(&mut [0]).map_err(|error| error.kind())
    });
    thread::sleep(Duration::from_millis(100));
    judge.says(Some(WEB), VERDICT_DENY);
    (&client).write_all(&[2; 10]).expect("it is queued");

    // This process is in the root's cgroup, whoever its sockets belong to.
    let root = features::detect().cgroup_root.expect("a v2 tree");
    let home = Home { cgroup: CgroupId::ROOT, directory: root, whole: false };
    let mut cutter = Cutter::default();
    let begun = Instant::now();
    assert!(cutter.due(wanted.clone(), begun).is_empty(), "it is not certain yet");
    let due = cutter.due(wanted.clone(), begun + Duration::from_secs(2));
    assert_eq!(due.len(), 1);
    let asked = RefCell::new(HashSet::new());
    let outcomes = cutter.cut(&due, |cgroup| {
        asked.borrow_mut().insert(cgroup);
        Some(home.clone())
    });
    assert_eq!(outcomes, [Ok(())]);
    assert_eq!(asked.into_inner(), HashSet::from([web.id, db.id]));
    let woken = waiting.join().expect("it ends");
    let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(woken == Ok(0) || woken.is_err_and(|kind| kinds.contains(&kind)), "{woken:?}");
    assert_eq!(told(&mut server), ErrorKind::ConnectionReset);
    assert!(client.peer_addr().is_err() && server.peer_addr().is_err(), "a socket is still connected");
    assert!(cutter.due(wanted, Instant::now()).is_empty(), "it is tried again at once");

    judge.says(Some(WEB), VERDICT_ALLOW);
    another.write_all(&[1; 10]).expect("it sends");
    anothers.read_exact(&mut [0; 10]).expect("it arrives");
}
