//! The maps of policies: two slots, of which one is in use, and who has which identity.
//!
//! What is in use may be added to, but never changed. A slot that is not in use still has the generation before: what of
//! it the next one lacks is removed, what is the same stays, all else is written, and then the slot is activated in one write.

use std::collections::HashMap;

use anyhow::Context as _;
use aya::{
    Ebpf,
    maps::{self, Array, LpmTrie, MapData, lpm_trie::Key},
};
use cofferdam_common::{
    ids::{Address, CgroupId},
    policy::{Identity, Interval, NETWORK_KEY_BITS, NetworkKey, PairKey, Resident, Span, Subject},
};
use ipnet::IpNet;

use super::{take, walk::was_there};

mod check;

mod names;

pub use self::check::{Checked, Table};

/// A slot: 0 or 1.
pub type Slot = u8;

/// How much room there is for policies: what has two slots has so much in each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PolicySize {
    /// Workloads and networks that rules tell apart.
    pub identities: u32,
    /// Pairs of them for which something particular holds.
    pub pairs: u32,
    /// Ranges of services for which something particular holds.
    pub intervals: u32,
    /// Networks of peers outside.
    pub networks: u32,
    /// Patterns of DNS names.
    pub names: u32,
    /// Cgroups that have an identity.
    pub cgroups: u32,
    /// Addresses that are somebody's of this host.
    pub addresses: u32,
}

impl Default for PolicySize {
    fn default() -> Self {
        Self {
            identities: 16_384,
            pairs: 131_072,
            intervals: 393_216,
            networks: 16_384,
            names: 4_096,
            cgroups: 65_536,
            addresses: 65_536,
        }
    }
}

/// What policies are looked up in. The only writer of these maps.
pub struct PolicyMaps {
    size: PolicySize,
    generation: Array<MapData, u32>,
    residents: maps::HashMap<MapData, CgroupId, Resident>,
    addresses: maps::HashMap<MapData, Address, CgroupId>,
    subjects: Array<MapData, Subject>,
    pairs: maps::HashMap<MapData, PairKey, Span>,
    intervals: Array<MapData, Interval>,
    networks: LpmTrie<MapData, NetworkKey, Identity>,
    names: names::NameMaps,
    /// What is in the maps.
    written: [Written; 2],
    known_residents: HashMap<CgroupId, Resident>,
    known_addresses: HashMap<Address, CgroupId>,
    /// How far each map has been looked through.
    passes: check::Passes,
    in_force: u32,
    /// The last generation that was in force: no number comes twice, for flows remember by which they were judged.
    last: u32,
}

/// What is in a slot.
#[derive(Default)]
struct Written {
    /// By number, as far as all are known.
    intervals: Vec<Interval>,
    pairs: HashMap<PairKey, Span>,
    networks: HashMap<IpNet, Identity>,
    subjects: HashMap<Identity, Subject>,
}

impl PolicyMaps {
    pub(super) fn new(ebpf: &mut Ebpf, size: PolicySize) -> anyhow::Result<Self> {
        Ok(Self {
            size,
            generation: take(ebpf, "GENERATION")?.try_into()?,
            residents: take(ebpf, "RESIDENTS")?.try_into()?,
            addresses: take(ebpf, "ADDRESSES")?.try_into()?,
            subjects: take(ebpf, "SUBJECTS")?.try_into()?,
            pairs: take(ebpf, "PAIRS")?.try_into()?,
            intervals: take(ebpf, "INTERVALS")?.try_into()?,
            networks: take(ebpf, "NETWORKS")?.try_into()?,
            names: names::NameMaps::new(ebpf)?,
            written: Default::default(),
            known_residents: HashMap::new(),
            known_addresses: HashMap::new(),
            passes: check::Passes::default(),
            in_force: 0,
            last: 0,
        })
    }

    /// How much room there is.
    #[must_use]
    pub fn size(&self) -> PolicySize {
        self.size
    }

    /// The generation in force, and zero where there is none.
    #[must_use]
    pub fn in_force(&self) -> u32 {
        self.in_force
    }

