//! Admits one class more to a plan: what it may, and what the others may towards it. Costs what the rules cost that are
//! about it or name it.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use cofferdam_common::policy::{EGRESS, INGRESS, Identity, Interval, PairKey, RULE_NONE, Span, Subject};

use super::{Class, Plan};
use crate::policy::{
    Signature,
    decide::Stand,
    limits::{Limit, TooLarge},
    model::Direction,
    rules::Who,
    spans,
};

/// Both directions, each at its number ([`EGRESS`], [`INGRESS`]).
const DIRECTIONS: [Direction; 2] = [Direction::Egress, Direction::Ingress];

/// What one identity more brings.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) subject: Subject,
    pub(super) pairs: Vec<(PairKey, Span)>,
    /// Spans by the stand and the entries that they come from.
    memo: HashMap<(u32, Vec<u32>), Span>,
}

impl Plan {
    /// Says what holds for a reserved identity, whatever it does.
    pub(super) fn reserve(&mut self, identity: Identity, verdict: u8, why: u8) -> Result<(), TooLarge> {
        let all = Interval { first: 0, rule: RULE_NONE, verdict, why, padding: 0 };
        self.subjects[identity.0 as usize].any = [self.spans.place(&[all], self.room.intervals)?; 2];
        Ok(())
    }

    /// Gives the next identity.
    pub(super) fn add(&mut self, signature: Signature) -> Result<Identity, TooLarge> {
        Limit::Identities.within(self.room.identities, self.subjects.len() + 1)?;
        let identity = Identity(self.subjects.len() as u32);
        for atom in &signature.atoms {
            self.members[*atom as usize].push(identity);
        }
        let mut draft = Draft::default();
        self.spans.begin();
        let mut stands = [0; 2];
        let drawn = DIRECTIONS.into_iter().try_for_each(|direction| {
            stands[direction as usize] = self.draw_as_subject(identity, &signature, direction, &mut draft)?;
            Ok(())
        });
        let drawn = drawn.and_then(|()| self.draw_as_peer(identity, &signature, &mut draft));
        let drawn = drawn.and_then(|()| self.draw_canary(identity, &signature, &mut draft));
        let drawn =
            drawn.and_then(|()| Limit::Pairs.within(self.room.pairs, self.pairs.len() + draft.pairs.len()));
        if let Err(error) = drawn {
            for atom in &signature.atoms {
                self.members[*atom as usize].pop();
            }
            self.spans.take_back();
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
        let span = self.spans.place(&spans::intervals(&self.rules, stand, entries), self.room.intervals)?;
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

pub(super) fn key(subject: Identity, peer: Identity, direction: Direction) -> PairKey {
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
