//! Who is compared: workloads and peers outside, by what rules of either side can tell of them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use cofferdam_common::policy::Identity;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Lane;
use crate::{
    event::Workload,
    policy::{Plan, TooLarge, explain::End, judge::Party, model::Peer},
};

/// Most names of a group that are told.
const MOST_NAMES: usize = 100;
/// Most names in a label.
const IN_LABEL: usize = 4;
/// Peers outside that no rule of either side names.
const ELSEWHERE: &str = "outside (all others)";

/// Who there is.
#[derive(Clone, Debug, Default)]
pub struct Parties {
    /// Workloads of this host.
    pub workloads: Vec<Arc<Workload>>,
}

/// Some that change alike.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Group {
    /// What they are called, folded: `shop/*`, `outside 203.0.113.0/24`. The first of them.
    pub names: Vec<String>,
    /// How many more names there are.
    pub names_left_out: usize,
}

impl Group {
    /// In one line.
    #[must_use]
    pub fn label(&self) -> String {
        let more = self.names.len().saturating_sub(IN_LABEL) + self.names_left_out;
        let label = self.names.iter().take(IN_LABEL).map(String::as_str).collect::<Vec<_>>().join(", ");
        if more == 0 { label } else { format!("{label} and {more} more") }
    }
}

/// Those whom neither plan tells apart.
#[derive(Debug)]
pub(super) struct Class {
    /// Before and after.
    pub(super) parties: [Party; 2],
    /// Whether they are of this host.
    here: bool,
    /// How many workloads.
    count: usize,
    names: BTreeSet<String>,
}

/// All classes.
pub(super) struct Classes {
    classes: Vec<Class>,
    /// By who they are before and after, and whether they are of this host.
    numbers: HashMap<([Party; 2], bool), usize>,
    /// By name: many have the same.
    workloads: HashMap<Arc<Workload>, usize>,
    /// By address, and the names under which somebody knows it.
    outside: HashMap<(Option<IpAddr>, Vec<String>), usize>,
    /// Names of the workloads of each project.
    projects: BTreeMap<String, BTreeSet<String>>,
}

impl Classes {
    pub(super) fn new(
        before: &mut Plan,
        after: &mut Plan,
        parties: Parties,
        lanes: &[Lane<'_>],
    ) -> Result<Self, TooLarge> {
        let mut all = Self {
            classes: Vec::new(),
            numbers: HashMap::new(),
            workloads: HashMap::new(),
            outside: HashMap::new(),
            projects: BTreeMap::new(),
        };
        let ends = || lanes.iter().flat_map(|lane| [lane.source, lane.target]);
        let known: HashSet<_> = parties.workloads.into_iter().collect();
        for workload in known {
            all.add_workload(before, after, workload)?;
        }
        for end in ends() {
            if let End::Workload(workload) = end
                && !all.workloads.contains_key(workload)
            {
                all.add_workload(before, after, Arc::new(workload.clone()))?;
            }
        }
        for network in networks(before, after) {
            let Some(address) = network.1 else { continue };
            let end = End::Outside { address: Some(address), names: &[] };
            let parties = parties_of(&end, before, after)?;
            all.add(parties, false, Some(format!("outside {}", network.0)));
        }
        for pattern in patterns(before, after) {
            let end = End::Outside { address: None, names: std::slice::from_ref(&pattern) };
            let parties = parties_of(&end, before, after)?;
            all.add(parties, false, Some(end.to_string()));
        }
        all.add(nobody(), false, None);
        for end in ends() {
            if let End::Outside { address, names } = end {
                let parties = parties_of(&end, before, after)?;
                // All others have the name of the network or pattern that makes them who they are.
                let both = parties.iter().any(|party| !party.by_name.is_empty())
                    && parties.iter().any(|party| party.identity != Identity::NOBODY);
                let class = all.add(parties, false, both.then(|| end.to_string()));
                all.outside.insert((address, names.to_vec()), class);
            }
        }
        Ok(all)
    }

    fn add_workload(
        &mut self,
        before: &mut Plan,
        after: &mut Plan,
        workload: Arc<Workload>,
    ) -> Result<(), TooLarge> {
        let parties = parties_of(&End::Workload(&workload), before, after)?;
        let name = workload.to_string();
        if let Some((project, _)) = name.split_once('/').filter(|(project, _)| !project.is_empty()) {
            self.projects.entry(project.to_owned()).or_default().insert(name.clone());
        }
        let class = self.add(parties, true, Some(name));
        self.classes[class].count += 1;
        self.workloads.insert(workload, class);
        Ok(())
    }

    fn add(&mut self, parties: [Party; 2], here: bool, name: Option<String>) -> usize {
        let Self { classes, numbers, .. } = self;
        let class = *numbers.entry((parties, here)).or_insert_with_key(|(parties, _)| {
            classes.push(Class { parties: parties.clone(), here, count: 0, names: BTreeSet::new() });
            classes.len() - 1
        });
        classes[class].names.extend(name);
        class
    }

    pub(super) fn get(&self, class: usize) -> &Class {
        &self.classes[class]
    }

    /// The class of somebody who was seen.
    pub(super) fn of(&self, end: &End<'_>) -> Option<usize> {
        match end {
            End::Workload(workload) => self.workloads.get(*workload).copied(),
            End::Outside { address, names } => self.outside.get(&(*address, names.to_vec())).copied(),
        }
    }

    /// Whether these two may interact, and one of them is of this host.
    pub(super) fn is_pair(&self, (source, target): (usize, usize)) -> bool {
        let (one, other) = (self.get(source), self.get(target));
        // What a workload says to itself is no interaction.
        (one.here || other.here) && (source != target || one.count > 1)
    }

    pub(super) fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let between = |source| (0..self.classes.len()).map(move |target| (source, target));
        (0..self.classes.len()).flat_map(between).filter(|pair| self.is_pair(*pair))
    }

