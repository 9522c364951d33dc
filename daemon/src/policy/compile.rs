//! Compiles policies into what the kernel looks up. Pure.
//!
//! A [`Plan`] begins with the classes of networks that the policies name. Workloads are admitted one by one: one whose
//! signature is known has the identity of those before it, any other has the next number. What is there already does
//! not change when one is admitted, so that the kernel's maps are only ever added to.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    ops::Range,
    sync::Arc,
};

use cofferdam_common::policy::{
    EGRESS, INGRESS, Identity, Interval, PairKey, RULE_NONE, Span, Subject, Tables, why,
};
use ipnet::IpNet;

use super::{
    decide::Stand,
    limits::{Limit, Size, TooLarge},
    model::{Direction, Mode, Place, Policy},
    networks::{self, Networks},
    numbers::RuleNumbers,
    rules::{Rules, Who},
    settings::{ByDefault, Settings},
    signature::{Selectors, Signature, Sort},
    spans::{self, Spans},
};
use crate::event::Workload;

/// What the kernel looks up, and what it means.
#[derive(Debug)]
pub struct Plan {
    rules: Rules,
    selectors: Selectors,
    networks: Networks,
    /// What containers are denied that no rule is about, by direction.
    denied_by_default: [bool; 2],
    spans: Spans,
    pairs: HashMap<PairKey, Span>,
    /// By identity, as `classes`.
    subjects: Vec<Subject>,
    classes: Vec<Class>,
    known: HashMap<Signature, Identity>,
    /// Identities that a selector or network means.
    members: Vec<Vec<Identity>>,
    stands: Vec<Arc<Stand>>,
    numbered: HashMap<Arc<Stand>, u32>,
    fresh: Fresh,
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
#[derive(Clone, Debug, Eq, PartialEq)]
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

/// Both directions, each at its number ([`EGRESS`], [`INGRESS`]).
const DIRECTIONS: [Direction; 2] = [Direction::Egress, Direction::Ingress];

/// What one identity more brings.
#[derive(Default)]
struct Draft {
    subject: Subject,
    pairs: Vec<(PairKey, Span)>,
    /// Spans by the stand and the entries that they come from.
    memo: HashMap<(u32, Vec<u32>), Span>,
}

impl Plan {
    /// A plan of which the networks are admitted, and no workload yet.
    ///
    /// # Errors
    /// There are more classes of networks than there is room for.
    pub fn new(
        policies: Vec<Arc<Policy>>,
        settings: Settings,
        numbers: &mut RuleNumbers,
    ) -> Result<Self, TooLarge> {
        let rules = Rules::new(policies, numbers)?;
        let mut plan = Self {
            selectors: Selectors::new(&rules),
            networks: Networks::default(),
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
            rules,
        };
        // The two reserved identities: no rule is about them, and no rule names them.
        plan.add(Signature::nobody())?;
        let nobody = plan.add(Signature::nobody())?;
        debug_assert_eq!(nobody, Identity::NOBODY);
        if let Some(verdict) = settings.unresolved.verdict() {
            let all = Interval { first: 0, rule: RULE_NONE, verdict, why: why::UNRESOLVED, padding: 0 };
            plan.subjects[Identity::UNRESOLVED.0 as usize].any = [plan.spans.place(&[all])?; 2];
        }
        for (prefix, atoms) in networks::prefixes(&plan.rules) {
            let identity = plan.admit(Signature::outside(atoms))?;
            plan.networks.insert(prefix, identity);
        }
        Ok(plan)
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

    /// What a rule's number means.
    #[must_use]
    pub fn rule(&self, number: u32) -> Option<RuleInfo> {
        self.rules.index_of(number).map(|index| self.info(index))
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

    /// Rules that are about those of a signature, and how they stand.
    pub(super) fn stand(&self, signature: &Signature, direction: Direction) -> (Vec<u32>, Stand) {
        let about = match signature.sort {
            Sort::Outside => Vec::new(),
            Sort::Here | Sort::Container => self.rules.about(&signature.atoms, direction),
        };
        let denied = signature.sort == Sort::Container && self.denied_by_default[direction as usize];
        let stand = Stand::new(&self.rules, &about, denied);
        (about, stand)
    }

    fn class(&self, identity: Identity) -> &Class {
        &self.classes[identity.0 as usize]
    }

    /// Gives the next identity.
    fn add(&mut self, signature: Signature) -> Result<Identity, TooLarge> {
        Limit::Identities.check(self.subjects.len() + 1)?;
        let identity = Identity(self.subjects.len() as u32);
        for atom in &signature.atoms {
            self.members[*atom as usize].push(identity);
        }
        let mut draft = Draft::default();
        let mut stands = [0; 2];
        let drawn = DIRECTIONS.into_iter().try_for_each(|direction| {
            stands[direction as usize] = self.draw_as_subject(identity, &signature, direction, &mut draft)?;
            Ok(())
        });
        let drawn = drawn.and_then(|()| self.draw_as_peer(identity, &signature, &mut draft));
        let drawn = drawn.and_then(|()| Limit::Pairs.check(self.pairs.len() + draft.pairs.len()));
        if let Err(error) = drawn {
            for atom in &signature.atoms {
                self.members[*atom as usize].pop();
            }
            return Err(error);
        }
        self.subjects.push(draft.subject);
        self.classes.push(Class { signature: signature.clone(), stands });
        self.known.insert(signature, identity);
        for (key, span) in draft.pairs {
            let pairs = &mut self.subjects[key.subject.0 as usize].pairs[usize::from(key.direction)];
            if *pairs == 0 {
                *pairs = 1;
                self.fresh.changed.push(key.subject);
            }
            self.pairs.insert(key, span);
            self.fresh.pairs.push(key);
        }
        Ok(identity)
    }

    /// What a new class may, towards everybody and towards those that its rules name; returns how it stands.
    fn draw_as_subject(
        &mut self,
        subject: Identity,
        signature: &Signature,
        direction: Direction,
        draft: &mut Draft,
    ) -> Result<u32, TooLarge> {
        let (about, stand) = self.stand(signature, direction);
        let stand = self.number(stand);
        let any = self.span(stand, Vec::new(), draft)?;
        draft.subject.any[direction as usize] = any;
        let mut with = BTreeMap::<Identity, Vec<u32>>::new();
        for entry in about.iter().flat_map(|index| self.rules.rule(*index).entries()) {
            for peer in self.rules.entry(entry).peers.atoms().flat_map(|atom| &self.members[atom as usize]) {
                append(with.entry(*peer).or_default(), entry);
            }
        }
        for (peer, entries) in with {
            let span = self.span(stand, entries, draft)?;
            if span != any {
                draft.pairs.push((key(subject, peer, direction), span));
            }
        }
        Ok(stand)
    }

    /// What the older classes may towards a new one.
    fn draw_as_peer(
        &mut self,
        peer: Identity,
        signature: &Signature,
        draft: &mut Draft,
    ) -> Result<(), TooLarge> {
        let mut entries: Vec<_> =
            signature.atoms.iter().flat_map(|atom| self.rules.entries_with(*atom)).copied().collect();
        entries.sort_unstable();
        entries.dedup();
        let mut with = [const { BTreeMap::<Identity, Vec<u32>>::new() }; 2];
        for entry in entries {
            let rule = self.rules.rule(self.rules.entry(entry).rule);
            let with = &mut with[rule.direction as usize];
            match &rule.subjects {
                Who::Any => {
                    let here = (0..).zip(&self.classes).filter(|(_, class)| class.signature.is_here());
                    here.for_each(|(index, _)| append(with.entry(Identity(index)).or_default(), entry));
                }
                Who::Atoms(atoms) => {
                    let subjects = atoms.iter().flat_map(|atom| &self.members[*atom as usize]);
                    let older = subjects.filter(|subject| **subject != peer);
                    older.for_each(|subject| append(with.entry(*subject).or_default(), entry));
                }
            }
        }
        for (direction, with) in DIRECTIONS.into_iter().zip(with) {
            for (subject, entries) in with {
                let stand = self.class(subject).stands[direction as usize];
                let span = self.span(stand, entries, draft)?;
                if span != self.subjects[subject.0 as usize].any[direction as usize] {
                    draft.pairs.push((key(subject, peer, direction), span));
                }
            }
        }
        Ok(())
    }

    /// What those who stand so may towards a peer, whom these entries name.
    fn span(&mut self, stand: u32, named: Vec<u32>, draft: &mut Draft) -> Result<Span, TooLarge> {
        let from = (stand, named);
        if let Some(known) = draft.memo.get(&from) {
            return Ok(*known);
        }
        let stand = &self.stands[stand as usize];
        let entries = stand.for_all.iter().chain(&from.1).copied();
        let span = self.spans.place(&spans::intervals(&self.rules, stand, entries))?;
        draft.memo.insert(from, span);
        Ok(span)
    }

    /// The place of a stand in the list of them.
    fn number(&mut self, stand: Stand) -> u32 {
        if let Some(known) = self.numbered.get(&stand) {
            return *known;
        }
        let (number, stand) = (self.stands.len() as u32, Arc::new(stand));
        self.stands.push(Arc::clone(&stand));
        self.numbered.insert(stand, number);
        number
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

fn key(subject: Identity, peer: Identity, direction: Direction) -> PairKey {
    let direction = match direction {
        Direction::Egress => EGRESS,
        Direction::Ingress => INGRESS,
    };
    PairKey { subject, peer, direction, slot: 0, padding: 0 }
}

/// Appends an entry that may be the last already.
fn append(entries: &mut Vec<u32>, entry: u32) {
    if entries.last() != Some(&entry) {
        entries.push(entry);
    }
}
