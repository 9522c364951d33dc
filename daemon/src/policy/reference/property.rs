//! The plan, and a copy of it that knows only what was added, judge random packets as the documents say.

mod random;

use std::{
    collections::{HashMap, HashSet},
    env,
    net::IpAddr,
    sync::Arc,
};

use cofferdam_common::{
    case::{Case, Names, Party, Places},
    ids::{Address, CgroupId},
    name::{PatternId, PatternKey},
    policy::{
        EGRESS, INGRESS, Identity, Interval, Judgement, PairKey, Span, Subject, Tables, judge as judge_by,
        service,
    },
};
use fastrand::Rng;

use self::random::{ADDRESSES, NAMES, PORTS, pick, policies, settings, some, workload};
use super::{End, Judged, judge};
use crate::{
    event::{Verdict, Workload, WorkloadKind},
    policy::{
        Additions, Plan, RuleNumbers, Settings, explain,
        model::{Direction, Policy},
    },
};

/// Sets of policies, unless the environment's `COFFERDAM_POLICY_SETS` says otherwise.
const SETS: u64 = 500;
/// Packets for each set, each judged in both directions.
const PACKETS: usize = 256;

/// The kernel's maps, as far as they were written.
#[derive(Default)]
struct Copy {
    intervals: Vec<Interval>,
    pairs: HashMap<PairKey, Span>,
    subjects: HashMap<Identity, Subject>,
}

impl Copy {
    fn write(&mut self, plan: &Plan, additions: Additions) {
        assert_eq!(additions.intervals.start, self.intervals.len());
        self.intervals.extend_from_slice(&plan.intervals()[additions.intervals]);
        for (key, span) in additions.pairs {
            assert_eq!(self.pairs.insert(key, span), None, "a pair is written once");
        }
        for (identity, subject) in additions.subjects {
            let Some(before) = self.subjects.insert(identity, subject) else { continue };
            assert_eq!(before.any, subject.any, "only whether there are pairs may change");
            assert_ne!(before.pairs, subject.pairs);
        }
    }
}

impl Tables for Copy {
    fn subject(&self, _: u8, identity: Identity) -> Option<Subject> {
        self.subjects.get(&identity).copied()
    }

    fn pair(&self, key: &PairKey) -> Option<Span> {
        self.pairs.get(&PairKey { slot: 0, ..*key }).copied()
    }

    fn interval(&self, _: u8, index: u32) -> Option<Interval> {
        self.intervals.get(index as usize).copied()
    }
}

/// The identity that the kernel's trie gives an address: it knows IPv6 only.
fn identity_by_prefix(plan: &Plan, address: IpAddr) -> Identity {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().to_bits(),
        IpAddr::V6(six) => six.to_bits(),
    };
    let longest = plan
        .networks()
        .map(|(prefix, identity)| {
            let mapped = if prefix.addr().is_ipv4() { 96 } else { 0 };
            (prefix.prefix_len() + mapped, bits(prefix.addr()), identity)
        })
        .filter(|(length, prefix, _)| (prefix ^ bits(address)).leading_zeros() >= u32::from(*length))
        .max_by_key(|(length, ..)| *length);
    longest.map_or(Identity::NOBODY, |(_, _, identity)| identity)
}

/// The pattern that the kernel's trie gives a name.
fn pattern_by_prefix(plan: &Plan, name: &str) -> PatternId {
    let wire: Vec<u8> =
        name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    let (PatternKey { name: key, .. }, _) = PatternKey::new(0, &wire, true);
    let begins_so = |(pattern, bits): (PatternKey, u32)| {
        let bytes = bits as usize / 8 - 1;
        (pattern.name[..bytes] == key[..bytes]).then_some(bits)
    };
    let found = plan.patterns().filter_map(|(pattern, id, _)| Some((begins_so(pattern.key(0))?, id)));
    found.max_by_key(|(bits, _)| *bits).map_or(PatternId::NONE, |(_, id)| id)
}

/// What the kernel looks up for two ends.
struct Kernel<'a, T> {
    plan: &'a Plan,
    tables: &'a T,
    identities: [Identity; 2],
    /// Those under which the source knows the target.
    patterns: Vec<PatternId>,
}

const SOURCE: CgroupId = CgroupId(10);
const TARGET: CgroupId = CgroupId(11);