    /// The slot that is in use while a policy is in force.
    #[must_use]
    pub fn slot(&self) -> Slot {
        slot(self.last)
    }

    /// The slot of the generation that comes next, which is not in use.
    #[must_use]
    pub fn next_slot(&self) -> Slot {
        slot(self.next())
    }

    /// The generation that comes next.
    fn next(&self) -> u32 {
        self.last.checked_add(1).unwrap_or(2)
    }

    /// Empties a slot that is not in use.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn clear(&mut self, slot: Slot) -> anyhow::Result<()> {
        self.set_patterns(slot, &HashMap::new())?;
        self.keep(slot, |_| false, |_| false)
    }

    /// Empties a slot that is not in use but for these, which are about to be written.
    ///
    /// # Errors
    /// When a map cannot be written.
    pub fn keep(
        &mut self,
        slot: Slot,
        has_pair: impl Fn(&PairKey) -> bool,
        has_network: impl Fn(&IpNet) -> bool,
    ) -> anyhow::Result<()> {
        let Written { pairs, networks, .. } = &mut self.written[usize::from(slot & 1)];
        let old: Vec<_> = pairs.keys().filter(|pair| !has_pair(pair)).copied().collect();
        for pair in old {
            was_there(self.pairs.remove(&pair)).context("cannot remove a pair of identities")?;
            pairs.remove(&pair);
        }
        let old: Vec<_> = networks.keys().filter(|network| !has_network(network)).copied().collect();
        for network in old {
            was_there(self.networks.remove(&key(slot, network))).context("cannot remove a network")?;
            networks.remove(&network);
        }
        Ok(())
    }

    /// Writes intervals, of which the first has the number `start`.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_intervals(&mut self, slot: Slot, start: u32, intervals: &[Interval]) -> anyhow::Result<()> {
        let written = &mut self.written[usize::from(slot & 1)].intervals;
        for (number, interval) in (start..).zip(intervals) {
            let at = number as usize;
            if written.get(at) == Some(interval) {
                continue;
            }
            self.intervals
                .set(number_of(slot, number), *interval, 0)
                .with_context(|| format!("there is no room for interval {number} of the policies"))?;
            if at == written.len() {
                written.push(*interval);
            } else if let Some(old) = written.get_mut(at) {
                *old = *interval;
            }
        }
        Ok(())
    }

    /// Writes what holds between two identities.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_pair(&mut self, key: PairKey, span: Span) -> anyhow::Result<()> {
        let written = &mut self.written[usize::from(key.slot & 1)].pairs;
        if written.get(&key) != Some(&span) {
            self.pairs.insert(key, span, 0).context("there is no room for one more pair of identities")?;
            written.insert(key, span);
        }
        Ok(())
    }

    /// Writes what holds for an identity. What it refers to must be written before.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_subject(&mut self, slot: Slot, identity: Identity, subject: Subject) -> anyhow::Result<()> {
        let written = &mut self.written[usize::from(slot & 1)].subjects;
        if written.get(&identity) != Some(&subject) {
            self.subjects
                .set(number_of(slot, identity.0), subject, 0)
                .with_context(|| format!("there is no room for identity {}", identity.0))?;
            written.insert(identity, subject);
        }
        Ok(())
    }

    /// Writes the identity of a network of peers outside.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_network(&mut self, slot: Slot, network: IpNet, identity: Identity) -> anyhow::Result<()> {
        let written = &mut self.written[usize::from(slot & 1)].networks;
        if written.get(&network) != Some(&identity) {
            self.networks
                .insert(&key(slot, network), identity, 0)
                .with_context(|| format!("there is no room for network {network}"))?;
            written.insert(network, identity);
        }
        Ok(())
    }

    /// Says which identities a cgroup has. Nothing is written that is there already.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_resident(&mut self, cgroup: CgroupId, resident: Resident) -> anyhow::Result<()> {
        if self.known_residents.get(&cgroup) != Some(&resident) {
            self.residents
                .insert(cgroup, resident, 0)
                .context("there is no room for one more cgroup (`policies.room.cgroups`)")?;
            self.known_residents.insert(cgroup, resident);
        }
        Ok(())
    }

    /// Says who has which address, and that nobody has any other.
    ///
    /// # Errors
    /// When there is no room.
    pub fn set_addresses(&mut self, addresses: &HashMap<Address, CgroupId>) -> anyhow::Result<()> {
        let old: Vec<Address> =
            self.known_addresses.keys().filter(|address| !addresses.contains_key(address)).copied().collect();
        for address in old {
            was_there(self.addresses.remove(&address)).context("cannot remove an address")?;
            self.known_addresses.remove(&address);
        }
        for (address, cgroup) in addresses {
            if self.known_addresses.get(address) != Some(cgroup) {
                self.addresses
                    .insert(*address, *cgroup, 0)
                    .context("there is no room for one more address (`policies.room.addresses`)")?;
                self.known_addresses.insert(*address, *cgroup);
            }
        }
        Ok(())
    }

    /// Who has which identity, and who is where: how many entries there are.
    #[must_use]
    pub fn entries(&self) -> (usize, usize) {
        (self.known_residents.len(), self.known_addresses.len())
    }

    /// The identities that a cgroup has.
    #[must_use]
    pub fn resident(&self, cgroup: CgroupId) -> Option<Resident> {
        self.known_residents.get(&cgroup).copied()
    }

    /// Whose an address is.
    #[must_use]
    pub fn owner_of_address(&self, address: &Address) -> Option<CgroupId> {
        self.known_addresses.get(address).copied()
    }

    /// The cgroups that have an identity.
    pub fn residents(&self) -> impl Iterator<Item = CgroupId> {
        self.known_residents.keys().copied()
    }

    /// Forgets a cgroup that is gone.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn forget_resident(&mut self, cgroup: CgroupId) -> anyhow::Result<()> {
        was_there(self.residents.remove(&cgroup)).context("cannot remove a cgroup")?;
        self.known_residents.remove(&cgroup);
        Ok(())
    }

    /// From here on the kernel judges by what is in the next slot. Returns the generation.
    ///
    /// # Errors
    /// When the map cannot be written. The generation before stays in force then.
    pub fn activate(&mut self) -> anyhow::Result<u32> {
        self.change(self.next())
    }

    /// Has the kernel judge all flows anew, by what is in the slot that is in use.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn judge_anew(&mut self) -> anyhow::Result<u32> {
        // Of the same slot.
        self.change(self.last.checked_add(2).unwrap_or(2 + (self.last & 1)))
    }

    /// From here on nothing is judged.
    ///
    /// # Errors
    /// When the map cannot be written.
    pub fn deactivate(&mut self) -> anyhow::Result<()> {
        let last = self.last;
        self.change(0)?;
        self.last = last;
        Ok(())
    }

    fn change(&mut self, generation: u32) -> anyhow::Result<u32> {
        self.generation.set(0, generation, 0).context("cannot change the generation of the policies")?;
        self.in_force = generation;
        self.last = generation;
        Ok(generation)
    }
}

/// The slot of a generation.
fn slot(generation: u32) -> Slot {
    Slot::from(generation & 1 == 1)
}

/// Where in an array of two slots something is.
fn number_of(slot: Slot, number: u32) -> u32 {
    number * 2 + u32::from(slot)
}

/// The kernel's key for a network.
fn key(slot: Slot, network: IpNet) -> Key<NetworkKey> {
    // An IPv4 address is mapped into the last 32 of 128 bits.
    let (address, length) = match network {
        IpNet::V4(network) => (network.network().to_ipv6_mapped(), 96 + u32::from(network.prefix_len())),
        IpNet::V6(network) => (network.network(), u32::from(network.prefix_len())),
    };
    let data = NetworkKey { slot: u32::from(slot).to_be_bytes(), address: address.octets() };
    Key::new(NETWORK_KEY_BITS + length, data)
}
