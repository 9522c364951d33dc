//! Decides which flows have ended without saying so: all but TCP by silence, TCP attempts that no answer came to,
//! connections whose last packets no hook saw (a socket in TIME-WAIT runs none). Pure.

use std::time::Duration;

use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{Flow, FlowKey, FlowRecord, PROTOCOL_TCP, end, flag},
    record::{Header, kind},
};

/// A flow of any protocol but TCP is over after this long without a packet.
const DATAGRAM_IDLE: Duration = Duration::from_secs(30);
/// A TCP attempt is over after this long without a retry; Linux retries for 127 s, doubling from 1 s.
const UNANSWERED: Duration = Duration::from_secs(70);
/// A connection of which one side has said FIN or RST is over after this long in silence.
const CLOSING: Duration = Duration::from_secs(5);
/// An open TCP connection is given up after this long in silence: its end was not seen.
const TCP_IDLE: Duration = Duration::from_secs(6 * 3600);

/// How a flow that was silent for `idle` has ended; `None` while it may go on.
#[must_use]
pub fn ended(key: &FlowKey, flow: &Flow, idle: Duration) -> Option<u8> {
    let has = |flags: u64| flow.flags & flags != 0;
    if key.protocol != PROTOCOL_TCP {
        return (idle >= DATAGRAM_IDLE).then_some(end::IDLE);
    }
    if has(flag::RESET_SENT | flag::CLIENT_FIN | flag::SERVER_FIN) {
        return (idle >= CLOSING).then(|| flow.end_by_remains());
    }
    // A client's view of a translated flow does not know whether it has opened: it lives as long as the server's.
    if !flow.has_opened() && !has(flag::SHADOW) {
        let answered = flow.volume.packets_received > 0;
        return (idle >= UNANSWERED).then_some(if answered { end::ABORTED } else { end::UNANSWERED });
    }
    (idle >= TCP_IDLE).then_some(end::IDLE)
}

/// The record that a hook would have sent for the end of a flow; `None` for a client's view of a translated flow.
#[must_use]
pub fn close_record(key: &FlowKey, flow: &Flow, end: u8, boot_time: u64) -> Option<FlowRecord> {
    if flow.flags & flag::SHADOW != 0 {
        return None;
    }
    let (client, server) = key.ends(flow.flags);
    let translated = flow.flags & flag::TRANSLATED != 0;
    let here = if flow.server == CgroupId::NONE { flow.client } else { flow.server };
    Some(FlowRecord {
        header: Header { kind: kind::FLOW_CLOSE, padding: 0, time: boot_time, cgroup: here },
        client: flow.client,
        server: flow.server,
        client_address: *client.0,
        server_address: *server.0,
        dialled: if translated { flow.other_end } else { Address::NONE },
        client_port: client.1,
        server_port: server.1,
        dialled_port: if translated { flow.other_end_port } else { 0 },
        protocol: key.protocol,
        end,
        opened_at: flow.opened_at,
        volume: flow.volume,
        judgement: flow.judgement,
    })
}

#[cfg(test)]
mod tests {
    use cofferdam_common::{
        network::{PROTOCOL_UDP, Volume},
        policy::Judgement,
    };

    use super::*;

    fn flow(flags: u64) -> Flow {
        Flow {
            flags,
            client: CgroupId(7),
            server: CgroupId::NONE,
            row: 0,
            other_end_port: 0,
            padding: 0,
            other_end: Address::NONE,
            opened_at: 0,
            last_seen: 0,
            volume: Volume::default(),
            client_owner: CgroupId(7),
            server_owner: CgroupId::NONE,
            judgement: Judgement::ALLOW,
            generation: 0,
            awaited: 0,
            audited: 0,
        }
    }

    fn key(protocol: u8) -> FlowKey {
        FlowKey {
            low: Address::mapped(1),
            high: Address::mapped(2),
            namespace: 0,
            low_port: 40_000,
            high_port: 53,
            protocol,
            asker: 0,
            padding: [0; 2],
        }
    }

    #[test]
    fn silence_ends_a_udp_flow_and_no_open_tcp_connection() {
        let minute = Duration::from_secs(60);
        assert_eq!(ended(&key(PROTOCOL_UDP), &flow(flag::OPENED), minute), Some(end::IDLE));
        assert_eq!(ended(&key(PROTOCOL_TCP), &flow(flag::OPENED), minute), None);
    }

    #[test]
    fn an_attempt_is_given_up_only_after_the_longest_pause_between_retries() {
        assert_eq!(ended(&key(PROTOCOL_TCP), &flow(0), Duration::from_secs(64)), None);
        assert_eq!(ended(&key(PROTOCOL_TCP), &flow(0), Duration::from_secs(71)), Some(end::UNANSWERED));
    }

    #[test]
    fn an_attempt_whose_reset_did_not_arrive_ends_by_who_gave_it_up() {
        let ended = |flags| ended(&key(PROTOCOL_TCP), &flow(flags), CLOSING);
        let by_client = flag::RESET_SENT | flag::RESET_BY_CLIENT;
        assert_eq!(ended(flag::DECIDED | by_client), Some(end::ABORTED));
        assert_eq!(ended(flag::DECIDED | flag::RESET_SENT), Some(end::REFUSED));
        assert_eq!(ended(flag::OPENED | by_client), Some(end::RESET));
    }

    #[test]
    fn an_attempt_in_silence_after_the_targets_answer_was_given_up_by_its_source() {
        let mut half_open = flow(flag::DECIDED);
        half_open.volume.packets_received = 1;
        let minutes = Duration::from_secs(120);
        assert_eq!(ended(&key(PROTOCOL_TCP), &half_open, minutes), Some(end::ABORTED));
    }

    #[test]
    fn the_clients_view_of_a_translated_connection_outlives_a_long_pause() {
        assert_eq!(ended(&key(PROTOCOL_TCP), &flow(flag::SHADOW), Duration::from_secs(3600)), None);
    }

    #[test]
    fn a_half_closed_connection_in_silence_counts_as_closed() {
        let flow = flow(flag::OPENED | flag::CLIENT_FIN);
        assert_eq!(ended(&key(PROTOCOL_TCP), &flow, Duration::from_secs(5)), Some(end::CLOSED));
    }

    #[test]
    fn the_close_record_names_the_client_first() {
        let record = close_record(&key(PROTOCOL_UDP), &flow(flag::CLIENT_IS_LOW), end::IDLE, 9).unwrap();
        assert_eq!((record.client_port, record.server_port, record.header.time), (40_000, 53, 9));
        assert_eq!(close_record(&key(PROTOCOL_UDP), &flow(flag::SHADOW), end::IDLE, 9), None);
    }
}