impl<T: Tables> Places for Kernel<'_, T> {
    fn owner_of_address(&self, _: &Address) -> Option<CgroupId> {
        None
    }

    fn identity(&self, owner: CgroupId) -> Identity {
        self.identities[usize::from(owner == TARGET)]
    }

    fn outside(&self, address: &Address) -> Identity {
        self.plan.identity_of_address((*address).into())
    }

    fn judge_end(&self, direction: u8, subject: Identity, peer: Identity, service: u32) -> Judgement {
        judge_by(self.tables, 0, direction, subject, peer, service)
    }
}

impl<T: Tables> Names for Kernel<'_, T> {
    fn by_name(&self, owner: CgroupId, _: &Address) -> impl Iterator<Item = Identity> {
        assert_eq!(owner, SOURCE);
        self.patterns.iter().filter_map(|id| self.plan.identity_of_pattern(*id))
    }
}

struct Scene {
    policies: Vec<Policy>,
    settings: Settings,
    plan: Plan,
    copy: Copy,
    ends: Vec<(End, Identity)>,
}

impl Scene {
    fn new(rng: &mut Rng) -> Self {
        let (policies, settings) = (policies(rng), settings(rng));
        let documents = policies.iter().cloned().map(Arc::new).collect();
        let plan = Plan::new(documents, settings, &mut RuleNumbers::default()).unwrap();
        let mut ends = vec![
            (End::Unresolved, Identity::UNRESOLVED),
            (End::NeverTold, Identity::NEVER_TOLD),
            (End::Nobody, Identity::NOBODY),
        ];
        for address in ADDRESSES.map(|address| address.parse().unwrap()) {
            let identity = plan.identity_of_address(address);
            assert_eq!(identity, identity_by_prefix(&plan, address), "{address} {policies:#?}");
            ends.push((End::Outside(Some(address), Vec::new()), identity));
            let names = some(rng, 1, 2, |rng| pick(rng, &NAMES).to_owned());
            ends.push((End::Outside(Some(address), names), identity));
        }
        for name in NAMES {
            let id = plan.pattern_of(name);
            assert_eq!(id, pattern_by_prefix(&plan, name), "{name} {policies:#?}");
            ends.push((End::Outside(None, vec![name.to_owned()]), Identity::NOBODY));
        }
        let ids: Vec<_> = plan.patterns().map(|(_, id, _)| id).filter(|id| *id != PatternId::NONE).collect();
        assert_eq!(
            ids.iter().collect::<HashSet<_>>().len(),
            ids.len(),
            "each pattern has a number of its own"
        );
        Self { policies, settings, plan, copy: Copy::default(), ends }
    }

    fn admit(&mut self, workload: Workload) {
        let identity = self.plan.admit(self.plan.signature(&workload)).unwrap();
        self.ends.push((End::Workload(workload.into()), identity));
    }

    fn write(&mut self) {
        let additions = self.plan.take_additions();
        self.copy.write(&self.plan, additions);
        assert_eq!(self.plan.take_additions().pairs, [], "what was taken is not given again");
    }

    fn judge_packets(&self, rng: &mut Rng, count: usize) {
        for _ in 0..count {
            let ((source, identity), (target, with)) = (pick(rng, &self.ends), pick(rng, &self.ends));
            let protocol = pick(rng, &[6, 6, 6, 17, 1, 58, 0, 47, 255]);
            let port = if rng.bool() { pick(rng, &PORTS) } else { rng.u16(..) };
            let number = service(protocol, port);
            let packet = || {
                format!(
                    "{source:?} to {target:?} {protocol}/{port}, {:?}, {:#?}",
                    self.settings, self.policies
                )
            };
            let expected = [(Direction::Egress, &source, &target), (Direction::Ingress, &target, &source)]
                .map(|(direction, subject, peer)| {
                    judge(&self.policies, self.settings, direction, subject, peer, (protocol, port))
                });
            let ends = [(&source, identity), (&target, with)];
            let by_plan = self.judge_ends(&self.plan, ends, number);
            assert_eq!(by_plan, self.judge_ends(&self.copy, ends, number), "{}", packet());
            assert_eq!(expected.map(|it| self.shown(it)), by_plan.map(|it| self.told(it)), "{}", packet());
            let both = by_plan[0].and(by_plan[1]);
            if let Some(by_kernel) = self.judge_case(ends, number) {
                assert_eq!(both, by_kernel, "{}", packet());
            }
            self.explain_packet(&source, &target, (protocol, port), by_plan);
        }
    }

