//! Numbers for rules: a rule keeps its number when policies are loaded again, so that what counts by number goes on.

use std::{collections::HashMap, sync::Arc};

use super::{
    limits::{Limit, TooLarge},
    model::{Policy, Rule},
};

/// Loads after which a rule that was in none of them is forgotten. Should it come back, it has another number.
const KEPT: u32 = 16;

/// Which rule has which number, over all loads. Numbers begin at 1 and are never given twice.
#[derive(Debug, Default)]
pub struct RuleNumbers {
    known: HashMap<Key, Known>,
    last: u32,
    load: u32,
}

/// What a rule is known by.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Key {
    /// Policy, and the name that the rule was given.
    Named(Arc<str>, Arc<str>),
    /// Policy, and which of its rules it is.
    Nth(Arc<str>, usize),
}

#[derive(Clone, Copy, Debug)]
struct Known {
    number: u32,
    /// The load that it was last in.
    load: u32,
}

impl RuleNumbers {
    /// Begins another load, and forgets who was in none for long.
    pub(super) fn begin(&mut self) {
        self.load += 1;
        let load = self.load;
        self.known.retain(|_, known| load - known.load <= KEPT);
    }

    /// The number of a rule: the `index`th of its policy.
    pub(super) fn of(&mut self, policy: &Policy, index: usize, rule: &Rule) -> Result<u32, TooLarge> {
        let nth = Key::Nth(Arc::clone(&policy.name), index);
        let mut key = match &rule.name {
            Some(name) => Key::Named(Arc::clone(&policy.name), Arc::clone(name)),
            None => nth.clone(),
        };
        // A name that two rules have is the first one's.
        if self.known.get(&key).is_some_and(|known| known.load == self.load) {
            key = nth;
        }
        if let Some(known) = self.known.get_mut(&key) {
            known.load = self.load;
            return Ok(known.number);
        }
        let number = self.last.checked_add(1).ok_or(TooLarge::new(Limit::RuleNumbers, 1 << 32))?;
        self.last = number;
        self.known.insert(key, Known { number, load: self.load });
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::samples;

    fn load(numbers: &mut RuleNumbers, rules: &[Option<&str>]) -> Vec<u32> {
        numbers.begin();
        let rules = rules.iter().map(|name| Rule { name: name.map(Arc::from), ..samples::rule() }).collect();
        let policy = Policy { rules, ..samples::policy("shop") };
        let number = |(index, rule)| numbers.of(&policy, index, rule).unwrap();
        policy.rules.iter().enumerate().map(number).collect()
    }

    #[test]
    fn a_rule_keeps_its_number_over_loads_and_a_named_one_also_when_it_moves() {
        let mut numbers = RuleNumbers::default();
        assert_eq!(load(&mut numbers, &[None, Some("db"), None]), [1, 2, 3]);
        assert_eq!(load(&mut numbers, &[Some("db"), None]), [2, 4]);
        assert_eq!(load(&mut numbers, &[None, Some("db"), None]), [1, 2, 3]);
    }

    #[test]
    fn no_number_is_given_twice_even_when_a_rule_was_forgotten() {
        let mut numbers = RuleNumbers::default();
        assert_eq!(load(&mut numbers, &[Some("a")]), [1]);
        for _ in 0..=KEPT {
            assert_eq!(load(&mut numbers, &[Some("b")]), [2]);
        }
        assert_eq!(numbers.known.len(), 1);
        assert_eq!(load(&mut numbers, &[Some("a")]), [3]);
    }

    #[test]
    fn two_rules_of_one_name_have_two_numbers() {
        assert_eq!(load(&mut RuleNumbers::default(), &[Some("a"), Some("a")]), [1, 2]);
    }
}
