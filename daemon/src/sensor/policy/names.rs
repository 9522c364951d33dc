//! The maps of DNS names: which names rules speak of, whose answers are believed, and what workloads were told.

use std::collections::{HashMap, HashSet};

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{self, LpmTrie, MapData, lpm_trie::Key},
};
use cofferdam_common::{
    ids::{Address, CgroupId},
    name::{Held, NAMED_LIMIT, NAMED_OF_ONE_LIMIT, Named, NamedKey, PatternId, PatternKey, Resolver},
    policy::Identity,
};

use super::{PolicyMaps, Slot};
use crate::sensor::{
    take,
    walk::{found, set_members, walk, was_there},
};

/// What names are looked up in. The only writer of these maps but for the kernel's programs.
pub(super) struct NameMaps {
    patterns: LpmTrie<MapData, PatternKey, PatternId>,
    identities: maps::HashMap<MapData, PatternId, [Identity; 2]>,
    named: maps::HashMap<MapData, NamedKey, Named>,
    counts: maps::HashMap<MapData, CgroupId, u32>,
    resolvers: maps::HashMap<MapData, Resolver, u32>,
    /// What is in the slots of the trie.
    known_patterns: [HashMap<(PatternKey, u32), PatternId>; 2],
    known_identities: HashMap<PatternId, [Identity; 2]>,
    known_resolvers: HashSet<Resolver>,
    /// How many addresses there were when that was last counted.
    total: usize,
}

impl NameMaps {
    pub(super) fn new(ebpf: &mut Ebpf) -> anyhow::Result<Self> {
        Ok(Self {
            patterns: take(ebpf, "PATTERNS")?.try_into()?,
            identities: take(ebpf, "PATTERN_IDENTITIES")?.try_into()?,
            named: take(ebpf, "NAMED")?.try_into()?,
            counts: take(ebpf, "NAMED_COUNTS")?.try_into()?,
            resolvers: take(ebpf, "RESOLVERS")?.try_into()?,
            known_patterns: Default::default(),
            known_identities: HashMap::new(),
            known_resolvers: HashSet::new(),
            total: 0,
        })
    }

    fn set_identity(&mut self, slot: Slot, id: PatternId, identity: Identity) -> anyhow::Result<()> {
        let mut identities = self.known_identities.get(&id).copied().unwrap_or_default();
        if identities[usize::from(slot & 1)] == identity {
            return Ok(());
        }
        identities[usize::from(slot & 1)] = identity;
        if identities == [Identity::UNRESOLVED; 2] {
            was_there(self.identities.remove(&id)).context("cannot remove a DNS name's identity")?;
            self.known_identities.remove(&id);
        } else {
            self.identities
                .insert(id, identities, 0)
                .context("there is no room for one more DNS name (`policies.room.names`)")?;
            self.known_identities.insert(id, identities);
        }
        Ok(())
    }
}

