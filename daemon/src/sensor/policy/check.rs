//! Whether the maps have what was written into them, looked at piece by piece: what is not there, or is something else, is
//! written again. In both slots: what the next generation has in common with what is in the other is not written for it.

use std::collections::HashMap;

use anyhow::ensure;
use aya::{
    Pod,
    maps::{self, Array, LpmTrie, MapData, MapError},
};
use cofferdam_common::{
    ids::{Address, CgroupId},
    policy::{Identity, NetworkKey, PairKey},
};
use ipnet::IpNet;

use super::{PolicyMaps, Slot, key, number_of};
use crate::sensor::{standing::What, walk::found};

/// A map that is looked through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Table {
    /// Which identity each cgroup has.
    Residents,
    /// Whose each address is.
    Addresses,
    /// What holds for an identity.
    Subjects,
    /// What holds between two.
    Pairs,
    /// What holds from which port on.
    Intervals,
    /// Which identity a network has.
    Networks,
}

impl Table {
    /// All of them; what is looked up first comes first.
    pub const ALL: [Self; 6] =
        [Self::Residents, Self::Addresses, Self::Subjects, Self::Pairs, Self::Intervals, Self::Networks];

    /// What a finding in it is about.
    #[must_use]
    pub fn what(self) -> What {
        match self {
            Self::Residents => What::Residents,
            Self::Addresses => What::Addresses,
            Self::Subjects => What::Subjects,
            Self::Pairs => What::Pairs,
            Self::Intervals => What::Intervals,
            Self::Networks => What::Networks,
        }
    }
}

/// What was looked at, and how it was.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Checked {
    /// Entries.
    pub looked: usize,
    /// Those of them that were not as they were written.
    pub wrong: u64,
    /// Why one could not be read, or not be written again.
    pub failed: Option<String>,
    /// Whether the last of the map was looked at; the next to be is the first then.
    pub ended: bool,
}

impl Checked {
    /// Adds what was looked at after it.
    pub fn add(&mut self, next: Self) {
        self.looked += next.looked;
        self.wrong += next.wrong;
        self.failed = self.failed.take().or(next.failed);
        self.ended = next.ended;
    }
}

/// What of each map is still to be looked at in this pass.
#[derive(Default)]
pub(super) struct Passes {
    residents: Pass<CgroupId>,
    addresses: Pass<Address>,
    subjects: Pass<(Slot, u32)>,
    pairs: Pass<PairKey>,
    intervals: Pass<(Slot, u32)>,
    networks: Pass<(Slot, IpNet)>,
}

/// What is still to be looked at; `None` before a pass.
struct Pass<K>(Option<Vec<K>>);

impl<K> Default for Pass<K> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Copy> Pass<K> {
    /// Looks at the next `most` entries of a map. `keys` are those that a pass begins with, `wanted` is what was written, if it
    /// is still to be there.
    fn check<V: PartialEq>(
        &mut self,
        most: usize,
        map: &mut impl Entries<K, V>,
        keys: impl FnOnce() -> Vec<K>,
        wanted: impl Fn(&K) -> Option<V>,
    ) -> Checked {
        let left = self.0.get_or_insert_with(keys);
        let mut checked = Checked::default();
        for at in left.split_off(left.len().saturating_sub(most)) {
            let Some(value) = wanted(&at) else { continue };
            checked.looked += 1;
            if let Ok(Some(found)) = map.read(&at)
                && found == value
            {
                continue;
            }
            checked.wrong += 1;
            // Read once more: what is written and not there is not mended.
            let failed = match map.write(&at, &value).and_then(|()| map.read(&at)) {
                Ok(Some(found)) if found == value => None,
                Ok(_) => Some("what is written again is not there".to_owned()),
                Err(error) => Some(error.to_string()),
            };
            checked.failed = checked.failed.take().or(failed);
        }
        checked.ended = left.is_empty();
        if checked.ended {
            self.0 = None;
        }
        checked
    }
}

