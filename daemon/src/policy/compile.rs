//! Compiles policies into what the kernel looks up. Pure.
//!
//! A [`Plan`] begins with the classes of networks and of DNS names that the policies name. Workloads are admitted one by one: one whose
//! signature is known has the identity of those before it, any other has the next number. What is there already does
//! not change when one is admitted, so that the kernel's maps are only ever added to.

mod admit;

mod canary;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    ops::Range,
    sync::Arc,
};

use cofferdam_common::{
    name::PatternId,
    policy::{Identity, Interval, PairKey, Span, Subject, Tables, why},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{
    decide::Stand,
    limits::{NoRoom, Room, Size, TooLarge},
    model::{Direction, Mode, Place, Policy},
    names::{self, NamePattern, Names},
    networks::{self, Networks},
    numbers::RuleNumbers,
    rules::{self, Rules},
    settings::{ByDefault, Settings},
    signature::{Selectors, Signature, Sort},
    spans::Spans,
};
use crate::event::{RuleName, Workload};

/// What the kernel looks up, and what it means.
#[derive(Debug)]
pub struct Plan {
    rules: Rules,
    selectors: Selectors,
    networks: Networks,
    names: Names,
    /// What containers are denied that no rule is about, by direction.
    denied_by_default: [bool; 2],
    spans: Spans,
    pairs: HashMap<PairKey, Span>,
    /// By identity, as `classes`.
    subjects: Vec<Subject>,
    classes: Vec<Class>,
    known: HashMap<Signature, Identity>,
    /// Identities that a selector, a network or a pattern of names means.
    members: Vec<Vec<Identity>>,
    stands: Vec<Arc<Stand>>,
    numbered: HashMap<Arc<Stand>, u32>,
    fresh: Fresh,
    /// How large it may become.
    room: Room,
}

/// Those of one identity.
#[derive(Debug)]
struct Class {
    signature: Signature,
    /// How they stand, by direction: places in the list of stands.
    stands: [u32; 2],
}

/// What is not taken yet by [`Plan::take_additions`].
#[derive(Debug, Default)]
struct Fresh {
    intervals: usize,
    pairs: Vec<PairKey>,
    subjects: usize,
    changed: Vec<Identity>,
}

/// What is new in a plan. To be written in this order, so that nothing is looked up that is not there.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Additions {
    /// Which of [`Plan::intervals`].
    pub intervals: Range<usize>,
    /// Pairs and their spans. The slot is 0.
    pub pairs: Vec<(PairKey, Span)>,
    /// New identities, ascending; then older ones that had no pairs and have some now.
    pub subjects: Vec<(Identity, Subject)>,
}

/// A rule, for people.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RuleInfo {
    /// Policy, and the rule's name or number from 1: `shop#2`.
    pub label: Arc<str>,
    /// The policy's name.
    pub policy: Arc<str>,
    /// What the policy does with what it forbids.
    pub mode: Mode,
    /// Where the rule begins.
    pub place: Place,
}