impl PolicyMaps {
    /// Says which names the rules of a slot that is not in use speak of, and the identities of those who have one, and that
    /// they speak of no other.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_patterns(
        &mut self,
        slot: Slot,
        wanted: &HashMap<(PatternKey, u32), (PatternId, Identity)>,
    ) -> anyhow::Result<()> {
        let names = &mut self.names;
        let known = &mut names.known_patterns[usize::from(slot & 1)];
        let old: Vec<_> = known.keys().filter(|key| !wanted.contains_key(key)).copied().collect();
        for (key, bits) in old {
            was_there(names.patterns.remove(&Key::new(bits, key))).context("cannot remove a DNS name")?;
            known.remove(&(key, bits));
        }
        for (at, (id, _)) in wanted {
            if known.get(at) != Some(id) {
                names
                    .patterns
                    .insert(&Key::new(at.1, at.0), *id, 0)
                    .context("there is no room for one more DNS name (`policies.room.names`)")?;
                known.insert(*at, *id);
            }
        }
        let ids: HashMap<PatternId, Identity> =
            wanted.values().copied().filter(|(id, _)| *id != PatternId::NONE).collect();
        let old: Vec<_> = names.known_identities.keys().filter(|id| !ids.contains_key(id)).copied().collect();
        for id in old {
            names.set_identity(slot, id, Identity::UNRESOLVED)?;
        }
        ids.into_iter().try_for_each(|(id, identity)| names.set_identity(slot, id, identity))
    }

    /// Says whose answers are believed, and that nobody else's are.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_resolvers(&mut self, wanted: &HashSet<Resolver>) -> anyhow::Result<()> {
        let NameMaps { resolvers, known_resolvers, .. } = &mut self.names;
        set_members(resolvers, known_resolvers, wanted).context("not all resolvers can be told to the kernel")
    }

    /// Under which patterns a workload was told an address.
    #[must_use]
    pub fn names_of(&self, owner: CgroupId, address: &Address) -> Vec<PatternId> {
        let named = found(self.names.named.get(&NamedKey { owner, address: *address }, 0));
        let held = named.ok().flatten().unwrap_or_default().held;
        held.iter().map(|held| held.pattern).filter(|id| *id != PatternId::NONE).collect()
    }

    /// A workload was told an address under a pattern, as the kernel notes it: what it knows already stays.
    ///
    /// # Errors
    /// When there is no room.
    pub fn name(&mut self, at: NamedKey, pattern: PatternId, valid_until: u64) -> anyhow::Result<()> {
        let known = found(self.names.named.get(&at, 0))?;
        let mut named = known.unwrap_or_default();
        let new = Held { pattern, valid_until };
        let place = named
            .held
            .iter_mut()
            .min_by_key(|held| match held.pattern {
                id if id == pattern => (0, 0),
                PatternId::NONE => (1, 0),
                _ => (2, held.valid_until),
            })
            .filter(|held| held.pattern != pattern || held.valid_until < valid_until);
        let Some(place) = place else { return Ok(()) };
        *place = new;
        if known.is_none() {
            let count = found(self.names.counts.get(&at.owner, 0))?.unwrap_or(0);
            anyhow::ensure!(
                count < NAMED_OF_ONE_LIMIT,
                "a workload knows {NAMED_OF_ONE_LIMIT} addresses by name already"
            );
            self.names.counts.insert(at.owner, count + 1, 0)?;
        }
        self.names.named.insert(at, named, 0).context("there is no room for one more address with a name")
    }

    /// Addresses that were told, where a name is not valid any more, or whose asker is not here (`is_here`).
    /// Counts how many each workload has.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn stale_names(
        &mut self,
        now: u64,
        is_here: impl Fn(CgroupId) -> bool,
    ) -> anyhow::Result<Vec<NamedKey>> {
        let (mut stale, mut counts) = (Vec::new(), HashMap::<CgroupId, u32>::new());
        for (at, named) in walk(NAMED_LIMIT, || self.names.named.iter())? {
            *counts.entry(at.owner).or_default() += 1;
            if named.held.iter().any(|held| is_stale(held, now)) || !is_here(at.owner) {
                stale.push(at);
            }
        }
        self.names.total = counts.values().map(|count| *count as usize).sum();
        let counted = walk(self.size.cgroups, || self.names.counts.iter())?;
        for owner in counted.into_keys().filter(|owner| !counts.contains_key(owner)) {
            was_there(self.names.counts.remove(&owner))?;
        }
        for (owner, count) in counts {
            self.names.counts.insert(owner, count, 0)?;
        }
        Ok(stale)
    }

    /// Forgets the names of an address that are not valid any more, and with the last one the address; all where its asker is
    /// not here. What has been told again meanwhile stays.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn forget_name(&mut self, at: &NamedKey, now: u64, is_here: bool) -> anyhow::Result<()> {
        let Some(mut named) = found(self.names.named.get(at, 0))? else { return Ok(()) };
        let known = named;
        for held in named.held.iter_mut().filter(|held| is_stale(held, now)) {
            *held = Held::default();
        }
        if !is_here || named == Named::default() {
            was_there(self.names.named.remove(at)).context("cannot forget an address with a name")?;
        } else if named != known {
            self.names.named.insert(at, named, 0).context("cannot forget a name of an address")?;
        }
        Ok(())
    }

    /// How many names rules speak of in the slot in use, and how many addresses with one there are.
    #[must_use]
    pub fn count_of_names(&self) -> (usize, usize) {
        (self.names.known_patterns[usize::from(self.slot())].len(), self.names.total)
    }
}

fn is_stale(held: &Held, now: u64) -> bool {
    held.pattern != PatternId::NONE && held.valid_until <= now
}
