//! One that floods sheds its own records: each is accounted for, and the others go without nothing.

use std::{
    collections::HashMap,
    io::{self, Write as _},
    num::NonZero,
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use cofferdam::sensor::{
    budgets::{Allowance, Allowances, Missing, Standing},
    counts::{Counts as _, Family},
    record::Record,
};
use cofferdam_common::{budget::Tally, ids::CgroupId, record::family};

use cofferdam_tests::flood::{self, Sender};

use crate::node::{Cgroup, Node};

/// How long neighbours have to bear a flood.
const LONG_ENOUGH: Duration = Duration::from_secs(4);

const SMALL: Allowance = Allowance { per_second: 1_000, burst: 100 };

fn frugal() -> Node {
    Node::with(|options| options.allowances = Allowances { ordinary: SMALL, security: SMALL })
}

impl Node {
    /// Lets the egress hook see `records` segments from `port` of the caller's cgroup, as fast as it goes. Returns how
    /// long that took.
    pub(crate) fn flood(&self, port: u16, records: u32) -> Duration {
        let begun = Instant::now();
        let sensor = &self.loaded.sensor;
        sensor.run_hook("cgroup_skb_egress", &flood::frame(port), records).expect("the hook runs");
        begun.elapsed()
    }

    pub(crate) fn family(&self, number: u32) -> Family {
        self.loaded.ledger.families().expect("counters").remove(number as usize)
    }

    /// What the budgets say of a family, by the cgroup that they were made for.
    pub(crate) fn tallies(&self, number: u32) -> HashMap<CgroupId, Tally> {
        let budgets = self.loaded.budgets.budgets().expect("budgets");
        budgets.values().map(|budget| (budget.cgroup, budget.families[number as usize])).collect()
    }

    /// Records that came out of the rings, by family and by who had to pay.
    fn delivered(&mut self) -> HashMap<(u32, CgroupId), u64> {
        let mut delivered = HashMap::new();
        for record in self.drain() {
            let payer = match record {
                Record::FlowOpen(flow) | Record::FlowClose(flow) if flow.client == CgroupId::NONE => {
                    flow.server
                }
                Record::FlowOpen(flow) | Record::FlowClose(flow) => flow.client,
                Record::Fork(record) => record.header.cgroup,
                Record::Exec(record) => record.header.cgroup,
                Record::Exit(record) => record.header.cgroup,
                Record::Verdict(record) if record.source == CgroupId::NONE => record.header.cgroup,
                Record::Verdict(record) => record.source,
                Record::DnsAnswer(record) => record.header.cgroup,
                Record::CgroupMade(record) | Record::CgroupRemoved(record) => record.header.cgroup,
                Record::CgroupAttached(record) => record.header.cgroup,
            };
            *delivered.entry((record.family(), payer)).or_default() += 1;
        }
        delivered
    }

    /// issued = delivered + shed + lost, by family: also while other processes of the machine go on.
    pub(crate) fn assert_exact(&mut self) {
        for number in 0..family::COUNT {
            let until = Instant::now() + Duration::from_secs(10);
            loop {
                let delivered: u64 = self
                    .delivered()
                    .iter()
                    .filter(|((of, _), _)| *of == number)
                    .map(|(_, count)| count)
                    .sum();
                let family = self.family(number);
                let tallies = self.tallies(number);
                let sum = |what: fn(&Tally) -> u64| tallies.values().map(what).sum::<u64>();
                let by_budget = (sum(|tally| tally.issued), sum(|tally| tally.shed), sum(|tally| tally.lost));
                if family.issued == delivered + family.shed + family.lost
                    && by_budget == (family.issued, family.shed, family.lost)
                {
                    break;
                }
                assert!(Instant::now() < until, "{family:?}, {delivered} delivered, {by_budget:?} by budget");
            }
        }
    }
}

fn sender(cgroup: &Cgroup, port: u16) -> Sender {
    cgroup.enter(|| Sender::new(port)).expect("a raw socket")
}

/// The most that may pass of a flood that took `time`.
fn most(allowance: Allowance, time: Duration) -> u64 {
    let cpus = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    u64::from(allowance.burst) + (time.as_secs_f64() * f64::from(allowance.per_second)) as u64 + cpus
}

#[test]
fn a_flood_passes_as_far_as_its_budget_goes_and_every_record_is_accounted_for() {
    let mut node = frugal();
    let cgroup = node.cgroup();
    let time = cgroup.enter(|| node.flood(1, 20_000));
    let tally = node.tallies(family::NETWORK)[&cgroup.id];
    let delivered = node.delivered()[&(family::NETWORK, cgroup.id)];
    assert_eq!((tally.issued, tally.lost), (20_000, 0));
    assert_eq!(tally.issued, delivered + tally.shed);
    assert!(delivered >= 100, "the burst passes, but {delivered} did");
    assert!(delivered <= most(SMALL, time), "{delivered} in {time:?}");
    node.assert_exact();
    let row = node.row_from(&cgroup, |row| row.attempts == 20_000);
    assert_eq!(row.1.attempts, 20_000, "the ledger counts what was shed");
}

#[test]
fn several_cpus_that_pay_from_one_budget_overdraw_it_by_no_more_than_they_are_many() {
    let mut node = frugal();
    let cgroup = node.cgroup();
    let begun = Instant::now();
    cgroup.enter(|| {
        thread::scope(|scope| {
            for port in 1..=4 {
                let node = &node;
                scope.spawn(move || node.flood(port, 10_000));
            }
        });
    });
    let time = begun.elapsed();
    let tally = node.tallies(family::NETWORK)[&cgroup.id];
    assert_eq!(tally.issued, 40_000);
    assert!(tally.issued - tally.shed <= most(SMALL, time), "{tally:?} in {time:?}");
    node.assert_exact();
}

/// A flood, and fifty quiet neighbours of which each sends one record at a time.
struct Street {
    flooding: Cgroup,
    quiet: Vec<(Cgroup, Sender)>,
    issued: u64,
    /// Cgroups that were made meanwhile.
    made: Vec<CgroupId>,
}

impl Street {
    fn new(node: &Node) -> Self {
        let quiet = (0..50).map(|number| {
            let cgroup = node.cgroup();
            let sender = sender(&cgroup, 1000 + number);
            (cgroup, sender)
        });
        Self { flooding: node.cgroup(), quiet: quiet.collect(), issued: 0, made: Vec::new() }
    }

    /// Each quiet one does a little, and a cgroup comes and goes.
    fn live(&mut self, node: &Node) {
        for (_, sender) in &self.quiet {
            sender.send(1).expect("it is sent");
        }
        self.issued += 1;
        self.made.push(node.cgroup().id);
    }

    fn assert_fair(&self, node: &mut Node, how: &str, time: Duration) {
        let tallies = node.tallies(family::NETWORK);
        let of = |cgroup: &Cgroup| tallies[&cgroup.id];
        let missed: u64 = self.quiet.iter().map(|(cgroup, _)| of(cgroup).shed + of(cgroup).lost).sum();
        let issued: u64 = self.quiet.iter().map(|(cgroup, _)| of(cgroup).issued).sum();
        let flood = of(&self.flooding);
        let rate = flood.issued as f64 / time.as_secs_f64();
        // Past the capture of the test's output: this is asked for, and not only when it fails.
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{how}: {} records in {time:?} ({rate:.0}/s), {} shed, {} lost; 50 quiet: {issued} issued, {missed} missed",
            flood.issued, flood.shed, flood.lost,
        )
        .expect("stdout");
        drop(out);
        assert!(flood.shed > 0, "{flood:?}");
        assert_eq!(issued, 50 * self.issued);
        assert!(missed * 1000 <= issued, "{missed} of the quiet ones' {issued} records are missing");

        let security = node.family(family::CONTAINER);
        assert_eq!((security.shed, security.lost), (0, 0), "{security:?}");
        let made = |record: &Record| match record {
            Record::CgroupMade(made) => Some(made.subject),
            _ => None,
        };
        let told: Vec<_> = node.drain().iter().filter_map(made).collect();
        assert!(
            self.made.iter().all(|cgroup| told.contains(cgroup)),
            "a cgroup was made and nobody was told"
        );
        node.assert_exact();
    }
}

