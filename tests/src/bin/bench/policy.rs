//! What judging by policies costs: the real programs and maps, among so many rules and workloads that rules tell apart.
//!
//! An echo reply that nobody asked for belongs to no flow, so that it is judged each time. The kernel is given one over
//! and over (`BPF_PROG_TEST_RUN`), as if this process had sent it: to one target, or each time to another. Nothing is sent.

mod kernel;

mod written;

use std::{
    collections::{BTreeMap, HashMap},
    hint::black_box,
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cofferdam::{
    attribution::Placed,
    config::{ByDefault, NeverTold, Unresolved},
    enforcement::Sync,
    event::{Workload, WorkloadKind},
    policy::{Plan, RuleNumbers, Settings, folder::Set, model::Policy},
    sensor::Sensor,
};
use cofferdam_common::ids::{Address, CgroupId};
use cofferdam_tests::flood;

use self::{
    kernel::{Kernel, map_memory},
    written::{SENDER, Written},
};
use crate::{
    costs,
    results::{Change, Judged, Machine, Plans, Price},
    statistics::median,
};

/// Nothing else on this machine shall be judged.
const SETTINGS: Settings = Settings {
    default_egress: ByDefault::Allow,
    default_ingress: ByDefault::Allow,
    unresolved: Unresolved::Allow,
    unresolved_for: Duration::from_secs(5),
    never_told: NeverTold::Judge,
};

/// The hook that judges what is sent.
const HOOK: &str = "cgroup_skb_egress";

/// Most targets that packets go to.
const TARGETS: usize = 1_000;

/// The identities of these workloads do not matter: the kernel gives no cgroup such a number.
const CGROUPS: u64 = 1 << 40;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rules: &'static [usize],
    pub(crate) workloads: &'static [usize],
    /// How often the price of a packet is measured, before, while and after policies are in force.
    pub(crate) runs: usize,
    /// Packets of each run to one target.
    pub(crate) packets: u32,
    /// How often a change is made.
    pub(crate) changes: usize,
}

/// Measures it all.
pub(crate) fn measure(effort: Effort, machine: Machine, say: impl Fn(&str)) -> anyhow::Result<Judged> {
    let Kernel { loaded, own, place: _place } = Kernel::start()?;
    let mut sync = Sync::new(loaded.policy);
    let bench = Bench { sensor: &loaded.sensor, own, effort };
    let mut judged = Judged {
        machine,
        maps_empty: map_memory()?,
        rows: Vec::new(),
        maps_full: BTreeMap::new(),
        process: 0,
        changes: Vec::new(),
    };
    for workloads in effort.workloads {
        for rules in effort.rules {
            say(&format!("{rules} rules, {workloads} workloads"));
            judged.rows.push(bench.row(&mut sync, *rules, *workloads)?);
        }
    }
    let (rules, workloads) = (last(effort.rules)?, last(effort.workloads)?);
    say(&format!("changes of one rule of {rules}"));
    bench.changes(&mut sync, rules, workloads, &mut judged)?;
    Ok(judged)
}

fn last(sizes: &[usize]) -> anyhow::Result<usize> {
    sizes.last().copied().context("there is nothing to measure")
}

struct Bench<'a> {
    sensor: &'a Sensor,
    own: CgroupId,
    effort: Effort,
}

