//! Names for networks of peers outside, as the configuration gives them.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use ipnet::IpNet;
use prefix_trie::joint::JointPrefixMap;

use crate::event::{Workload, WorkloadKind};

/// Which network has which name; of several that hold an address, the smallest counts.
#[derive(Default, PartialEq)]
pub struct Networks {
    names: JointPrefixMap<IpNet, Arc<Workload>>,
}

impl Networks {
    /// Networks by name. The configuration has checked the names.
    pub fn new<'a>(named: impl IntoIterator<Item = (&'a str, IpNet)>) -> Self {
        let mut workloads = HashMap::<&str, Arc<Workload>>::new();
        let mut names = JointPrefixMap::default();
        for (name, network) in named {
            let workload = workloads
                .entry(name)
                .or_insert_with(|| Arc::new(Workload::named(WorkloadKind::Outside, name)));
            names.insert(network, Arc::clone(workload));
        }
        Self { names }
    }

    /// Who an address outside is, by name.
    pub(super) fn name(&self, address: IpAddr) -> Option<Arc<Workload>> {
        self.names.get_lpm(&IpNet::from(address)).map(|(_, workload)| Arc::clone(workload))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(networks: &Networks, address: &str) -> Option<String> {
        networks.name(address.parse().unwrap()).map(|workload| workload.name.clone())
    }

    #[test]
    fn the_smallest_network_that_holds_an_address_names_it() {
        let all = [
            ("world", "0.0.0.0/0"),
            ("stripe", "203.0.113.0/24"),
            ("api", "203.0.113.7/32"),
            ("six", "2001:db8::/32"),
        ];
        let networks = Networks::new(all.map(|(name, network)| (name, network.parse().unwrap())));
        assert_eq!(named(&networks, "203.0.113.7").as_deref(), Some("api"));
        assert_eq!(named(&networks, "203.0.113.8").as_deref(), Some("stripe"));
        assert_eq!(named(&networks, "198.51.100.1").as_deref(), Some("world"));
        assert_eq!(named(&networks, "2001:db8::1").as_deref(), Some("six"));
        assert_eq!(named(&networks, "2001:db9::1"), None);
        assert_eq!(named(&Networks::default(), "203.0.113.7"), None);
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_a_search_of_all_networks_finds(
            networks in proptest::collection::btree_map((any::<u32>(), 0u8..=32), 0u32..5, 0..40),
            address in any::<u32>(),
        ) {
            let networks: HashMap<IpNet, String> = networks
                .into_iter()
                .map(|((bits, length), name)| {
                    (IpNet::new(IpAddr::V4(bits.into()), length).unwrap().trunc(), name.to_string())
                })
                .collect();
            let address = IpAddr::V4(address.into());
            let largest = networks.iter().filter(|(net, _)| net.contains(&address)).max_by_key(|(net, _)| net.prefix_len());
            let trie = Networks::new(networks.iter().map(|(net, name)| (name.as_str(), *net)));
            prop_assert_eq!(trie.name(address).map(|w| w.name.clone()), largest.map(|(_, name)| name.clone()));
        }
    }
}
