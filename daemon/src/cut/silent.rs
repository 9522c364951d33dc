//! Connections that no hook has seen, for they were open before the hooks were and have been silent since, or were silent for
//! so long that they were given up. Of containers that have addresses of their own.

use std::collections::{HashMap, HashSet};

use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{Flow, FlowKey, PROTOCOL_TCP, Volume, flag},
    policy::Judgement,
};
use procfs::{
    net::{TcpNetEntry, TcpState},
    process::Process,
};

use super::{
    ends::{Endpoint, Ends},
    socket::endpoint,
};
use crate::attribution::Networked;

/// When such a flow has opened: that is not known.
pub(super) const UNSEEN: u64 = 0;

/// Whether a flow is one that no hook has seen.
#[must_use]
pub fn is_unseen(flow: &Flow) -> bool {
    flow.opened_at == UNSEEN
}

/// The sockets of a container.
struct Table {
    cgroup: CgroupId,
    listening: HashSet<u16>,
    connected: Vec<Ends>,
}

/// Flows as the kernel would have them. `owners` says whose addresses are whose, and `known` are the kernel's flows. Blocks.
#[must_use]
pub fn unseen(
    containers: &[Networked],
    owners: &HashMap<Address, CgroupId>,
    known: &HashMap<FlowKey, Flow>,
) -> Vec<(FlowKey, Flow)> {
    // One that has ended meanwhile has none.
    let tables: Vec<_> = containers.iter().filter_map(read).collect();
    flows(&tables, owners, known)
}

fn read(container: &Networked) -> Option<Table> {
    let process = Process::new(i32::try_from(container.pid).ok()?).ok()?;
    let mut table = Table { cgroup: container.cgroup, listening: HashSet::new(), connected: Vec::new() };
    // Without IPv6 there is no second table.
    for entry in process.tcp().ok()?.into_iter().chain(process.tcp6().unwrap_or_default()) {
        table.add(&entry);
    }
    Some(table)
}

impl Table {
    fn add(&mut self, entry: &TcpNetEntry) {
        match entry.state {
            TcpState::Listen => {
                self.listening.insert(entry.local_address.port());
            }
            TcpState::Established | TcpState::CloseWait | TcpState::FinWait1 | TcpState::FinWait2 => {
                let [here, there] = [entry.local_address, entry.remote_address].map(endpoint);
                self.connected.push(Ends { here, there });
            }
            _ => {}
        }
    }
}

/// What is known of a connection of which one end or both are a container's.
#[derive(Default)]
struct Seen {
    /// Whose ends these are, by their place in the pair.
    owners: [Option<CgroupId>; 2],
    /// Which of them somebody listens at.
    server: Option<usize>,
}

/// Connections in the tables of which the kernel has no flow.
fn flows(
    tables: &[Table],
    owners: &HashMap<Address, CgroupId>,
    known: &HashMap<FlowKey, Flow>,
) -> Vec<(FlowKey, Flow)> {
    let ends = |key: &FlowKey| [(key.low, key.low_port), (key.high, key.high_port)];
    let tcp = known.keys().filter(|key| key.protocol == PROTOCOL_TCP);
    // Where a target is translated the kernel may have another name for it than the socket.
    let busy: HashSet<Endpoint> = tcp.flat_map(ends).collect();
    let mut found = HashMap::<[Endpoint; 2], Seen>::new();
    for table in tables {
        for Ends { here, there } in &table.connected {
            let listens = table.listening.contains(&here.1);
            // An end at which somebody listens has many connections.
            if owners.get(&here.0) != Some(&table.cgroup) || busy.contains(if listens { there } else { here })
            {
                continue;
            }
            let mut pair = [*here, *there];
            pair.sort_unstable();
            let place = usize::from(pair[0] != *here);
            let seen = found.entry(pair).or_default();
            seen.owners[place] = Some(table.cgroup);
            if listens {
                seen.server = Some(place);
            }
        }
    }
    found.into_iter().map(|(pair, seen)| flow(pair, &seen)).collect()
}

