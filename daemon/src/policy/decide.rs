//! Decides between rules: what holds for one service of a subject towards a peer. The only place that knows.

use cofferdam_common::{
    network::{VERDICT_ALLOW, VERDICT_AUDIT, VERDICT_DENY},
    policy::why,
};

use super::{
    model::{Mode, Verdict},
    rules::Rules,
};

/// How a subject stands in one direction, whoever the peer is.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Stand {
    /// The first rule about it, by mode. It has none where there is no rule of that mode.
    pub(super) first: [Option<u32>; 2],
    /// Whether it is denied what no rule is about.
    pub(super) denied_by_default: bool,
    /// Entries of its rules that have everybody as a peer, ascending.
    pub(super) for_all: Box<[u32]>,
}

/// The first rule that has an entry which is about this peer and service, by mode and the entry's verdict.
pub(super) type Matches = [[Option<u32>; 3]; 2];

/// What comes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Decision {
    pub(super) verdict: u8,
    pub(super) why: u8,
    /// The index of the rule that decides.
    pub(super) rule: Option<u32>,
}

/// A verdict as the kernel writes it.
pub(super) fn verdict(number: u8) -> Verdict {
    match number {
        VERDICT_DENY => Verdict::Deny,
        VERDICT_AUDIT => Verdict::Audit,
        _ => Verdict::Allow,
    }
}

const ENFORCE: usize = Mode::Enforce as usize;
const AUDIT: usize = Mode::Audit as usize;

impl Stand {
    /// How those stand whom these rules (ascending) are about.
    pub(super) fn new(rules: &Rules, about: &[u32], denied_by_default: bool) -> Self {
        let first = [Mode::Audit, Mode::Enforce]
            .map(|mode| about.iter().copied().find(|index| rules.rule(*index).mode == mode));
        let entries = about.iter().flat_map(|index| rules.rule(*index).entries());
        let for_all = entries.filter(|index| rules.entry(*index).is_for_all()).collect();
        Self { first, denied_by_default, for_all }
    }

    /// Whether nothing at all is said.
    pub(super) fn is_free(&self) -> bool {
        self.first == [None; 2] && !self.denied_by_default
    }

    /// Whether entries that match let it pass, and by which rule.
    pub(super) fn decide(&self, matches: &Matches) -> Decision {
        let of = |mode: usize, verdict: Verdict| matches[mode][verdict as usize];
        let first_of =
            |verdict: Verdict| [of(ENFORCE, verdict), of(AUDIT, verdict)].into_iter().flatten().min();
        let passes = |mode: usize| of(mode, Verdict::Allow).or(of(mode, Verdict::Audit)).is_some();
        let decision = |verdict, why, rule| Decision { verdict, why, rule };

        if let rule @ Some(_) = of(ENFORCE, Verdict::Deny) {
            return decision(VERDICT_DENY, why::RULE, rule);
        }
        match self.first[ENFORCE] {
            rule @ Some(_) if !passes(ENFORCE) => return decision(VERDICT_DENY, why::NOT_ALLOWED, rule),
            None if self.denied_by_default => return decision(VERDICT_DENY, why::DEFAULT, None),
            _ => (),
        }
        if let rule @ Some(_) = of(AUDIT, Verdict::Deny) {
            return decision(VERDICT_AUDIT, why::RULE, rule);
        }
        if let (None, rule @ Some(_)) = (self.first[ENFORCE], self.first[AUDIT])
            && !passes(AUDIT)
        {
            return decision(VERDICT_AUDIT, why::NOT_ALLOWED, rule);
        }
        if let rule @ Some(_) = first_of(Verdict::Audit) {
            return decision(VERDICT_AUDIT, why::RULE, rule);
        }
        match first_of(Verdict::Allow) {
            rule @ Some(_) => decision(VERDICT_ALLOW, why::RULE, rule),
            None => decision(VERDICT_ALLOW, why::DEFAULT, None),
        }
    }
}
