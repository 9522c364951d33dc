//! A userland proxy makes two connections out of one: client -> proxy, proxy -> container. Joins them again. Pure.

use std::sync::Arc;

use super::{Edge, Graph};
use crate::event::{Protocol, Runtime, Workload};

/// A port of the host behind which a proxy sits.
#[derive(Clone, Debug)]
pub struct Published {
    /// The container that it leads to.
    pub workload: Arc<Workload>,
    /// The container's port.
    pub port: u16,
    /// The port of the host.
    pub host_port: u16,
    /// Transport protocol.
    pub protocol: Protocol,
}

impl Published {
    /// How the proxy of the container's runtime is called.
    fn proxy(&self) -> &'static str {
        if self.workload.runtime == Some(Runtime::Docker) { "docker-proxy" } else { "proxy" }
    }
}

/// Joins the two halves of connections through the proxies of `published` ports. What the proxy's half did is taken
/// off the edge between the proxy's workload and the container; what is left there was done without the proxy.
#[must_use]
pub fn join(edges: Vec<Edge>, published: &[Published]) -> Vec<Edge> {
    let mut edges = edges;
    for port in published {
        for entering in 0..edges.len() {
            if let Some(leaving) = other_half(&edges, entering, port) {
                let half = edges[entering].clone();
                edges[leaving].take_off(&half);
                let edge = &mut edges[entering];
                edge.target = Arc::clone(&port.workload);
                edge.port = port.port;
                edge.via = Some(port.proxy().to_owned());
            }
        }
    }
    let mut graph = Graph::default();
    // What was only denied has neither attempts nor bytes.
    let is_left = |edge: &Edge| {
        edge.attempts > 0 || edge.verdicts.deny > 0 || edge.bytes_sent + edge.bytes_received > 0
    };
    for edge in edges.into_iter().filter(is_left) {
        graph.add(edge);
    }
    graph.into_edges()
}

/// Where the edge from the proxy to the container is, if `entering` leads to the proxy.
fn other_half(edges: &[Edge], entering: usize, port: &Published) -> Option<usize> {
    let half = edges.get(entering)?;
    let at_proxy = half.port == port.host_port
        && half.protocol == port.protocol
        && half.target.kind.is_hosts_own()
        && half.source != port.workload;
    if !at_proxy || half.flows == 0 {
        return None;
    }
    edges.iter().position(|edge| {
        edge.source == half.target
            && edge.target == port.workload
            && (edge.port, edge.protocol) == (port.port, port.protocol)
            && edge.via.is_none()
            && edge.flows > 0
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        event::WorkloadKind,
        interaction::{Failed, Verdicts},
    };

    fn named(kind: WorkloadKind, name: &str) -> Arc<Workload> {
        Arc::new(Workload::named(kind, name))
    }

    fn edge(source: &Arc<Workload>, target: &Arc<Workload>, port: u16, flows: u64) -> Edge {
        Edge {
            source: source.clone(),
            target: target.clone(),
            protocol: Protocol::Tcp,
            port,
            via: None,
            flows,
            attempts: flows,
            bytes_sent: flows * 10,
            bytes_received: flows * 100,
            packets_sent: flows,
            packets_received: flows,
            failed: Failed::default(),
            verdicts: Verdicts { allow: flows, ..Verdicts::default() },
            first_seen: Timestamp::UNIX_EPOCH,
            last_seen: Timestamp::UNIX_EPOCH,
            last_denied: None,
        }
    }

    struct Scene {
        host: Arc<Workload>,
        web: Arc<Workload>,
        ci: Arc<Workload>,
        published: [Published; 1],
    }

    fn scene() -> Scene {
        let web = Workload::named(WorkloadKind::Container, "web");
        let web = Arc::new(Workload { runtime: Some(Runtime::Docker), ..web });
        let published =
            Published { workload: web.clone(), port: 80, host_port: 8080, protocol: Protocol::Tcp };
        Scene {
            host: named(WorkloadKind::Host, "host"),
            ci: named(WorkloadKind::Container, "ci"),
            web,
            published: [published],
        }
    }

    #[test]
    fn both_halves_become_one_edge_from_the_client() {
        let Scene { host, web, ci, published } = scene();
        let joined = join(vec![edge(&ci, &host, 8080, 3), edge(&host, &web, 80, 3)], &published);
        let via = Edge { via: Some("docker-proxy".to_owned()), ..edge(&ci, &web, 80, 3) };
        assert_eq!(joined, [via]);
    }

    #[test]
    fn what_the_host_did_by_itself_stays_its_own() {
        let Scene { host, web, ci, published } = scene();
        let joined = join(vec![edge(&ci, &host, 8080, 3), edge(&host, &web, 80, 5)], &published);
        assert!(joined.contains(&edge(&host, &web, 80, 2)));
        assert_eq!(joined.len(), 2);
    }

    #[test]
    fn what_was_only_denied_stays_on_the_map_and_each_half_has_its_own_denials() {
        let Scene { host, web, ci, published } = scene();
        let denied = |edge: Edge, deny| Edge { verdicts: Verdicts { deny, ..edge.verdicts }, ..edge };
        let only = denied(edge(&ci, &web, 443, 0), 9);
        let into = denied(edge(&ci, &host, 8080, 3), 5);
        let out = denied(edge(&host, &web, 80, 3), 4);
        let joined = join(vec![only, into, out], &published);
        let told: Vec<_> =
            joined.iter().map(|edge| (edge.source.name.as_str(), edge.port, edge.verdicts.deny)).collect();
        assert_eq!(told, [("ci", 80, 5), ("ci", 443, 9), ("host", 80, 4)]);
    }

    #[test]
    fn a_service_of_the_host_on_the_same_port_is_no_proxy() {
        let Scene { host, ci, published, .. } = scene();
        let edges = vec![edge(&ci, &host, 8080, 3)];
        assert_eq!(join(edges.clone(), &published), edges);
    }
}
