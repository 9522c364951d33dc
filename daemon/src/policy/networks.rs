//! Networks outside: which addresses rules cannot tell apart, and the prefixes by which the longest match finds that.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
};

use cofferdam_common::policy::Identity;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::joint::JointPrefixMap;

use super::{
    model::{Network, Peer},
    rules::{Atom, Rules},
};

/// All of IPv4, as IPv6 has it.
const MAPPED: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);
/// Bits of an IPv6 address before the IPv4 address that is mapped.
const MAPPED_BITS: u8 = 96;

/// Which prefix is whose.
#[derive(Debug, Default)]
pub(super) struct Networks {
    trie: JointPrefixMap<IpNet, Identity>,
}

impl Networks {
    pub(super) fn insert(&mut self, prefix: IpNet, identity: Identity) {
        self.trie.insert(prefix, identity);
    }

    /// The identity of an address outside.
    pub(super) fn identity(&self, address: IpAddr) -> Identity {
        let found = self.trie.get_lpm(&IpNet::from(address.to_canonical()));
        found.map_or(Identity::NOBODY, |(_, identity)| *identity)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (IpNet, Identity)> {
        self.trie.iter().map(|(prefix, identity)| (prefix, *identity))
    }

    pub(super) fn len(&self) -> usize {
        self.trie.len()
    }
}

/// What changes at a prefix, against the one around it.
#[derive(Default)]
struct Change {
    begin: Vec<Atom>,
    end: Vec<Atom>,
}

/// All prefixes that are needed, each with the networks that hold the addresses of which it is the longest prefix.
pub(super) fn prefixes(rules: &Rules) -> Vec<(IpNet, Box<[Atom]>)> {
    // In this order what is within a prefix comes right after it.
    let mut changes = BTreeMap::<IpNet, Change>::new();
    for (atom, peer) in rules.atoms() {
        let Peer::Network(Network { cidr, except }) = peer else { continue };
        let (cidr, except) = (canonical(*cidr), except.iter().map(|except| canonical(*except)));
        // Nothing is left of it.
        if except.clone().any(|except| except.contains(&cidr)) {
            continue;
        }
        changes.entry(cidr).or_default().begin.push(atom);
        except.for_each(|except| changes.entry(except).or_default().end.push(atom));
    }
    let mut around = Vec::<(IpNet, Vec<Atom>)>::new();
    let mut needed = Vec::new();
    for (prefix, Change { begin, end }) in changes {
        while around.last().is_some_and(|(outer, _)| !outer.contains(&prefix)) {
            around.pop();
        }
        let outer = around.last().map_or(&[][..], |(_, atoms)| atoms);
        let mut atoms: Vec<_> =
            outer.iter().copied().chain(begin).filter(|atom| !end.contains(atom)).collect();
        atoms.sort_unstable();
        if atoms != outer {
            needed.push((prefix, atoms.clone().into()));
        }
        around.push((prefix, atoms));
    }
    // The kernel keeps IPv4 within IPv6: what holds for `::/0` must end there.
    let all = IpNet::V4(Ipv4Net::default());
    let spills = |(prefix, _): &(IpNet, _)| prefix.contains(&IpNet::V6(MAPPED));
    if needed.iter().any(spills) && needed.iter().all(|(prefix, _)| *prefix != all) {
        needed.push((all, Box::default()));
    }
    needed
}

/// Without bits after the prefix, and IPv4 as such.
fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    if let IpNet::V6(six) = network
        && MAPPED.contains(&six)
        && let Some(four) = six.addr().to_ipv4_mapped()
        && let Ok(four) = Ipv4Net::new(four, six.prefix_len() - MAPPED_BITS)
    {
        return IpNet::V4(four);
    }
    network
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::{RuleNumbers, model::Policy, samples};

    fn networks(peers: &[(&str, &[&str])]) -> Vec<(String, Vec<Atom>)> {
        let peers = peers.iter().map(|(cidr, except)| samples::network(cidr, except)).collect();
        let rule = samples::rule_with(vec![samples::entry(peers)]);
        let policy = Policy { rules: vec![rule], ..samples::policy("shop") };
        let rules = Rules::new(vec![Arc::new(policy)], &mut RuleNumbers::default()).unwrap();
        prefixes(&rules).into_iter().map(|(prefix, atoms)| (prefix.to_string(), atoms.into())).collect()
    }

    fn expected(prefixes: &[(&str, &[Atom])]) -> Vec<(String, Vec<Atom>)> {
        prefixes.iter().map(|(prefix, atoms)| ((*prefix).to_owned(), atoms.to_vec())).collect()
    }

    #[test]
    fn a_prefix_has_all_networks_around_it_but_those_that_leave_it_out() {
        let found = networks(&[("10.0.0.0/8", &["10.1.0.0/16"]), ("10.1.2.0/24", &[]), ("10.0.0.0/8", &[])]);
        // The subject of the sample is the last selector.
        let wanted = [("10.0.0.0/8", &[0, 2][..]), ("10.1.0.0/16", &[2]), ("10.1.2.0/24", &[1, 2])];
        assert_eq!(found, expected(&wanted));
    }

    #[test]
    fn a_prefix_that_changes_nothing_is_not_needed() {
        assert_eq!(networks(&[("10.0.0.0/8", &["192.0.2.0/24"])]), expected(&[("10.0.0.0/8", &[0])]));
        assert_eq!(networks(&[("10.0.0.0/8", &["0.0.0.0/0"])]), expected(&[]));
    }

    #[test]
    fn all_of_ipv6_does_not_hold_what_is_ipv4() {
        assert_eq!(networks(&[("::/0", &[])]), expected(&[("::/0", &[0]), ("0.0.0.0/0", &[])]));
        assert_eq!(networks(&[("::ffff:10.0.0.0/104", &[])]), expected(&[("10.0.0.0/8", &[0])]));
        assert_eq!(networks(&[("2001:db8::/32", &[])]), expected(&[("2001:db8::/32", &[0])]));
    }
}