impl Plan {
    /// A plan of which the networks and names are admitted, and no workload yet.
    ///
    /// # Errors
    /// There are more classes of them than there is room for.
    pub fn new(
        policies: Vec<Arc<Policy>>,
        settings: Settings,
        numbers: &mut RuleNumbers,
    ) -> Result<Self, TooLarge> {
        let verdict_on_forged = settings.verdict_on_forged(&policies);
        let rules = Rules::new(policies, numbers)?;
        let mut plan = Self {
            selectors: Selectors::new(&rules),
            networks: Networks::default(),
            names: Names::default(),
            denied_by_default: [settings.default_egress, settings.default_ingress]
                .map(|default| default == ByDefault::Deny),
            spans: Spans::default(),
            pairs: HashMap::new(),
            subjects: Vec::new(),
            classes: Vec::new(),
            known: HashMap::new(),
            members: vec![Vec::new(); rules.atoms().count()],
            stands: Vec::new(),
            numbered: HashMap::new(),
            fresh: Fresh::default(),
            room: Room::MOST,
            rules,
        };
        // The reserved identities: no rule is about them, and no rule names them.
        for _ in 0..Identity::FIRST.0 {
            plan.add(Signature::nobody())?;
        }
        plan.known.insert(Signature::nobody(), Identity::NOBODY);
        if let Some(verdict) = settings.verdict_on_unresolved() {
            plan.reserve(Identity::UNRESOLVED, verdict, why::UNRESOLVED)?;
        }
        if let Some(verdict) = settings.verdict_on_never_told() {
            plan.reserve(Identity::NEVER_TOLD, verdict, why::UNRESOLVED)?;
        }
        plan.reserve(Identity::FORGED, verdict_on_forged, why::FORGED)?;
        for (prefix, atoms) in networks::prefixes(&plan.rules) {
            let identity = plan.admit(Signature::outside(atoms))?;
            plan.networks.insert(prefix, identity);
        }
        for (pattern, atoms) in names::entries(&plan.rules) {
            let identity = plan.admit(Signature::outside(atoms))?;
            plan.names.insert(pattern, identity);
        }
        Ok(plan)
    }

    /// From here on no more is admitted than fits there. Until then, it is whatever there can be room for.
    ///
    /// # Errors
    /// It is larger already: all that there is not room for, with how much is needed.
    pub fn fit_into(&mut self, room: Room) -> Result<(), NoRoom> {
        room.check(&self.size())?;
        self.room = room;
        Ok(())
    }

    /// Which selectors of the policies select a workload.
    #[must_use]
    pub fn signature(&self, workload: &Workload) -> Signature {
        self.selectors.signature(workload)
    }

    /// The identity of those of a signature, if one was admitted.
    #[must_use]
    pub fn identity(&self, signature: &Signature) -> Option<Identity> {
        self.known.get(signature).copied()
    }

    /// The identity of those of a signature. If it is a new one, [`Plan::take_additions`] has more.
    ///
    /// # Errors
    /// There is no room for another. The plan is as before.
    pub fn admit(&mut self, signature: Signature) -> Result<Identity, TooLarge> {
        match self.identity(&signature) {
            Some(known) => Ok(known),
            None => self.add(signature),
        }
    }

    /// What was added since this was asked last; at first all that there is.
    pub fn take_additions(&mut self) -> Additions {
        let fresh = std::mem::take(&mut self.fresh);
        let (intervals, subjects) = (self.intervals().len(), self.subjects.len());
        self.fresh = Fresh { intervals, subjects, ..Fresh::default() };
        let changed: BTreeSet<_> = fresh.changed.iter().map(|identity| identity.0 as usize).collect();
        let changed = changed.into_iter().filter(|index| *index < fresh.subjects);
        Additions {
            intervals: fresh.intervals..intervals,
            pairs: fresh.pairs.into_iter().map(|key| (key, self.pairs[&key])).collect(),
            subjects: (fresh.subjects..subjects)
                .chain(changed)
                .map(|index| (Identity(index as u32), self.subjects[index]))
                .collect(),
        }
    }

    /// Intervals of all spans.
    #[must_use]
    pub fn intervals(&self) -> &[Interval] {
        self.spans.intervals()
    }

    /// Prefixes of networks outside, and who is there: the longest that an address has counts. Addresses without one
    /// are [`Identity::NOBODY`]'s.
    pub fn networks(&self) -> impl Iterator<Item = (IpNet, Identity)> {
        self.networks.iter()
    }

    /// The identity of an address outside.
    #[must_use]
    pub fn identity_of_address(&self, address: IpAddr) -> Identity {
        self.networks.identity(address)
    }

    /// Patterns of names, each with its number and class: the longest that a name has counts. Names of one with
    /// [`PatternId::NONE`] have none: they are left out of a shorter one.
    pub fn patterns(&self) -> impl Iterator<Item = (&NamePattern, PatternId, Identity)> {
        self.names.iter()
    }