/// A map, by what its entries are called here.
trait Entries<K, V> {
    fn read(&self, at: &K) -> Result<Option<V>, MapError>;
    fn write(&mut self, at: &K, value: &V) -> Result<(), MapError>;
}

impl<K: Pod, V: Pod> Entries<K, V> for maps::HashMap<MapData, K, V> {
    fn read(&self, at: &K) -> Result<Option<V>, MapError> {
        found(self.get(at, 0))
    }

    fn write(&mut self, at: &K, value: &V) -> Result<(), MapError> {
        self.insert(at, value, 0)
    }
}

impl<V: Pod> Entries<(Slot, u32), V> for Array<MapData, V> {
    fn read(&self, at: &(Slot, u32)) -> Result<Option<V>, MapError> {
        found(self.get(&number_of(at.0, at.1), 0))
    }

    fn write(&mut self, at: &(Slot, u32), value: &V) -> Result<(), MapError> {
        self.set(number_of(at.0, at.1), value, 0)
    }
}

/// The kernel answers with the narrowest network that the asked one lies in: one that is gone is missed only where that makes
/// no difference.
impl Entries<(Slot, IpNet), Identity> for LpmTrie<MapData, NetworkKey, Identity> {
    fn read(&self, at: &(Slot, IpNet)) -> Result<Option<Identity>, MapError> {
        found(self.get(&key(at.0, at.1), 0))
    }

    fn write(&mut self, at: &(Slot, IpNet), value: &Identity) -> Result<(), MapError> {
        self.insert(&key(at.0, at.1), value, 0)
    }
}

impl PolicyMaps {
    /// Looks at the next `most` entries of a map, and writes again what is not as it was written. A pass begins anew after the
    /// last, and where `anew` says so.
    pub fn check(&mut self, table: Table, most: usize, anew: bool) -> Checked {
        if anew {
            self.passes.forget(table);
        }
        let (passes, written) = (&mut self.passes, &self.written);
        let of = |slot: Slot| &written[usize::from(slot & 1)];
        match table {
            Table::Residents => {
                let known = &self.known_residents;
                passes.residents.check(most, &mut self.residents, || keys(known), |at| known.get(at).copied())
            }
            Table::Addresses => {
                let known = &self.known_addresses;
                passes.addresses.check(most, &mut self.addresses, || keys(known), |at| known.get(at).copied())
            }
            Table::Subjects => {
                let all = || in_both(|slot| of(slot).subjects.keys().map(move |at| (slot, at.0)));
                let wanted = |at: &(Slot, u32)| of(at.0).subjects.get(&Identity(at.1)).copied();
                passes.subjects.check(most, &mut self.subjects, all, wanted)
            }
            Table::Pairs => {
                let all = || in_both(|slot| of(slot).pairs.keys().copied());
                passes.pairs.check(most, &mut self.pairs, all, |at| of(at.slot).pairs.get(at).copied())
            }
            Table::Intervals => {
                let all = || in_both(|slot| (0..).zip(&of(slot).intervals).map(move |(at, _)| (slot, at)));
                let wanted = |at: &(Slot, u32)| of(at.0).intervals.get(at.1 as usize).copied();
                passes.intervals.check(most, &mut self.intervals, all, wanted)
            }
            Table::Networks => {
                let all = || in_both(|slot| of(slot).networks.keys().map(move |at| (slot, *at)));
                let wanted = |at: &(Slot, IpNet)| of(at.0).networks.get(&at.1).copied();
                passes.networks.check(most, &mut self.networks, all, wanted)
            }
        }
    }

    /// Whether the kernel judges by the generation that is in force; if not, it does so again, by a number of its own: whatever
    /// was judged meanwhile is judged anew.
    ///
    /// # Errors
    /// When the map cannot be read or written.
    pub fn check_generation(&mut self) -> anyhow::Result<bool> {
        if found(self.generation.get(&0, 0))? == Some(self.in_force) {
            return Ok(true);
        }
        self.judge_anew()?;
        ensure!(
            found(self.generation.get(&0, 0))? == Some(self.in_force),
            "what is written again is not there"
        );
        Ok(false)
    }
}

