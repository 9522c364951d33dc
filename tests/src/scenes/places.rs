//! Where everybody is to be found.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::{
    cast::{Member, Place},
    cells::Cell,
};

/// Addresses of all who play.
#[derive(Debug, Default)]
pub struct Places {
    /// Of containers, by network.
    pub networks: BTreeMap<(&'static str, &'static str), Vec<IpAddr>>,
    /// Of those who are on the host's network: each has his own.
    pub host: BTreeMap<&'static str, Vec<IpAddr>>,
    /// Of the host, as peers outside see it, where ports of containers are published.
    pub facade: Vec<IpAddr>,
    /// Where on the host, besides, a proxy passes on what comes to published ports.
    pub proxy: Vec<IpAddr>,
}

impl Places {
    /// The ways from the one to the other: each is tried.
    #[must_use]
    pub fn ways(&self, cell: &Cell) -> Vec<SocketAddr> {
        let Cell { source, target, service } = *cell;
        let mut ways: Vec<_> =
            self.addresses(source, target).into_iter().map(|address| (address, service.port)).collect();
        if let Some(port) = cell.published() {
            match source.place {
                Place::Outside(own) => {
                    let same = self.facade.iter().filter(|address| address.is_ipv4() == own.is_ipv4());
                    ways.extend(same.map(|address| (*address, port)));
                }
                // What a proxy passes on, it passes on as the host.
                Place::Host => {
                    ways.extend(self.facade.iter().chain(&self.proxy).map(|address| (*address, port)));
                }
                _ => (),
            }
        }
        ways.into_iter().map(SocketAddr::from).collect()
    }

    fn addresses(&self, source: &Member, target: &Member) -> Vec<IpAddr> {
        match (source.place, target.place) {
            (_, Place::Outside(address)) => vec![address],
            (Place::Outside(_), Place::Networks(_)) => Vec::new(),
            (Place::Outside(own), _) => self
                .of_host(target)
                .into_iter()
                .filter(|address| address.is_ipv4() == own.is_ipv4())
                .collect(),
            (Place::Networks(own), Place::Networks(networks)) => networks
                .iter()
                .filter(|name| own.contains(name))
                .flat_map(|name| self.on(target, name))
                .collect(),
            (_, Place::Networks(networks)) => {
                networks.iter().flat_map(|name| self.on(target, name)).collect()
            }
            _ => self.of_host(target),
        }
    }

    fn on(&self, member: &Member, network: &'static str) -> Vec<IpAddr> {
        self.networks.get(&(member.name, network)).cloned().unwrap_or_default()
    }

    fn of_host(&self, member: &Member) -> Vec<IpAddr> {
        self.host.get(member.name).cloned().unwrap_or_default()
    }
}
