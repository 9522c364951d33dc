//! Ports of the host that led to containers that are gone: what came through them stays on the map.

use std::{num::NonZero, sync::Arc};

use lru::LruCache;

use super::container::PublishedPort;
use crate::event::Workload;

/// Containers whose ports are known.
const LIMIT: NonZero<usize> = NonZero::new(1_024).expect("not zero");

/// By the key of each container, who it was when it had these ports.
pub(super) struct Ports(LruCache<Arc<str>, (Arc<Workload>, Vec<PublishedPort>)>);

impl Ports {
    pub(super) fn new() -> Self {
        Self(LruCache::new(LIMIT))
    }

    /// A container is known as this one now.
    pub(super) fn note(&mut self, key: &Arc<str>, workload: Arc<Workload>, ports: Vec<PublishedPort>) {
        if !ports.is_empty() {
            self.0.put(Arc::clone(key), (workload, ports));
        } else if let Some((known, _)) = self.0.peek_mut(key) {
            *known = workload;
        }
    }

    /// Those of containers that `is_gone`, the last first: a port that several have had is the last one's.
    pub(super) fn of_gone(&self, is_gone: impl Fn(&Arc<str>) -> bool) -> Vec<(Arc<Workload>, PublishedPort)> {
        let gone = self.0.iter().filter(|(key, _)| is_gone(key)).map(|(_, known)| known);
        gone.flat_map(|(workload, ports)| ports.iter().map(|port| (Arc::clone(workload), *port))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::event::{Protocol, WorkloadKind};

    #[test]
    fn a_container_that_is_gone_has_its_ports_behind_those_who_came_later() {
        let port = |host_port| PublishedPort {
            host_address: Ipv4Addr::UNSPECIFIED.into(),
            host_port,
            container_port: 80,
            protocol: Protocol::Tcp,
        };
        let named = |name| Arc::new(Workload::named(WorkloadKind::Container, name));
        let mut ports = Ports::new();
        ports.note(&"a".into(), named("before"), vec![port(8080)]);
        ports.note(&"a".into(), named("renamed"), Vec::new());
        ports.note(&"b".into(), named("after"), vec![port(8080), port(8443)]);
        let all: Vec<_> =
            ports.of_gone(|_| true).into_iter().map(|(of, port)| (of.name.clone(), port.host_port)).collect();
        let all: Vec<_> = all.iter().map(|(name, port)| (name.as_str(), *port)).collect();
        assert_eq!(all, [("after", 8080), ("after", 8443), ("renamed", 8080)]);
    }
}
