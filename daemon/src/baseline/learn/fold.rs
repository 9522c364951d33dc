//! Peers outside, as few names and networks as explain them. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::policy::names::NamePattern;

/// So many names below one domain stay what they are.
const FEW_NAMES: usize = 8;
/// So many patterns; of more, each domain that somebody can register is one.
const MANY_NAMES: usize = 64;
/// So many addresses of one network of [`CLOSE`] stay what they are.
const FEW_ADDRESSES: usize = 8;
/// Prefixes of networks whose addresses lie close together (IPv4, IPv6), and of those that are near each other still.
const CLOSE: (u8, u8) = (24, 64);
const NEAR: (u8, u8) = (16, 48);
/// So many networks; of more, those near each other are one.
const MANY_NETWORKS: usize = 64;
/// More patterns than that are no list that anybody reads.
pub(super) const MOST_NAMES: usize = 512;

/// Patterns, and the names that each is made of.
///
/// More than [`FEW_NAMES`] below one domain become `*.domain`; of more than [`MANY_NAMES`] that are left, all that have a
/// domain in common that somebody can register. A name that nobody else has is itself.
pub(super) fn names(names: &BTreeSet<NamePattern>) -> BTreeMap<NamePattern, BTreeSet<NamePattern>> {
    let folded = below(names.iter().map(|name| (name, parent(name.as_str()))), FEW_NAMES);
    if folded.len() <= MANY_NAMES {
        return folded;
    }
    below(names.iter().map(|name| (name, registered(name.as_str()))), 1)
}

/// Names by the domain that they are below, where more than so many are.
fn below<'a>(
    names: impl Iterator<Item = (&'a NamePattern, Option<&'a str>)>,
    few: usize,
) -> BTreeMap<NamePattern, BTreeSet<NamePattern>> {
    let mut by_domain = BTreeMap::<Option<&str>, BTreeSet<NamePattern>>::new();
    for (name, domain) in names {
        by_domain.entry(domain).or_default().insert(name.clone());
    }
    let mut folded = BTreeMap::<_, BTreeSet<_>>::new();
    for (domain, names) in by_domain {
        let pattern = domain.filter(|_| names.len() > few);
        let pattern = pattern.and_then(|domain| NamePattern::try_from(format!("*.{domain}")).ok());
        match pattern {
            Some(pattern) => folded.entry(pattern).or_default().extend(names),
            None => folded.extend(names.into_iter().map(|name| (name.clone(), BTreeSet::from([name])))),
        }
    }
    folded
}

/// The domain that a name is directly below, if it is somebody's.
fn parent(name: &str) -> Option<&str> {
    let (_, parent) = name.split_once('.')?;
    (!is_public(parent)).then_some(parent)
}

/// The domain that somebody registered, of a name below it.
fn registered(name: &str) -> Option<&str> {
    let mut domain = None;
    let mut rest = name;
    while let Some(parent) = parent(rest) {
        (domain, rest) = (Some(parent), parent);
    }
    domain
}

/// Whether anybody can have a name directly below it: `com`, `co.uk`. The list of these (publicsuffix.org) is long and changes;
/// what is taken for one too many costs a rule with more names, and nothing else.
fn is_public(domain: &str) -> bool {
    match domain.rsplit_once('.') {
        None => true,
        Some((second, top)) => !second.contains('.') && second.len() <= 3 && top.len() == 2,
    }
}

/// Networks, and how many of the addresses each holds. They are in no other.
///
/// Single addresses, but where more than [`FEW_ADDRESSES`] lie in one network of [`CLOSE`]: then the smallest that holds these.
/// Of more than [`MANY_NETWORKS`] that are left, those within one of [`NEAR`] are one, likewise; and if there are still more
/// than `most`, they are everybody outside, of each family that was seen.
pub(super) fn networks(addresses: &BTreeSet<IpAddr>, most: usize) -> BTreeMap<IpNet, BTreeSet<IpAddr>> {
    let mut folded = within(addresses, CLOSE, FEW_ADDRESSES);
    if folded.len() > MANY_NETWORKS.min(most) {
        folded = within(addresses, NEAR, 1);
    }
    if folded.len() > most {
        folded = within(addresses, (0, 0), 0);
        folded = folded.into_values().map(|addresses| (everybody(&addresses), addresses)).collect();
    }
    folded
}

