//! Whoever floods with attempts that are denied hides nothing of what is denied to others: not by the records, not by
//! filling the tables, not by ever more cgroups.

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Write as _},
    net::{Ipv4Addr, TcpStream, UdpSocket},
    num::NonZero,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use cofferdam::sensor::record::Record;
use cofferdam_common::{
    ids::CgroupId,
    network::VERDICT_DENY,
    policy::{Identity, Interval, Resident, Span, Subject, why},
    record::family,
};
use cofferdam_tests::flood;
use socket2::{Domain, Protocol, Socket, Type};

use super::judge::{ADDRESSES, RULE, WEB, v4};
use crate::{
    namespace::in_namespace,
    node::{Cgroup, Node},
};

/// How long the others have to bear it.
const LONG_ENOUGH: Duration = Duration::from_secs(4);
/// Runs of the hook for each frame that is handed to it.
const RUNS: u32 = 200_000;
/// Between one attempt of each of the others and the next.
const PAUSE: Duration = Duration::from_millis(20);
/// How many others there are.
const QUIET: u32 = 20;
/// The first port that they try.
const FIRST_PORT: u16 = 20_000;

/// One who tries something else each time, and seldom.
struct Quiet {
    cgroup: Cgroup,
    /// Bound, so that it is its packets that are judged, of which the socket tells whose they are.
    socket: UdpSocket,
    rule: u32,
    tried: u16,
}

/// One that floods and others beside it. None of them may send anything, each by a rule of its own.
struct Street {
    flooding: Cgroup,
    quiet: Vec<Quiet>,
    /// Frames that the hook has denied.
    denied: u64,
    /// How long that took.
    time: Duration,
}

impl Quiet {
    fn try_once(&mut self) {
        let refused =
            self.socket.send_to(&[0; 10], v4(2, FIRST_PORT + self.tried)).expect_err("it is denied");
        assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        self.tried += 1;
    }
}

impl Street {
    fn new(node: &mut Node) -> Self {
        node.loaded.sensor.need("policy", true);
        let flooding = node.cgroup();
        assert!(node.loaded.budgets.pay_for_all_below(flooding.id).expect("a budget"));
        let quiet = (1..=QUIET).map(|number| {
            let cgroup = node.cgroup();
            let bind = || UdpSocket::bind(v4(1, 0)).expect("it binds");
            let socket = in_namespace(&ADDRESSES, || cgroup.enter(bind));
            Quiet { cgroup, socket, rule: RULE + number, tried: 0 }
        });
        Self { quiet: quiet.collect(), flooding, denied: 0, time: Duration::ZERO }
    }

    /// From here on nobody may send.
    fn deny(&self, node: &mut Node) {
        let maps = &mut node.loaded.policy;
        let slot = maps.next_slot();
        for identity in [Identity::UNRESOLVED, Identity::NOBODY] {
            maps.set_subject(slot, identity, Subject::default()).expect("a subject");
        }
        let quiet = self.quiet.iter().map(|quiet| (&quiet.cgroup, quiet.rule));
        for (number, (cgroup, rule)) in (0..).zip([(&self.flooding, RULE)].into_iter().chain(quiet)) {
            let interval = Interval { first: 0, rule, verdict: VERDICT_DENY, why: why::RULE, padding: 0 };
            maps.set_intervals(slot, number, &[interval]).expect("an interval");
            let any = [Span { start: number, length: 1 }, Span::default()];
            let identity = Identity(WEB.0 + number);
            maps.set_subject(slot, identity, Subject { any, pairs: [0; 2] }).expect("a subject");
            let resident = Resident { identities: [identity; 2], owns_below: 1, covered: 0 };
            maps.set_resident(cgroup.id, resident).expect("a resident");
        }
        maps.activate().expect("a generation");
    }

    /// One attempt after the other to something else each, as many as the table has rows.
    fn fill_the_ledger(&self, node: &Node, rows: u16) {
        self.flooding.enter(|| {
            for port in 1..=rows {
                let refused = TcpStream::connect(v4(2, port)).expect_err("it is denied");
                assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
            }
        });
        assert!(node.failures("ledger_full") > 0, "there is still room");
    }