impl Bench<'_> {
    /// Among so many rules and workloads.
    fn row(&self, sync: &mut Sync, rules: usize, workloads: usize) -> anyhow::Result<Plans> {
        let written = Written { rules, workloads };
        let placed = self.placed(workloads);
        let targets: Vec<_> =
            (0..written.subjects().min(TARGETS)).map(|number| flood::echo_reply(address(number))).collect();
        let mut row = Plans { rules, workloads, targets: targets.len(), ..Plans::default() };
        row.off.extend(self.prices(&targets)?);
        let policies = read(&written.text())?;
        let begun = Instant::now();
        sync.apply(policies, SETTINGS, &placed, |_| {})?;
        row.seconds = begun.elapsed().as_secs_f64();
        sync.turn(&placed, &addresses(workloads, &placed))?;
        let size = sync.plan().map(Plan::size).context("nothing is in force")?;
        (row.identities, row.pairs, row.intervals) = (size.identities, size.pairs, size.intervals);
        row.on.extend(self.prices(&targets)?);
        row.map_bytes = map_memory()?.values().sum();
        sync.apply(Vec::new(), SETTINGS, &[], |_| {})?;
        row.off.extend(self.prices(&targets)?);
        Ok(row)
    }

    fn prices(&self, targets: &[Vec<u8>]) -> anyhow::Result<Vec<Price>> {
        let mut prices = Vec::new();
        for (_, target) in (0..self.effort.runs).zip(targets.iter().cycle()) {
            let same = self.sensor.run_hook(HOOK, target, self.effort.packets)? as f64;
            let each = targets.iter().cycle().take(TARGETS);
            let each = each.map(|frame| Ok(self.sensor.run_hook(HOOK, frame, 1)? as f64));
            let each = median(&each.collect::<anyhow::Result<Vec<_>>>()?);
            prices.push(Price { same, each });
        }
        Ok(prices)
    }

    /// What it takes until a change of one rule among all is in force, and what memory that needs.
    fn changes(
        &self,
        sync: &mut Sync,
        rules: usize,
        workloads: usize,
        judged: &mut Judged,
    ) -> anyhow::Result<()> {
        let written = Written { rules, workloads };
        let placed = self.placed(workloads);
        let resident = || costs::memory(std::process::id()).map(|memory| memory.resident);
        let texts = [
            ("all of it, for the first time", written.text()),
            ("another port", written.text_with_another_port()),
            ("a rule less", written.text_with_a_rule_less()),
        ];
        let before = resident()?;
        let [first, others @ ..] = &texts;
        let mut change = |what: &str, text: &str| -> anyhow::Result<Change> {
            let begun = Instant::now();
            let policies = read(text)?;
            let reading = begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            compile(policies.clone(), &placed)?;
            let compiling = begun.elapsed().as_secs_f64();
            let begun = Instant::now();
            sync.apply(policies, SETTINGS, &placed, |_| {})?;
            let applying = begun.elapsed().as_secs_f64();
            Ok(Change { what: what.to_owned(), reading, compiling, applying })
        };
        judged.changes.push(change(first.0, &first.1)?);
        for (what, text) in others {
            for _ in 0..self.effort.changes {
                judged.changes.push(change(what, text)?);
                judged.changes.push(change(what, &first.1)?);
            }
        }
        judged.process = resident()?.saturating_sub(before);
        judged.maps_full = map_memory()?;
        sync.apply(Vec::new(), SETTINGS, &[], |_| {})
    }

    /// Who lives where: this process is the sender.
    fn placed(&self, workloads: usize) -> Vec<Placed> {
        let place = |cgroup, name: &str| Placed {
            cgroup,
            workload: Arc::new(Workload::named(WorkloadKind::Container, name)),
            home: cgroup,
            own: true,
            told: true,
        };
        let others =
            (0..workloads).map(|number| place(CgroupId(CGROUPS + number as u64), &written::name(number)));
        [place(self.own, SENDER)].into_iter().chain(others).collect()
    }
}

fn read(text: &str) -> anyhow::Result<Vec<Arc<Policy>>> {
    let mut set = Set::default();
    set.add_text(Path::new("bench.yaml"), text.to_owned())?;
    Ok(set.into_parts().0)
}

/// What [`Sync::apply`] does before it writes.
fn compile(policies: Vec<Arc<Policy>>, placed: &[Placed]) -> anyhow::Result<()> {
    let mut plan = Plan::new(policies, SETTINGS, &mut RuleNumbers::default())?;
    for placed in placed {
        plan.admit(plan.signature(&placed.workload))?;
    }
    black_box(plan);
    Ok(())
}

fn address(number: usize) -> Ipv4Addr {
    // 198.18.0.0/15 is for benchmarks (RFC 2544), and has room for a hundred thousand.
    Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 10)) + number as u32)
}

fn addresses(workloads: usize, placed: &[Placed]) -> HashMap<Address, CgroupId> {
    let others = placed.iter().skip(1).take(workloads);
    let mapped = |number| Address(address(number).to_ipv6_mapped().octets());
    others.enumerate().map(|(number, placed)| (mapped(number), placed.cgroup)).collect()
}