    /// What holds for each end, by the tables of the plan or of its copy.
    fn judge_ends(
        &self,
        tables: &impl Tables,
        [(_, source), (target, with)]: [(&End, Identity); 2],
        service: u32,
    ) -> [Judgement; 2] {
        let sends = |peer| judge_by(tables, 0, EGRESS, source, peer, service);
        let known = self.patterns(target).into_iter().filter_map(|id| self.plan.identity_of_pattern(id));
        [sends(with).or_by_names(known.map(sends)), judge_by(tables, 0, INGRESS, with, source, service)]
    }

    /// What the kernel says, where one end is of this host and each of the others has an address.
    fn judge_case(&self, ends: [(&End, Identity); 2], service: u32) -> Option<Judgement> {
        let party = |(end, _): (&End, Identity), owner| match end {
            End::Workload(workload) => {
                let outside = matches!(workload.kind, WorkloadKind::Outside | WorkloadKind::Other);
                (!outside).then_some(Party { owner, address: Address::NONE })
            }
            End::Unresolved | End::NeverTold => Some(Party { owner, address: Address::NONE }),
            End::Outside(address, _) => Some(Party { owner: CgroupId::NONE, address: (*address)?.into() }),
            End::Nobody => None,
        };
        let (source, target) = (party(ends[0], SOURCE)?, party(ends[1], TARGET)?);
        let identities = ends.map(|(_, identity)| identity);
        let patterns = self.patterns(ends[1].0);
        let places = Kernel { plan: &self.plan, tables: &self.copy, identities, patterns };
        Some(Case { source, target, service }.judge_whole(&places))
    }

    fn patterns(&self, end: &End) -> Vec<PatternId> {
        let End::Outside(_, names) = end else { return Vec::new() };
        names.iter().map(|name| pattern_by_prefix(&self.plan, name)).collect()
    }

    /// What is explained is what is judged, and every reason is written somewhere.
    fn explain_packet(
        &self,
        source: &End,
        target: &End,
        (protocol, port): (u8, u16),
        judged: [Judgement; 2],
    ) {
        fn explained(end: &End) -> Option<explain::End<'_>> {
            match end {
                End::Workload(workload) => Some(explain::End::Workload(workload)),
                End::Outside(address, names) => Some(explain::End::Outside { address: *address, names }),
                End::Unresolved | End::NeverTold | End::Nobody => None,
            }
        }
        let (Some(source), Some(target)) = (explained(source), explained(target)) else { return };
        let told = explain::explain(&self.plan, source, target, protocol, port);
        for (side, judged) in [&told.egress, &told.ingress].into_iter().zip(judged) {
            let verdict = [Verdict::Allow, Verdict::Audit, Verdict::Deny][usize::from(judged.verdict) - 1];
            let rule = side.rule.as_ref().map(|rule| rule.label.to_string());
            assert_eq!((side.verdict, side.why as u8, rule), (verdict, judged.why, self.told(judged).2));
            assert_eq!(side.entry.is_some(), side.why == explain::Why::Rule);
            assert!(side.nearest.as_ref().is_none_or(|nearest| !nearest.misses.is_empty()), "{side:#?}");
        }
        assert_eq!(told.verdict as u8 + 1, judged[0].and(judged[1]).verdict);
    }

    fn shown(&self, (verdict, why, rule): Judged) -> (u8, u8, Option<String>) {
        let label = |(policy, rule)| {
            let policy: &Policy = &self.policies[policy];
            format!("{}#{}", policy.name, rule + 1)
        };
        (verdict, why, rule.map(label))
    }

    fn told(&self, judgement: Judgement) -> (u8, u8, Option<String>) {
        let rule = (judgement.rule != 0).then(|| self.plan.rule(judgement.rule).unwrap().label.to_string());
        (judgement.verdict, judgement.why, rule)
    }
}

#[test]
fn the_plan_and_what_was_added_of_it_judge_every_packet_as_the_documents_say() {
    let sets = env::var("COFFERDAM_POLICY_SETS").ok().and_then(|sets| sets.parse().ok()).unwrap_or(SETS);
    for seed in 0..sets {
        // Told when something below fails.
        eprintln!("seed {seed}");
        let rng = &mut Rng::with_seed(seed);
        let mut scene = Scene::new(rng);
        let (early, late) = (some(rng, 0, 6, workload), some(rng, 0, 6, workload));
        early.into_iter().for_each(|workload| scene.admit(workload));
        scene.write();
        scene.judge_packets(rng, PACKETS / 2);
        for workload in late {
            scene.admit(workload);
            // Whether one or several come at once makes no difference.
            if rng.bool() {
                scene.write();
            }
        }
        scene.write();
        scene.judge_packets(rng, PACKETS / 2);
    }
}