/// Addresses by the smallest network that holds all within one of these prefixes, where there are more than so many.
fn within(addresses: &BTreeSet<IpAddr>, prefixes: (u8, u8), few: usize) -> BTreeMap<IpNet, BTreeSet<IpAddr>> {
    let mut by_network = BTreeMap::<IpNet, BTreeSet<IpAddr>>::new();
    for address in addresses {
        let prefix = if address.is_ipv4() { prefixes.0 } else { prefixes.1 };
        let network = IpNet::new(*address, prefix).map_or_else(|_| IpNet::from(*address), |it| it.trunc());
        by_network.entry(network).or_default().insert(*address);
    }
    let mut folded = BTreeMap::new();
    for (_, addresses) in by_network {
        match smallest(&addresses) {
            Some(network) if addresses.len() > few => {
                folded.insert(network, addresses);
            }
            _ => folded.extend(addresses.into_iter().map(|it| (IpNet::from(it), BTreeSet::from([it])))),
        }
    }
    folded
}

/// The smallest network that holds them all, of one family.
fn smallest(addresses: &BTreeSet<IpAddr>) -> Option<IpNet> {
    let (first, last) = (addresses.first()?, addresses.last()?);
    let mut network = IpNet::from(*first);
    while !network.contains(last) {
        network = network.supernet()?;
    }
    Some(network)
}

fn everybody(addresses: &BTreeSet<IpAddr>) -> IpNet {
    match addresses.first() {
        Some(IpAddr::V6(_)) => IpNet::V6(Ipv6Net::default()),
        _ => IpNet::V4(Ipv4Net::default()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn patterns(of: &[&str]) -> Vec<String> {
        let of = of.iter().map(|name| NamePattern::try_from((*name).to_owned()).unwrap());
        names(&of.collect()).into_keys().map(|pattern| pattern.to_string()).collect()
    }

    fn cidrs(of: impl IntoIterator<Item = String>) -> Vec<String> {
        let of = of.into_iter().map(|address| address.parse().unwrap());
        networks(&of.collect(), 256).into_keys().map(|network| network.to_string()).collect()
    }

    #[test]
    fn many_names_below_one_domain_are_one_pattern() {
        let many: Vec<_> = (0..9).map(|number| format!("node{number}.cdn.example.org")).collect();
        let mut many: Vec<_> = many.iter().map(String::as_str).collect();
        assert_eq!(patterns(&many[..8]).len(), 8);
        many.extend(["api.example.org", "cdn.example.org"]);
        assert_eq!(patterns(&many), ["*.cdn.example.org", "api.example.org", "cdn.example.org"]);
    }

    #[test]
    fn nobody_is_allowed_a_whole_country() {
        let shops: Vec<_> =
            (0..40).flat_map(|it| [format!("shop{it}.co.uk"), format!("shop{it}.com")]).collect();
        let shops: Vec<_> = shops.iter().map(String::as_str).collect();
        assert_eq!(patterns(&shops).len(), 80);
        let hosts: Vec<_> = (0..90).map(|it| format!("a{it}.b{it}.example.co.uk")).collect();
        let hosts: Vec<_> = hosts.iter().map(String::as_str).collect();
        assert_eq!(patterns(&hosts), ["*.example.co.uk"]);
    }

    #[test]
    fn addresses_that_lie_close_together_are_the_smallest_network_that_holds_them() {
        let few = (0..8).map(|last| format!("198.51.100.{}", last * 2));
        assert_eq!(cidrs(few).len(), 8);
        let many = (0..20).map(|last| format!("198.51.100.{last}")).chain(["203.0.113.7".to_owned()]);
        assert_eq!(cidrs(many), ["198.51.100.0/27", "203.0.113.7/32"]);
        let v6 = (0..20).map(|last| format!("2001:db8::{last:x}"));
        assert_eq!(cidrs(v6), ["2001:db8::/123"]);
    }

    #[test]
    fn too_many_networks_are_not_told_apart() {
        let near = (0..100).map(|third| format!("10.7.{third}.9"));
        assert_eq!(cidrs(near), ["10.7.0.0/17"]);
        let everywhere = (1..200).flat_map(|first| [format!("{first}.1.1.1"), format!("{first}.99.1.1")]);
        assert_eq!(cidrs(everywhere.chain(["2001:db8::1".to_owned()])), ["0.0.0.0/0", "::/0"]);
    }

    proptest! {
        #[test]
        fn each_address_is_in_a_network_that_was_made_of_it(
            addresses in proptest::collection::btree_set(any::<IpAddr>(), 0..400),
        ) {
            let networks = networks(&addresses, 256);
            prop_assert!(networks.len() <= 256);
            let held: BTreeSet<_> = networks.values().flatten().copied().collect();
            prop_assert_eq!(held, addresses);
            for (network, addresses) in networks {
                prop_assert!(addresses.iter().all(|address| network.contains(address)));
            }
        }
    }
}