    pub(super) fn count_of_pairs(&self) -> usize {
        let outside = self.classes.iter().filter(|class| !class.here).count();
        let alone = self.classes.iter().filter(|class| class.here && class.count == 1).count();
        self.classes.len() * self.classes.len() - outside * outside - alone
    }

    /// What these classes are called together.
    pub(super) fn group(&self, classes: &BTreeSet<usize>) -> Group {
        let mut names = BTreeSet::new();
        for class in classes.iter().map(|class| self.get(*class)) {
            names.extend(class.names.iter().map(String::as_str));
            if class.parties == nobody() && !class.here {
                names.insert(ELSEWHERE);
            }
        }
        let mut folded = BTreeSet::new();
        for (project, members) in &self.projects {
            if members.len() > 1 && members.iter().all(|name| names.contains(name.as_str())) {
                names.retain(|name| !members.contains(*name));
                folded.insert(format!("{project}/*"));
            }
        }
        folded.extend(names.into_iter().map(str::to_owned));
        let names_left_out = folded.len().saturating_sub(MOST_NAMES);
        Group { names: folded.into_iter().take(MOST_NAMES).collect(), names_left_out }
    }
}

/// Who an end is before and after.
fn parties_of(end: &End<'_>, before: &mut Plan, after: &mut Plan) -> Result<[Party; 2], TooLarge> {
    Ok([Party::of(end, before)?, Party::of(end, after)?])
}

/// A peer outside that no rule of either side names.
fn nobody() -> [Party; 2] {
    [Identity::NOBODY, Identity::NOBODY].map(Party::from)
}

/// The patterns of DNS names that rules of either plan name. Each stands for the names of which it is the longest.
fn patterns(before: &Plan, after: &Plan) -> BTreeSet<String> {
    let all = before.rules().atoms().chain(after.rules().atoms());
    let patterns = all.filter_map(|(_, peer)| match peer {
        Peer::Name(pattern) => Some(pattern.to_string()),
        _ => None,
    });
    patterns.collect()
}

/// The networks that rules of either plan name, and in each an address that is in none which lies within it.
fn networks(before: &Plan, after: &Plan) -> Vec<(IpNet, Option<IpAddr>)> {
    let all: BTreeSet<IpNet> =
        before.networks().chain(after.networks()).map(|(network, _)| network.trunc()).collect();
    // In this order what is within a network comes right after it.
    let all: Vec<_> = all.into_iter().collect();
    (0..).zip(&all).map(|(at, network)| (*network, of_its_own(*network, &all[at + 1..]))).collect()
}

/// An address of a network that is in none of those within, which come first in `others`.
fn of_its_own(network: IpNet, others: &[IpNet]) -> Option<IpAddr> {
    let mut address = network.network();
    for inner in others.iter().take_while(|inner| network.contains(*inner)) {
        if inner.network() > address {
            break;
        }
        if inner.contains(&address) {
            address = next(inner.broadcast())?;
        }
    }
    network.contains(&address).then_some(address)
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => address.to_bits().checked_add(1).map(|bits| IpAddr::V4(bits.into())),
        IpAddr::V6(address) => address.to_bits().checked_add(1).map(|bits| IpAddr::V6(bits.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_a_network_is_found_that_no_network_within_it_has() {
        let found = |networks: &[&str]| {
            let networks: BTreeSet<IpNet> = networks.iter().map(|it| it.parse().unwrap()).collect();
            let networks: Vec<_> = networks.into_iter().collect();
            of_its_own(networks[0], &networks[1..]).map(|address| address.to_string())
        };
        let some = |address: &str| Some(address.to_owned());
        assert_eq!(found(&["10.0.0.0/8"]), some("10.0.0.0"));
        assert_eq!(found(&["10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.1.0.0/16"]), some("10.2.0.0"));
        assert_eq!(found(&["10.0.0.0/8", "10.0.0.0/16", "10.2.0.0/16"]), some("10.1.0.0"));
        assert_eq!(found(&["10.0.0.0/8", "10.0.0.0/9", "10.128.0.0/9", "11.0.0.0/8"]), None);
        assert_eq!(found(&["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"]), None);
        assert_eq!(found(&["2001:db8::/32", "2001:db8::/128"]), some("2001:db8::1"));
    }
}