fn flow([low, high]: [Endpoint; 2], seen: &Seen) -> (FlowKey, Flow) {
    // Where nobody listens the ports tell, as they tell the kernel when it sees an open connection first.
    let server = seen.server.unwrap_or(usize::from(high.1 < low.1));
    let [client_owner, server_owner] =
        [1 - server, server].map(|place| seen.owners[place].unwrap_or(CgroupId::NONE));
    let mut flags = flag::DECIDED | flag::OPENED;
    if server == 1 {
        flags |= flag::CLIENT_IS_LOW;
    }
    if server_owner != CgroupId::NONE {
        flags |= flag::SERVER_IS_LOCAL;
    }
    let key = FlowKey {
        low: low.0,
        high: high.0,
        namespace: 0,
        low_port: low.1,
        high_port: high.1,
        protocol: PROTOCOL_TCP,
        asker: 0,
        padding: [0; 2],
    };
    let flow = Flow {
        flags,
        client: client_owner,
        server: server_owner,
        row: 0,
        other_end_port: 0,
        padding: 0,
        other_end: Address::NONE,
        opened_at: UNSEEN,
        last_seen: 0,
        volume: Volume::default(),
        client_owner,
        server_owner,
        judgement: Judgement::ALLOW,
        generation: 0,
        awaited: 0,
        audited: 0,
    };
    (key, flow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::ends::ends_here;

    const WEB: CgroupId = CgroupId(7);
    const DB: CgroupId = CgroupId(8);

    fn at(last: u32, port: u16) -> Endpoint {
        (Address::mapped(last), port)
    }

    fn table(cgroup: CgroupId, listening: &[u16], connected: &[(Endpoint, Endpoint)]) -> Table {
        let connected = connected.iter().map(|(here, there)| Ends { here: *here, there: *there });
        Table { cgroup, listening: listening.iter().copied().collect(), connected: connected.collect() }
    }

    fn owners() -> HashMap<Address, CgroupId> {
        [(at(1, 0).0, WEB), (at(2, 0).0, DB)].into()
    }

    #[test]
    fn both_ends_of_a_connection_between_containers_are_one_flow_to_where_somebody_listens() {
        let (client, server) = (at(1, 1_024), at(2, 5_432));
        let tables = [table(WEB, &[], &[(client, server)]), table(DB, &[5_432], &[(server, client)])];
        let turned = [&tables[1], &tables[0]].map(clone);
        for tables in [tables, turned] {
            let found = flows(&tables, &owners(), &HashMap::new());
            let [(key, flow)] = found[..] else { panic!("{found:?}") };
            let expected =
                [(WEB, Ends { here: client, there: server }), (DB, Ends { here: server, there: client })];
            assert_eq!(ends_here(&key, &flow), expected);
            assert_eq!((flow.client_owner, flow.server_owner), (WEB, DB));
        }
    }

    fn clone(table: &Table) -> Table {
        let Table { cgroup, listening, connected } = table;
        Table { cgroup: *cgroup, listening: listening.clone(), connected: connected.clone() }
    }

    #[test]
    fn where_nobody_listens_the_ports_tell_who_began() {
        let tables = [table(WEB, &[], &[(at(1, 40_000), at(9, 443))])];
        let found = flows(&tables, &owners(), &HashMap::new());
        let [(_, flow)] = found[..] else { panic!("{found:?}") };
        assert_eq!((flow.client, flow.server, flow.flags & flag::SERVER_IS_LOCAL), (WEB, CgroupId::NONE, 0));
    }

    #[test]
    fn what_the_kernel_knows_and_what_bears_anothers_address_is_left_out() {
        let (client, server) = (at(1, 40_000), at(2, 5_432));
        let tables = [table(DB, &[5_432], &[(server, client), (server, at(1, 40_001))])];
        let (key, known) = flow([client, server], &Seen::default());
        let found = flows(&tables, &owners(), &HashMap::from([(key, known)]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0.low_port, 40_001);

        let forged = [table(WEB, &[5_432], &[(server, client)])];
        assert_eq!(flows(&forged, &owners(), &HashMap::new()), []);
    }

    #[test]
    fn the_tables_of_a_process_are_read() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let to = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(to).unwrap();
        let here = Networked { cgroup: WEB, pid: std::process::id(), name: "here".into() };
        let table = read(&here).unwrap();
        assert!(table.listening.contains(&to.port()));
        let ends = Ends { here: endpoint(client.local_addr().unwrap()), there: endpoint(to) };
        assert!(table.connected.contains(&ends));
    }
}
