//! Names for networks of peers outside.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::event::is_hostile;

/// Longest name, in bytes.
const NAME_LIMIT: usize = 128;
/// Most names: each can become a label of metrics.
const NAMES_LIMIT: usize = 1_024;
/// Most networks, over all names.
const NETWORKS_LIMIT: usize = 16_384;

/// Which networks have which name. None has two.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(try_from = "BTreeMap<Name, Vec<Cidr>>")]
pub struct Outside(BTreeMap<Name, Vec<Cidr>>);

/// How the peers in a network are called.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String")]
pub struct Name(String);

/// A network; a single address is a network of one.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String")]
pub struct Cidr(IpNet);

impl Outside {
    /// Each network with its name.
    pub fn networks(&self) -> impl Iterator<Item = (&str, IpNet)> {
        self.0.iter().flat_map(|(name, networks)| networks.iter().map(|cidr| (name.0.as_str(), cidr.0)))
    }
}

impl TryFrom<BTreeMap<Name, Vec<Cidr>>> for Outside {
    type Error = String;

    fn try_from(names: BTreeMap<Name, Vec<Cidr>>) -> Result<Self, String> {
        if names.len() > NAMES_LIMIT {
            return Err(format!("there are {} names, {NAMES_LIMIT} at most", names.len()));
        }
        let outside = Self(names);
        let mut known = BTreeMap::new();
        for (name, network) in outside.networks() {
            if let Some(other) = known.insert(network, name) {
                return Err(format!("{network} stands there twice, for `{other}` and for `{name}`"));
            }
        }
        if known.len() > NETWORKS_LIMIT {
            return Err(format!("there are {} networks, {NETWORKS_LIMIT} at most", known.len()));
        }
        Ok(outside)
    }
}

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        if name.trim() != name || name.is_empty() {
            return Err(format!("the name `{name}` is empty or begins or ends with a space"));
        }
        if name.len() > NAME_LIMIT {
            return Err(format!("the name `{name}` is longer than {NAME_LIMIT} bytes"));
        }
        if name.contains(is_hostile) {
            return Err(format!(
                "the name `{name}` has characters that cannot be seen or that a terminal would obey"
            ));
        }
        // A peer without a name is called by its address.
        if name.parse::<IpAddr>().is_ok() {
            return Err(format!("`{name}` is an address, not a name"));
        }
        Ok(Self(name))
    }
}

impl Cidr {
    /// The network.
    #[must_use]
    pub fn network(self) -> IpNet {
        self.0
    }
}

/// Whether somebody has meant an address, a network or a range by this, however he wrote it. Nobody is called so.
pub(crate) fn looks_like_address(text: &str) -> bool {
    let parts = text.split('.').count();
    let fits = |byte: u8| byte.is_ascii_digit() || b"./:*-".contains(&byte);
    text.parse::<Cidr>().is_ok() || (parts >= 4 && !text.starts_with('/') && text.bytes().all(fits))
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let network = network
            .map_err(|_| format!("`{text}` is not a network, as in 203.0.113.0/24 or 2001:db8::/32"))?;
        // Addresses are compared as IPv4 then.
        if matches!(network, IpNet::V6(v6) if v6.addr().to_ipv4_mapped().is_some()) {
            return Err(format!("`{text}` is an IPv4 network in the clothes of IPv6"));
        }
        let meant = network.trunc();
        if meant != network {
            return Err(format!("`{text}` has bits beyond the length of its prefix; did you mean {meant}?"));
        }
        Ok(Self(network))
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn networks_are_taken_as_they_are_meant_or_not_at_all() {
        for (text, network) in [
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("203.0.113.7", "203.0.113.7/32"),
            ("2001:DB8::/32", "2001:db8::/32"),
        ] {
            assert_eq!(text.parse::<Cidr>().map(|cidr| cidr.to_string()), Ok(network.to_owned()));
        }
        assert!("203.0.113.7/24".parse::<Cidr>().unwrap_err().ends_with("did you mean 203.0.113.0/24?"));
        for bad in [
            "",
            "203.0.113.0/33",
            "203.0.113/24",
            "2001:db8::/129",
            "example.com",
            "1.2.3.4/-1",
            "::ffff:1.2.3.0/120",
        ] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_must_be_a_name() {
        let name = |text: &str| Name::try_from(text.to_owned());
        for good in ["stripe", "Größe 日本", "a/b", "host", "203.0.113.0/24"] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["", " a", "a ", "203.0.113.0", "::1", "a\nb", "a\u{202e}b", "a\0b"] {
            assert!(name(bad).is_err(), "{bad:?}");
        }
        assert!(name(&"x".repeat(NAME_LIMIT)).is_ok());
        assert!(name(&"x".repeat(NAME_LIMIT + 1)).is_err());
    }

    #[test]
    fn a_network_has_one_name_and_there_are_not_too_many() {
        let named = |names: Vec<(String, Vec<Cidr>)>| {
            let names = names.into_iter().map(|(name, networks)| (Name(name), networks));
            Outside::try_from(names.collect::<BTreeMap<_, _>>())
        };
        let network = |at: usize| Cidr(IpAddr::V4(u32::try_from(at).unwrap().into()).into());
        let twice = named(vec![("a".into(), vec![network(1)]), ("b".into(), vec![network(1)])]);
        assert_eq!(twice.unwrap_err(), "0.0.0.1/32 stands there twice, for `a` and for `b`");
        let names = |count: usize| (0..count).map(|at| (at.to_string() + "x", Vec::new())).collect();
        assert!(named(names(NAMES_LIMIT)).is_ok());
        assert!(named(names(NAMES_LIMIT + 1)).is_err());
        let networks = |count: usize| vec![("a".into(), (0..count).map(network).collect())];
        assert!(named(networks(NETWORKS_LIMIT)).is_ok());
        assert!(named(networks(NETWORKS_LIMIT + 1)).is_err());
    }

    proptest! {
        #[test]
        fn no_network_panics(text in "[0-9a-f.:/]{0,40}|.*") {
            let _ = text.parse::<Cidr>();
        }

        #[test]
        fn a_name_that_passes_is_harmless(name in "\\PC*|.*") {
            if let Ok(Name(name)) = Name::try_from(name) {
                prop_assert!(!name.contains(is_hostile) && name.len() <= NAME_LIMIT);
            }
        }
    }
}
