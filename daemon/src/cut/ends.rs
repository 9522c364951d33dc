//! What the sockets of a flow are called: their own address and their peer's. Pure.

use std::collections::HashSet;

use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{Flow, FlowKey, flag},
};

/// An address, and a port in host order. IPv4 is mapped.
pub(super) type Endpoint = (Address, u16);

/// Both ends of a connected socket.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Ends {
    /// Its own (`getsockname`).
    pub(super) here: Endpoint,
    /// Its peer's (`getpeername`).
    pub(super) there: Endpoint,
}

/// The sockets of a flow that are on this host, each with the cgroup in which it was made.
///
/// Where the target was translated on the way, the client's socket has the address that it dialled. Of a translation in the
/// client's own namespace the flow does not know that address: such a socket is not found.
///
/// Of a connection that was open before the hooks were only who sent is meant: anybody could forge a packet of it, and it
/// was judged as who sent it. The reset tells the other end.
pub(super) fn ends_here(key: &FlowKey, flow: &Flow) -> Vec<(CgroupId, Ends)> {
    let has = |flags: u64| flow.flags & flags != 0;
    let (client, server) = key.ends(flow.flags);
    let (client, server) = ((*client.0, client.1), (*server.0, server.1));
    let mut found = Vec::new();
    if flow.client != CgroupId::NONE {
        let dialled = if has(flag::TRANSLATED) { (flow.other_end, flow.other_end_port) } else { server };
        found.push((flow.client, Ends { here: client, there: dialled }));
    }
    // What the client's view of a translated flow calls the server is no socket's address.
    if has(flag::SERVER_IS_LOCAL) && !has(flag::SHADOW) && flow.server != CgroupId::NONE {
        found.push((flow.server, Ends { here: server, there: client }));
    }
    if has(flag::ADOPTED) {
        found.truncate(1);
    }
    found
}

/// Each connection once: without the client's view of one of which the server's view is there as well.
pub(super) fn once_each(mut flows: Vec<(FlowKey, Flow)>) -> Vec<(FlowKey, Flow)> {
    let is_shadow = |flow: &Flow| flow.flags & flag::SHADOW != 0;
    let clients_end = |(key, flow): &(FlowKey, Flow)| ends_here(key, flow).first().copied();
    let whole = flows.iter().filter(|(_, flow)| !is_shadow(flow));
    let whole: HashSet<_> = whole.filter_map(clients_end).collect();
    flows.retain(|known| !is_shadow(&known.1) || clients_end(known).is_none_or(|end| !whole.contains(&end)));
    flows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::backlog::tests::{flow, key};

    const WEB: CgroupId = CgroupId(7);
    const DB: CgroupId = CgroupId(8);

    fn at(last: u32, port: u16) -> Endpoint {
        (Address::mapped(last), port)
    }

    #[test]
    fn both_sockets_of_a_connection_between_two_workloads_are_meant() {
        let flow = Flow { client: WEB, server: DB, ..flow(flag::CLIENT_IS_LOW | flag::SERVER_IS_LOCAL) };
        let (client, server) = (at(1, 40_000), at(2, 5_432));
        let expected =
            [(WEB, Ends { here: client, there: server }), (DB, Ends { here: server, there: client })];
        assert_eq!(ends_here(&key(), &flow), expected);
    }

    #[test]
    fn of_a_connection_with_a_peer_outside_only_one_socket_is_here() {
        let out = Flow { client: WEB, ..flow(flag::CLIENT_IS_LOW) };
        assert_eq!(ends_here(&key(), &out).len(), 1);
        let into = Flow { server: DB, ..flow(flag::CLIENT_IS_LOW | flag::SERVER_IS_LOCAL) };
        let expected = [(DB, Ends { here: at(2, 5_432), there: at(1, 40_000) })];
        assert_eq!(ends_here(&key(), &into), expected);
    }

    #[test]
    fn of_one_that_was_open_before_only_who_sent_is_meant() {
        let flags = flag::CLIENT_IS_LOW | flag::SERVER_IS_LOCAL | flag::ADOPTED;
        let cgroups = |client| {
            let ends = ends_here(&key(), &Flow { client, server: DB, ..flow(flags) });
            ends.into_iter().map(|(cgroup, _)| cgroup).collect::<Vec<_>>()
        };
        assert_eq!((cgroups(WEB), cgroups(CgroupId::NONE)), (vec![WEB], vec![DB]));
    }

    #[test]
    fn behind_a_translated_address_the_clients_socket_has_the_address_that_it_dialled() {
        let flags = flag::CLIENT_IS_LOW | flag::SERVER_IS_LOCAL | flag::TRANSLATED;
        let servers_view = Flow {
            client: WEB,
            server: DB,
            other_end: Address::mapped(9),
            other_end_port: 80,
            ..flow(flags)
        };
        let (client, server) = (at(1, 40_000), at(2, 5_432));
        let expected =
            [(WEB, Ends { here: client, there: at(9, 80) }), (DB, Ends { here: server, there: client })];
        assert_eq!(ends_here(&key(), &servers_view), expected);

        let clients_view = Flow {
            client: WEB,
            other_end: Address::mapped(2),
            other_end_port: 5_432,
            ..flow(flag::CLIENT_IS_LOW | flag::SHADOW)
        };
        let dialled = FlowKey { high: Address::mapped(9), high_port: 80, ..key() };
        let clients_view = (dialled, clients_view);
        assert_eq!(ends_here(&clients_view.0, &clients_view.1), expected[..1]);

        let both = || vec![clients_view, (key(), servers_view)];
        assert_eq!(once_each(both()), both()[1..], "it is one connection");
        assert_eq!(once_each(both()[..1].to_vec()), both()[..1]);
    }
}