    /// The hook denies packets of `cgroup` on each CPU, as fast as it goes, and each of the others tries something every
    /// now and then.
    fn burst(&mut self, node: &Node, cgroup: Option<&Cgroup>, frame: impl Fn(u8) -> Vec<u8>) {
        let cpus = thread::available_parallelism().map_or(1, NonZero::get) as u8;
        let frames: Vec<_> = (1..=cpus).map(frame).collect();
        let Self { flooding, quiet, .. } = self;
        // The runs are of the cgroup that the process is in.
        self.time += cgroup.unwrap_or(flooding).enter(|| {
            thread::scope(|scope| {
                let floods: Vec<_> = frames
                    .iter()
                    .map(|frame| {
                        scope.spawn(move || {
                            let begun = Instant::now();
                            let run = node.loaded.sensor.run_hook("cgroup_skb_egress", frame, RUNS);
                            run.map(|_| begun.elapsed()).expect("the hook runs")
                        })
                    })
                    .collect();
                while !floods.iter().all(ScopedJoinHandle::is_finished) {
                    quiet.iter_mut().for_each(Quiet::try_once);
                    thread::sleep(PAUSE);
                }
                let times = floods.into_iter().map(|flood| flood.join().expect("it ends well"));
                times.max().unwrap_or_default()
            })
        });
        self.denied += u64::from(RUNS) * u64::from(cpus);
    }

    /// Nothing of what was denied to the others is missing, and all is accounted for.
    fn assert_told(&self, node: &mut Node, how: &str) {
        let mut told = HashMap::<(CgroupId, u32, u16), u64>::new();
        for record in node.drain() {
            if let Record::Verdict(verdict) = record {
                let key = (verdict.source, verdict.judgement.rule, verdict.port);
                *told.entry(key).or_default() += verdict.attempts;
            }
        }
        let tallies = node.tallies(family::POLICY);
        let flood = tallies[&self.flooding.id];
        let tried: u64 = self.quiet.iter().map(|quiet| u64::from(quiet.tried)).sum();
        let keys = self.quiet.iter().flat_map(|quiet| {
            (0..quiet.tried).map(|number| (quiet.cgroup.id, quiet.rule, FIRST_PORT + number))
        });
        let missing: Vec<_> = keys.filter(|key| told.get(key) != Some(&1)).collect();
        let per_second = |count: u64| count as f64 / self.time.as_secs_f64().max(f64::EPSILON);
        // Past the capture of the test's output: this is asked for, and not only when it fails.
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{how}: {} denied in {:?} ({:.0}/s), {} records issued ({:.0}/s), {} shed, {} lost; others: {tried} denied, \
             {} not told",
            self.denied,
            self.time,
            per_second(self.denied),
            flood.issued,
            per_second(flood.issued),
            flood.shed,
            flood.lost,
            missing.len(),
        )
        .expect("stdout");
        drop(out);
        assert_eq!(missing, [], "of {tried}");
        for quiet in &self.quiet {
            let tally = tallies[&quiet.cgroup.id];
            assert_eq!((tally.issued, tally.shed, tally.lost), (quiet.tried.into(), 0, 0));
        }
        assert_eq!(tallies[&CgroupId::NONE].issued, 0, "somebody paid from what all share");
        node.assert_exact();
    }

    /// How many attempts of the one that floods were counted, as far as the rows tell whose they were.
    fn counted(&self, node: &Node) -> u64 {
        let rows = node.rows(|key| key.verdict == VERDICT_DENY && key.rule == RULE);
        rows.iter().map(|(_, row)| row.attempts).sum()
    }
}

fn replies(number: u8) -> Vec<u8> {
    flood::echo_reply(Ipv4Addr::new(198, 18, 9, number))
}

#[test]
fn a_flood_of_denied_packets_hides_no_denial_of_others() {
    let mut node = Node::fresh();
    let mut street = Street::new(&mut node);
    street.deny(&mut node);
    while street.time < LONG_ENOUGH {
        street.burst(&node, None, replies);
        node.drain();
    }
    street.assert_told(&mut node, "one target");
    assert_eq!(street.counted(&node), street.denied);
}