    /// The pattern of a DNS name; [`PatternId::NONE`] if it has none. The text of a pattern stands for names that it means
    /// and that have no longer one.
    #[must_use]
    pub fn pattern_of(&self, name: &str) -> PatternId {
        self.names.pattern_of(name)
    }

    /// Who is known by names of a pattern; `None` if policies have no such pattern.
    #[must_use]
    pub fn identity_of_pattern(&self, id: PatternId) -> Option<Identity> {
        self.names.identity(id)
    }

    /// What a pattern's number means.
    #[must_use]
    pub fn pattern(&self, id: PatternId) -> Option<&str> {
        self.names.pattern(id).map(NamePattern::as_str)
    }

    /// What a rule's number means.
    #[must_use]
    pub fn rule(&self, number: u32) -> Option<RuleInfo> {
        self.rules.index_of(number).map(|index| self.info(index))
    }

    /// What all rules are called, by their numbers.
    #[must_use]
    pub fn rule_names(&self) -> HashMap<u32, Arc<RuleName>> {
        let named = |(index, rule): (u32, &rules::Rule)| {
            let RuleInfo { label, place, .. } = self.info(index);
            let file = place.file.display().to_string();
            (rule.number, Arc::new(RuleName { name: label.to_string(), file, line: place.line }))
        };
        (0..).zip(self.rules.all()).map(named).collect()
    }

    /// How much it needs.
    #[must_use]
    pub fn size(&self) -> Size {
        Size {
            rules: self.rules.len(),
            identities: self.subjects.len(),
            pairs: self.pairs.len(),
            spans: self.spans.len(),
            intervals: self.intervals().len(),
            networks: self.networks.len(),
            names: self.names.len(),
        }
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    pub(super) fn info(&self, index: u32) -> RuleInfo {
        let (policy, nth, rule) = self.rules.written(index);
        let label = match &rule.name {
            Some(name) => format!("{}#{name}", policy.name),
            None => format!("{}#{}", policy.name, nth + 1),
        };
        RuleInfo {
            label: label.into(),
            policy: Arc::clone(&policy.name),
            mode: policy.mode,
            place: rule.place.clone(),
        }
    }

    /// The networks that an address is in.
    pub(super) fn signature_of_address(&self, address: IpAddr) -> Signature {
        self.class(self.identity_of_address(address)).signature.clone()
    }

    /// The patterns that a name has; `None` if it has none.
    pub(super) fn signature_of_name(&self, name: &str) -> Option<Signature> {
        let identity = self.identity_of_pattern(self.pattern_of(name))?;
        Some(self.class(identity).signature.clone())
    }

    /// Rules that are about those of a signature, and how they stand.
    pub(super) fn stand(&self, signature: &Signature, direction: Direction) -> (Vec<u32>, Stand) {
        let about = match signature.sort {
            Sort::Outside | Sort::Canary(_) => Vec::new(),
            Sort::Here | Sort::Container => self.rules.about(&signature.atoms, direction),
        };
        let denied = signature.sort == Sort::Container && self.denied_by_default[direction as usize];
        let stand = Stand::new(&self.rules, &about, denied);
        (about, stand)
    }

    fn class(&self, identity: Identity) -> &Class {
        &self.classes[identity.0 as usize]
    }
}

impl Tables for Plan {
    fn subject(&self, _: u8, identity: Identity) -> Option<Subject> {
        self.subjects.get(identity.0 as usize).copied()
    }

    fn pair(&self, key: &PairKey) -> Option<Span> {
        self.pairs.get(&PairKey { slot: 0, ..*key }).copied()
    }

