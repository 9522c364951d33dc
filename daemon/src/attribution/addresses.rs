//! Addresses: which are the host's, and which belong to a container.
//!
//! An address decides only where the kernel knows no cgroup for an end of a flow.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::IpAddr,
    sync::Arc,
};

use nix::ifaddrs::getifaddrs;

/// Whose an address is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    /// A container, by its key in the tables.
    Container(Arc<str>),
    /// The host, on any of its interfaces, bridges and loopback among them.
    Host,
    /// Somebody else.
    Outside,
}

/// Addresses of this machine.
#[derive(Default)]
pub(super) struct Addresses {
    host: HashSet<IpAddr>,
    containers: HashMap<IpAddr, Arc<str>>,
}

impl Addresses {
    pub(super) fn owner(&self, address: IpAddr) -> Owner {
        if let Some(key) = self.containers.get(&address) {
            Owner::Container(Arc::clone(key))
        } else if address.is_loopback() || self.host.contains(&address) {
            Owner::Host
        } else {
            Owner::Outside
        }
    }

    /// The host's addresses.
    pub(super) fn of_host(&self) -> impl Iterator<Item = IpAddr> {
        self.host.iter().copied()
    }

    /// Each container's address with its key.
    pub(super) fn of_containers(&self) -> impl Iterator<Item = (IpAddr, &Arc<str>)> {
        self.containers.iter().map(|(address, key)| (*address, key))
    }

    /// Replaces the host's addresses.
    pub(super) fn set_host(&mut self, host: HashSet<IpAddr>) {
        self.host = host;
    }

    /// A container has `new` addresses instead of `old` ones. An address that another took over meanwhile stays
    /// with the other.
    pub(super) fn moved(&mut self, key: &Arc<str>, old: &[IpAddr], new: &[IpAddr]) {
        for address in old {
            if self.containers.get(address) == Some(key) {
                self.containers.remove(address);
            }
        }
        // A container that claims loopback or nothing would take over other people's flows.
        let own = new.iter().filter(|address| !address.is_loopback() && !address.is_unspecified());
        self.containers.extend(own.map(|address| (*address, Arc::clone(key))));
    }
}

/// Addresses of all interfaces in the daemon's network namespace.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn of_host() -> io::Result<HashSet<IpAddr>> {
    let interfaces = getifaddrs()?;
    Ok(interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_belongs_to_a_container_to_the_host_or_to_somebody_else() {
        let mut addresses = Addresses::default();
        addresses.set_host(HashSet::from([ip("198.18.1.1")]));
        let web: Arc<str> = "web".into();
        addresses.moved(&web, &[], &[ip("198.18.1.2"), ip("127.0.0.1")]);
        assert_eq!(addresses.owner(ip("198.18.1.2")), Owner::Container(web));
        assert_eq!(addresses.owner(ip("198.18.1.1")), Owner::Host);
        assert_eq!(addresses.owner(ip("127.0.0.1")), Owner::Host);
        assert_eq!(addresses.owner(ip("::1")), Owner::Host);
        assert_eq!(addresses.owner(ip("203.0.113.7")), Owner::Outside);
    }

    #[test]
    fn an_address_that_was_taken_over_is_not_taken_away_from_its_new_owner() {
        let mut addresses = Addresses::default();
        let (old, new): (Arc<str>, Arc<str>) = ("old".into(), "new".into());
        let shared = [ip("198.18.1.2")];
        addresses.moved(&old, &[], &shared);
        addresses.moved(&new, &[], &shared);
        addresses.moved(&old, &shared, &[]);
        assert_eq!(addresses.owner(shared[0]), Owner::Container(new));
    }

    #[test]
    fn the_host_has_a_loopback_address() {
        assert!(of_host().unwrap().iter().any(IpAddr::is_loopback));
    }
}