#[test]
fn a_flood_to_so_many_targets_that_the_ledger_is_full_hides_no_denial_of_others() {
    const ROWS: u16 = 16_384;
    let mut node = Node::fresh();
    let mut street = Street::new(&mut node);
    street.deny(&mut node);
    street.fill_the_ledger(&node, ROWS);
    while street.time < LONG_ENOUGH {
        street.burst(&node, None, replies);
        node.drain();
    }
    street.assert_told(&mut node, "full ledger");
    assert_eq!(street.counted(&node), street.denied + u64::from(ROWS));
    assert_eq!(node.failures("ledger_overfull"), 0);
}

#[test]
fn a_flood_that_leaves_no_row_of_the_ledger_to_anybody_hides_no_denial_of_others() {
    // Of which eight are kept for all that others try.
    let mut node = Node::with(|options| options.ledger_rows = 64);
    let mut street = Street::new(&mut node);
    street.deny(&mut node);
    street.fill_the_ledger(&node, 64);
    while street.time < LONG_ENOUGH / 4 {
        street.burst(&node, None, replies);
        node.drain();
    }
    assert!(node.failures("ledger_overfull") > 0);
    street.assert_told(&mut node, "ledger without a row");
}

#[test]
fn a_flood_that_nobody_takes_out_of_the_ring_leaves_room_for_the_denials_of_others() {
    let mut node = Node::fresh();
    let mut street = Street::new(&mut node);
    street.deny(&mut node);
    street.fill_the_ledger(&node, 16_384);
    while street.time < LONG_ENOUGH / 2 {
        street.burst(&node, None, replies);
    }
    street.assert_told(&mut node, "ring not emptied");
}

#[test]
fn a_flood_out_of_ever_more_cgroups_is_paid_by_its_container_and_hides_no_denial_of_others() {
    let mut node = Node::fresh();
    let mut street = Street::new(&mut node);
    street.deny(&mut node);
    for number in 0..200 {
        // It has never sent anything, and is gone before the daemon has seen it.
        let inside = street.flooding.nested(&number.to_string());
        street.burst(&node, Some(&inside), replies);
        node.drain();
        if street.time > LONG_ENOUGH / 2 {
            break;
        }
    }
    street.assert_told(&mut node, "many cgroups");
}

#[test]
fn a_cgroup_that_was_there_before_the_daemon_pays_from_its_containers_budget_for_what_it_is_denied() {
    let before = Node::fresh();
    let container = before.cgroup();
    let inside = container.nested("inside");
    // For an echo reply, which begins no flow.
    let socket = in_namespace(&ADDRESSES, || {
        let raw = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4)).expect("a raw socket");
        inside.enter(raw)
    });
    drop(before);

    let mut node = Node::fresh();
    let street = Street { flooding: container, ..Street::new(&mut node) };
    street.deny(&mut node);
    assert!(node.loaded.budgets.pay_for_all_below(street.flooding.id).expect("a budget"));
    let refused = socket.send_to(&[0; 8], &v4(2, 0).into()).expect_err("it is denied");
    drop(inside);
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
    assert_eq!(node.tallies(family::POLICY)[&street.flooding.id].issued, 1);
    street.assert_told(&mut node, "a cgroup of before");
}

#[test]
fn a_flood_that_fills_the_table_of_flows_hides_no_denial_of_others() {
    const FLOWS: u32 = 1_024;
    let mut node = Node::with(|options| options.flows = FLOWS);
    let mut street = Street::new(&mut node);
    // While it may still: a flow each.
    let sockets: Vec<_> = street.flooding.enter(|| {
        let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("it binds");
        let sockets: Vec<_> = (0..FLOWS / 64).map(|_| bind()).collect();
        for (socket, port) in sockets.iter().flat_map(|socket| (0..64).map(move |port| (socket, port))) {
            // Where nobody listens it is told so with one of the next.
            let _ = socket.send_to(&[0; 10], (Ipv4Addr::LOCALHOST, 30_000 + port));
        }
        sockets
    });
    street.deny(&mut node);
    while street.time < LONG_ENOUGH / 4 {
        street.burst(&node, None, |number| flood::frame(number.into()));
        node.drain();
    }
    assert!(node.failures("flows_full") > 0);
    street.assert_told(&mut node, "full table of flows");
    drop(sockets);
}