#[test]
fn a_flood_of_packets_costs_fifty_quiet_neighbours_and_security_nothing() {
    // Little, so that a flood in a virtual machine is one as well.
    let mut node = Node::with(|options| {
        options.allowances.ordinary = Allowance { per_second: 1_000, burst: 500 };
    });
    let mut street = Street::new(&node);
    let senders = [1, 2].map(|port| sender(&street.flooding, port));
    let begun = Instant::now();
    let mut time = Duration::ZERO;
    thread::scope(|scope| {
        let flood = |sender: &Sender| {
            while begun.elapsed() < LONG_ENOUGH {
                sender.send(1_000).expect("they are sent");
            }
        };
        let floods = senders.each_ref().map(|sender| scope.spawn(move || flood(sender)));
        while !floods.iter().all(ScopedJoinHandle::is_finished) {
            street.live(&node);
            node.drain();
            time = begun.elapsed();
            thread::sleep(Duration::from_millis(5));
        }
    });
    street.assert_fair(&mut node, "packets", time);
}

#[test]
fn a_million_records_a_second_cost_fifty_quiet_neighbours_and_security_nothing() {
    const RECORDS: u32 = 50_000;
    let mut node = Node::fresh();
    let mut street = Street::new(&node);
    let mut time = Duration::ZERO;
    while time < LONG_ENOUGH {
        // The runs are of the cgroup that the process is in.
        let flooding = &street.flooding;
        let begun = Instant::now();
        flooding.enter(|| {
            thread::scope(|scope| {
                for port in [1, 2] {
                    let node = &node;
                    scope.spawn(move || node.flood(port, RECORDS));
                }
                for (_, sender) in &street.quiet {
                    sender.send(1).expect("it is sent");
                }
            });
        });
        time += begun.elapsed();
        street.live(&node);
        street.issued += 1;
        node.drain();
    }
    street.assert_fair(&mut node, "test runs", time);
}