impl Passes {
    fn forget(&mut self, table: Table) {
        match table {
            Table::Residents => self.residents.0 = None,
            Table::Addresses => self.addresses.0 = None,
            Table::Subjects => self.subjects.0 = None,
            Table::Pairs => self.pairs.0 = None,
            Table::Intervals => self.intervals.0 = None,
            Table::Networks => self.networks.0 = None,
        }
    }
}

fn in_both<K, I: Iterator<Item = K>>(of: impl Fn(Slot) -> I) -> Vec<K> {
    of(0).chain(of(1)).collect()
}

fn keys<K: Copy, V>(known: &HashMap<K, V>) -> Vec<K> {
    known.keys().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A map that may refuse or forget what is written.
    #[derive(Default)]
    struct Fake {
        entries: HashMap<u32, u32>,
        refuses: bool,
        forgets: bool,
    }

    impl Entries<u32, u32> for Fake {
        fn read(&self, at: &u32) -> Result<Option<u32>, MapError> {
            Ok(self.entries.get(at).copied())
        }

        fn write(&mut self, at: &u32, value: &u32) -> Result<(), MapError> {
            if self.refuses {
                return Err(MapError::OutOfBounds { index: *at, max_entries: 0 });
            }
            if !self.forgets {
                self.entries.insert(*at, *value);
            }
            Ok(())
        }
    }

    /// A hundred entries were written, and all are there.
    fn whole() -> (HashMap<u32, u32>, Fake) {
        let known: HashMap<u32, u32> = (0..100).map(|at| (at, at + 7)).collect();
        let fake = Fake { entries: known.clone(), ..Fake::default() };
        (known, fake)
    }

    fn pass(pass: &mut Pass<u32>, most: usize, map: &mut Fake, known: &HashMap<u32, u32>) -> Checked {
        pass.check(most, map, || keys(known), |at| known.get(at).copied())
    }

    #[test]
    fn all_of_a_map_is_looked_at_piece_by_piece_and_then_from_the_start() {
        let (known, mut map) = whole();
        let mut left = Pass::default();
        for _ in 0..2 {
            let mut sum = Checked::default();
            while !sum.ended {
                sum.add(pass(&mut left, 30, &mut map, &known));
            }
            assert_eq!(sum, Checked { looked: 100, ended: true, ..Checked::default() });
        }
    }

    #[test]
    fn what_is_gone_and_what_is_something_else_is_written_again() {
        let (known, mut map) = whole();
        map.entries.remove(&5);
        map.entries.insert(6, 0);
        let checked = pass(&mut Pass::default(), 1000, &mut map, &known);
        assert_eq!((checked.wrong, checked.failed), (2, None));
        assert_eq!(map.entries, known);
    }

    #[test]
    fn what_is_not_to_be_there_any_more_is_not_written_again() {
        let (mut known, mut map) = whole();
        let mut left = Pass::default();
        pass(&mut left, 1, &mut map, &known);
        known.clear();
        map.entries.clear();
        assert_eq!(pass(&mut left, 1000, &mut map, &known), Checked { ended: true, ..Checked::default() });
        assert!(map.entries.is_empty());
    }

    #[test]
    fn what_cannot_be_written_again_is_told_and_so_is_what_does_not_stay() {
        for (refuses, forgets) in [(true, false), (false, true)] {
            let (known, map) = whole();
            let mut map = Fake { refuses, forgets, ..map };
            map.entries.clear();
            let checked = pass(&mut Pass::default(), 1000, &mut map, &known);
            assert_eq!(checked.wrong, 100);
            assert!(checked.failed.is_some(), "{checked:?}");
        }
    }
}