    fn interval(&self, _: u8, index: u32) -> Option<Interval> {
        self.intervals().get(index as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use cofferdam_common::{
        network::{VERDICT_ALLOW, VERDICT_DENY},
        policy::{INGRESS, INTERVALS_LIMIT, judge, service},
    };
    use serde_json::json;

    use super::*;
    use crate::policy::{
        Limit,
        model::{Entry, Rule},
        samples,
    };

    fn plan(rules: Vec<Rule>) -> Plan {
        let policy = Policy { rules, ..samples::policy("shop") };
        Plan::new(vec![policy.into()], samples::OPEN, &mut RuleNumbers::default()).unwrap()
    }

    fn admit(plan: &mut Plan, name: &str) -> Identity {
        plan.admit(plan.signature(&samples::container(name))).unwrap()
    }

    /// Only `shop/api` may send to `shop/db`.
    fn db_from_api() -> Rule {
        samples::rule_with(vec![samples::entry(vec![samples::named("shop/api")])])
    }

    #[test]
    fn workloads_that_no_rule_tells_apart_have_one_identity() {
        let mut plan = plan(vec![db_from_api()]);
        let (web, ci, db) = (admit(&mut plan, "web"), admit(&mut plan, "ci"), admit(&mut plan, "shop/db"));
        assert_eq!((web, ci), (Identity::FIRST, Identity::FIRST));
        assert_eq!(db, Identity(5));
        let peer = Workload::named(crate::event::WorkloadKind::Outside, "192.0.2.1");
        assert_eq!(plan.admit(plan.signature(&peer)), Ok(Identity::NOBODY));
    }

    #[test]
    fn who_is_admitted_adds_to_what_there_is_and_changes_only_whether_there_are_pairs() {
        let mut plan = plan(vec![db_from_api()]);
        let db = admit(&mut plan, "shop/db");
        let first = plan.take_additions();
        assert_eq!(first.intervals, 0..plan.intervals().len());
        assert_eq!((first.pairs.len(), first.subjects.len()), (0, 5));
        let api = admit(&mut plan, "shop/api");
        let more = plan.take_additions();
        assert_eq!(more.intervals, first.intervals.end..plan.intervals().len());
        let [(key, _)] = more.pairs[..] else { panic!("{:?}", more.pairs) };
        assert_eq!((key.subject, key.peer, key.direction), (db, api, INGRESS));
        let flags: Vec<_> = more.subjects.iter().map(|(identity, it)| (*identity, it.pairs)).collect();
        assert_eq!(flags, [(api, [0, 0]), (db, [0, 1])]);
        assert_eq!(plan.take_additions().subjects, []);
        // The next with whom nothing is different needs no pair.
        admit(&mut plan, "web");
        assert_eq!(plan.take_additions().pairs, []);
    }

    #[test]
    fn who_is_outside_sends_freely_and_is_judged_where_it_arrives() {
        let rule = samples::rule_with(vec![samples::entry(vec![samples::network("192.0.2.0/24", &[])])]);
        let mut plan = plan(vec![rule]);
        let db = admit(&mut plan, "shop/db");
        for (address, verdict) in
            [("192.0.2.1", VERDICT_ALLOW), ("::ffff:192.0.2.1", VERDICT_ALLOW), ("192.0.3.1", VERDICT_DENY)]
        {
            let source = plan.identity_of_address(address.parse().unwrap());
            let judged = cofferdam_common::policy::judge_both(&plan, 0, source, db, service(6, 5_432));
            assert_eq!(judged.verdict, verdict, "{address}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused_with_the_figures_and_changes_nothing() {
        let ports = (1..=3_000).map(|port| samples::tcp(port * 2, port * 2)).collect();
        let many = Entry { services: ports, ..samples::entry(vec![samples::named("shop/api")]) };
        let mut plan = plan(vec![samples::rule_with(vec![many])]);
        let db = admit(&mut plan, "shop/db");
        let before = plan.size();
        let api = plan.signature(&samples::container("shop/api"));
        let most = INTERVALS_LIMIT as usize;
        let error = TooLarge { limit: Limit::SpanIntervals, needed: 6_001, room: most };
        assert_eq!(plan.admit(api.clone()), Err(error));
        assert_eq!((plan.identity(&api), plan.size()), (None, before));
        let web = admit(&mut plan, "web");
        assert_eq!(judge(&plan, 0, INGRESS, db, web, service(6, 2)).verdict, VERDICT_DENY);
    }

    #[test]
    fn who_does_not_fit_is_not_admitted_and_whoever_needs_less_still_is() {
        let mut plan = plan(vec![db_from_api()]);
        let db = admit(&mut plan, "shop/db");
        let size = plan.size();
        let tight = Room { pairs: size.pairs, intervals: size.intervals, ..Room::default() };
        let small = Room { identities: size.identities - 1, ..tight };
        assert!(plan.fit_into(small).unwrap_err().to_string().contains("`policies.room.identities`"));
        plan.fit_into(tight).unwrap();
        let api = plan.signature(&samples::container("shop/api"));
        let error = plan.admit(api.clone()).unwrap_err();
        assert_eq!((error.limit, error.room), (Limit::Intervals, size.intervals));
        assert_eq!((plan.identity(&api), plan.size()), (None, size));
        let web = admit(&mut plan, "web");
        assert_eq!(judge(&plan, 0, INGRESS, db, web, service(6, 2)).verdict, VERDICT_DENY);
    }

    #[test]
    fn a_rule_is_called_by_its_name_or_its_number() {
        let named = Rule { name: Some("from-api".into()), ..db_from_api() };
        let plan = plan(vec![named, db_from_api()]);
        let label = |number| plan.rule(number).map(|rule| rule.label.to_string());
        assert_eq!(label(1).as_deref(), Some("shop#from-api"));
        assert_eq!(label(2).as_deref(), Some("shop#2"));
        assert_eq!(label(3), None);
    }

    #[test]
    fn a_workload_that_is_called_so_twice_is_selected_once() {
        // By its name and by its container's name.
        let mut plan = plan(vec![db_from_api()]);
        let twice = Workload { container_name: Some("shop/db".to_owned()), ..samples::container("shop/db") };
        let twice = plan.admit(plan.signature(&twice)).unwrap();
        assert_eq!(twice, admit(&mut plan, "shop/db"));
    }

    #[test]
    fn a_hundred_thousand_rules_and_ten_thousand_workloads_are_compiled_at_once() {
        const RULES: usize = 100_000;
        const WORKLOADS: usize = 10_000;
        let names: Vec<_> = (0..WORKLOADS).map(|number| format!("shop/{number}")).collect();
        let peers: Vec<_> = names.iter().map(|name| samples::selected(json!({ "name": name }))).collect();
        let rule = |number: usize| {
            // Ten for each subject, each with another peer.
            let peer = (number * 7 + number / WORKLOADS + 1) % WORKLOADS;
            let entry = Entry {
                services: vec![samples::tcp(5_432, 5_432)],
                ..samples::entry(vec![peers[peer].clone()])
            };
            Rule { subjects: vec![peers[number % WORKLOADS].clone()], ..samples::rule_with(vec![entry]) }
        };
        let policy = Arc::new(Policy { rules: (0..RULES).map(rule).collect(), ..samples::policy("shop") });
        let workloads: Vec<_> = names.iter().map(|name| samples::container(name)).collect();

        let mut numbers = RuleNumbers::default();
        for round in ["first load", "again"] {
            let begin = Instant::now();
            let mut plan = Plan::new(vec![Arc::clone(&policy)], samples::OPEN, &mut numbers).unwrap();
            let compiled = begin.elapsed();
            for workload in &workloads {
                plan.admit(plan.signature(workload)).unwrap();
            }
            let admitted = begin.elapsed();
            let additions = plan.take_additions();
            println!("{round}: rules {compiled:?}, all {admitted:?}, {:?}", plan.size());
            let size = plan.size();
            assert_eq!(
                (size.rules, size.identities, size.pairs),
                (RULES, WORKLOADS + Identity::FIRST.0 as usize, RULES)
            );
            // One is about forged addresses; towards everybody nothing is allowed, and for each pair one port is.
            assert_eq!(size.spans, 1 + WORKLOADS + RULES);
            assert_eq!(size.intervals, 1 + WORKLOADS + 3 * RULES);
            assert_eq!((additions.pairs.len(), additions.subjects.len()), (RULES, size.identities));
        }
    }
}