#[test]
fn a_ring_that_nobody_empties_keeps_room_for_those_that_are_quiet() {
    let mut node = Node::with(|options| {
        // For some 900 records, of which the flood alone may send 1,200 at once.
        options.flow_ring_bytes = 1 << 17;
        options.allowances.ordinary = Allowance { per_second: 1_000, burst: 1_200 };
    });
    let flooding = node.cgroup();
    let quiet: Vec<_> = (0..50).map(|_| node.cgroup()).collect();
    flooding.enter(|| node.flood(1, 20_000));
    for cgroup in &quiet {
        cgroup.enter(|| node.flood(1, 2));
    }
    let tallies = node.tallies(family::NETWORK);
    let flood = tallies[&flooding.id];
    assert_eq!((flood.issued, flood.lost), (20_000, 0));
    for cgroup in &quiet {
        let tally = tallies[&cgroup.id];
        assert_eq!((tally.issued, tally.shed, tally.lost), (2, 0, 0));
    }
    node.assert_exact();
}

#[test]
fn a_container_gains_nothing_by_making_more_cgroups() {
    let mut node = frugal();
    let container = node.cgroup();
    assert!(node.loaded.budgets.pay_for_all_below(container.id).expect("a budget"));
    let begun = Instant::now();
    for number in 0..20 {
        let inside = container.nested(&format!("{number}"));
        inside.enter(|| node.flood(1, 1_000));
    }
    let time = begun.elapsed();
    let tally = node.tallies(family::NETWORK)[&container.id];
    assert_eq!(tally.issued, 20_000);
    assert!(tally.issued - tally.shed <= most(SMALL, time), "{tally:?} in {time:?}");
    node.assert_exact();
}

