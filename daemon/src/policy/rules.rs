//! The rules of all policies, flat and in order, with numbers instead of selectors, and found by them. Pure.

use std::{collections::HashMap, sync::Arc};

use super::{
    limits::TooLarge,
    model::{self, Direction, Mode, Peer, Policy, Verdict},
    numbers::RuleNumbers,
};

/// The number of a selector of workloads, a network or a pattern of names: equal ones have one number.
pub(super) type Atom = u32;

/// All rules. What is called a rule's or an entry's *index* here is its place in the order in which rules are named:
/// by the name of the policy, then as they are written.
#[derive(Debug)]
pub(super) struct Rules {
    policies: Vec<Arc<Policy>>,
    rules: Vec<Rule>,
    entries: Vec<Entry>,
    atoms: Vec<Peer>,
    /// Rules about all workloads, by direction.
    about_all: [Vec<u32>; 2],
    /// Rules about the workloads that a selector selects.
    about: Vec<Vec<u32>>,
    /// Entries that have it as a peer.
    with: Vec<Vec<u32>>,
    by_number: HashMap<u32, u32>,
}

#[derive(Debug)]
pub(super) struct Rule {
    policy: usize,
    nth: usize,
    pub(super) number: u32,
    pub(super) mode: Mode,
    pub(super) direction: Direction,
    /// Indices of its first entry, and of the one after its last.
    pub(super) entries: (u32, u32),
    pub(super) subjects: Who,
}

#[derive(Debug)]
pub(super) struct Entry {
    /// The index of its rule.
    pub(super) rule: u32,
    nth: usize,
    pub(super) verdict: Verdict,
    pub(super) peers: Who,
}

/// Who is at one end.
#[derive(Debug)]
pub(super) enum Who {
    Any,
    Atoms(Box<[Atom]>),
}

impl Rules {
    pub(super) fn new(mut policies: Vec<Arc<Policy>>, numbers: &mut RuleNumbers) -> Result<Self, TooLarge> {
        policies.sort_by(|a, b| a.name.cmp(&b.name));
        numbers.begin();
        let (mut rules, mut entries, mut known) = (Vec::new(), Vec::new(), Known::default());
        for (policy, text) in policies.iter().enumerate() {
            for (nth, rule) in text.rules.iter().enumerate() {
                let first = entries.len() as u32;
                for (nth, entry) in rule.entries.iter().enumerate() {
                    let peers = known.who(&entry.peers);
                    entries.push(Entry { rule: rules.len() as u32, nth, verdict: entry.verdict, peers });
                }
                rules.push(Rule {
                    policy,
                    nth,
                    number: numbers.of(text, nth, rule)?,
                    mode: text.mode,
                    direction: rule.direction,
                    entries: (first, entries.len() as u32),
                    subjects: known.who(&rule.subjects),
                });
            }
        }
        let atoms: Vec<_> = known.atoms.iter().map(|peer| (*peer).clone()).collect();
        let mut all = Self {
            about_all: Default::default(),
            about: vec![Vec::new(); atoms.len()],
            with: vec![Vec::new(); atoms.len()],
            by_number: (0..).zip(&rules).map(|(index, rule)| (rule.number, index)).collect(),
            policies,
            rules,
            entries,
            atoms,
        };
        all.index();
        Ok(all)
    }

    fn index(&mut self) {
        for (index, rule) in (0..).zip(&self.rules) {
            match &rule.subjects {
                Who::Any => self.about_all[rule.direction as usize].push(index),
                Who::Atoms(atoms) => atoms.iter().for_each(|atom| self.about[*atom as usize].push(index)),
            }
        }
        for (index, entry) in (0..).zip(&self.entries) {
            if let Who::Atoms(atoms) = &entry.peers {
                atoms.iter().for_each(|atom| self.with[*atom as usize].push(index));
            }
        }
    }

    /// Selectors, networks and patterns of names, by their numbers.
    pub(super) fn atoms(&self) -> impl Iterator<Item = (Atom, &Peer)> {
        (0..).zip(&self.atoms)
    }

    pub(super) fn len(&self) -> usize {
        self.rules.len()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    pub(super) fn rule(&self, index: u32) -> &Rule {
        &self.rules[index as usize]
    }

    pub(super) fn entry(&self, index: u32) -> &Entry {
        &self.entries[index as usize]
    }

    /// Entries that have it among their peers.
    pub(super) fn entries_with(&self, atom: Atom) -> &[u32] {
        &self.with[atom as usize]
    }

    /// Rules for a direction that are about somebody whom these selectors select, in order.
    pub(super) fn about(&self, atoms: &[Atom], direction: Direction) -> Vec<u32> {
        let selected = atoms.iter().flat_map(|atom| &self.about[*atom as usize]).copied();
        let selected = selected.filter(|index| self.rule(*index).direction == direction);
        let mut rules: Vec<_> = self.about_all[direction as usize].iter().copied().chain(selected).collect();
        rules.sort_unstable();
        rules.dedup();
        rules
    }

    /// The policy that a rule stands in, and the rule as it was written.
    pub(super) fn written(&self, index: u32) -> (&Policy, usize, &model::Rule) {
        let Rule { policy, nth, .. } = self.rule(index);
        let policy = &self.policies[*policy];
        (policy, *nth, &policy.rules[*nth])
    }

    /// An entry as it was written.
    pub(super) fn written_entry(&self, index: u32) -> &model::Entry {
        let Entry { rule, nth, .. } = self.entry(index);
        &self.written(*rule).2.entries[*nth]
    }

    pub(super) fn index_of(&self, number: u32) -> Option<u32> {
        self.by_number.get(&number).copied()
    }
}

/// They while they are numbered.
#[derive(Default)]
struct Known<'a> {
    numbers: HashMap<&'a Peer, Atom>,
    atoms: Vec<&'a Peer>,
}

impl<'a> Known<'a> {
    fn who(&mut self, peers: &'a [Peer]) -> Who {
        if peers.contains(&Peer::Any) {
            return Who::Any;
        }
        let number = |peer: &'a Peer| {
            *self.numbers.entry(peer).or_insert_with(|| {
                self.atoms.push(peer);
                self.atoms.len() as u32 - 1
            })
        };
        Who::Atoms(peers.iter().map(number).collect())
    }
}

impl Who {
    /// Whether somebody of these selectors is meant.
    pub(super) fn means(&self, atoms: &[Atom]) -> bool {
        match self {
            Self::Any => true,
            Self::Atoms(own) => own.iter().any(|atom| atoms.contains(atom)),
        }
    }

    /// The selectors; none for everybody.
    pub(super) fn atoms(&self) -> impl Iterator<Item = Atom> {
        let atoms = match self {
            Self::Any => None,
            Self::Atoms(atoms) => Some(atoms),
        };
        atoms.into_iter().flat_map(|atoms| atoms.iter().copied())
    }
}

impl Entry {
    /// Whether everybody is a peer.
    pub(super) fn is_for_all(&self) -> bool {
        matches!(self.peers, Who::Any)
    }
}

impl Rule {
    /// Its entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = u32> + Clone {
        self.entries.0..self.entries.1
    }
}