#[test]
fn cgroups_that_were_there_before_their_container_was_known_pay_from_its_budget_afterwards() {
    let mut node = frugal();
    let container = node.cgroup();
    let inside = container.nested("inside");
    inside.enter(|| node.flood(1, 1_000));
    let before = node.tallies(family::NETWORK)[&inside.id];
    assert_eq!(before.issued, 1_000);

    let (ours, below) = (container.id, inside.id);
    let budgets = &mut node.loaded.budgets;
    assert!(budgets.pay_for_all_below(ours).expect("a budget"));
    budgets
        .settle(|cgroup| if cgroup == below { Standing::Below(ours) } else { Standing::Alone })
        .expect("settled");
    inside.enter(|| node.flood(1, 1_000));
    let tallies = node.tallies(family::NETWORK);
    assert_eq!(tallies[&ours].issued, 1_000);
    assert_eq!(tallies[&below], before, "what it sent before stays accounted for");
    node.assert_exact();
}

#[test]
fn what_a_cgroup_that_is_gone_missed_is_told_once_and_its_budget_is_free_again() {
    // One is shared, one the test's own process pays from, where it is not in a cgroup of the test.
    let mut node = Node::with(|options| {
        options.allowances = Allowances { ordinary: SMALL, security: SMALL };
        options.budgets = 64;
    });
    let mut told = 0;
    for _ in 0..3 {
        for _ in 0..30 {
            let cgroup = node.cgroup();
            cgroup.enter(|| node.flood(1, 200));
        }
        let budgets = &mut node.loaded.budgets;
        budgets
            .settle(|cgroup| if cgroup != CgroupId::ROOT { Standing::Gone } else { Standing::Alone })
            .expect("settled");
        told += shed(&budgets.missing().expect("budgets"));
        thread::sleep(Duration::from_millis(2_100));
        budgets.clear().expect("cleared");
        assert_eq!(shed(&budgets.missing().expect("budgets")), 0);
    }
    assert_eq!(told, node.family(family::NETWORK).shed);
    assert_eq!(node.failures("budgets_full"), 0);
}

fn shed(missing: &[Missing]) -> u64 {
    missing.iter().filter(|missing| missing.family == family::NETWORK).map(|missing| missing.shed).sum()
}

#[test]
fn cgroups_for_which_no_budget_is_free_share_one() {
    let mut node = Node::with(|options| options.budgets = 2);
    let cgroups: Vec<_> = (0..5).map(|_| node.cgroup()).collect();
    for cgroup in &cgroups {
        cgroup.enter(|| node.flood(1, 100));
    }
    assert!(node.tallies(family::NETWORK)[&CgroupId::NONE].issued >= 400);
    assert!(node.failures("budgets_full") >= 4);
    node.assert_exact();
}

#[test]
fn a_container_that_moves_tasks_in_a_loop_cannot_fill_the_ring_for_security() {
    let mut node = frugal();
    let container = node.cgroup();
    node.loaded.budgets.pay_for_all_below(container.id).expect("a budget");
    let inside = container.nested("inside");
    inside.come_and_go(&container, 1_000);
    let tally = node.tallies(family::CONTAINER)[&container.id];
    assert!(tally.issued >= 2_000 && tally.shed > 0 && tally.lost == 0, "{tally:?}");
    let other = node.cgroup();
    node.record(|record| {
        matches!(record, Record::CgroupMade(made) if made.subject == other.id).then_some(())
    });
    node.assert_exact();
}

#[test]
fn budgets_can_be_changed_while_the_hooks_run() {
    let mut node = frugal();
    let cgroup = node.cgroup();
    let none = Allowance { per_second: 0, burst: 0 };
    node.loaded.limits.set(&Allowances { ordinary: none, security: none }).expect("set");
    cgroup.enter(|| node.flood(1, 5_000));
    assert_eq!(node.tallies(family::NETWORK)[&cgroup.id].shed, 0);
    node.loaded.limits.set(&Allowances { ordinary: SMALL, security: SMALL }).expect("set");
    cgroup.enter(|| node.flood(1, 5_000));
    assert!(node.tallies(family::NETWORK)[&cgroup.id].shed > 0);
    node.assert_exact();
}
