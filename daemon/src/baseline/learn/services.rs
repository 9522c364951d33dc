//! Ports as rules have them.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_common::network::{PROTOCOL_ICMP, PROTOCOL_ICMPV6};

use crate::{
    event::Protocol,
    policy::model::{self, Services},
};

/// The first port that is not for well-known services.
const HIGH: u16 = 1_024;
/// So many high ports of one target may be services that somebody gave these ports.
const FEW: usize = 8;
/// Of more, those that are no further apart are of one range.
const APART: u16 = 4_096;

/// Protocols and ports, in order, and how many ports a range was made of.
///
/// The ledger knows which end is the server, so that a port is one that somebody listens at. Only who opens ports as he goes,
/// as FTP does in passive mode and some RPC, has so many: of more than [`FEW`] high ports of one target those that lie within
/// [`APART`] of each other become one range, if that has more than [`FEW`] of them. A range allows ports that were never seen.
pub(crate) fn services(seen: &BTreeSet<(Protocol, u16)>) -> (Vec<Services>, Vec<String>) {
    let mut by_protocol = BTreeMap::<Protocol, Vec<u16>>::new();
    for (protocol, port) in seen {
        by_protocol.entry(*protocol).or_default().push(*port);
    }
    let (mut services, mut ranges) = (Vec::new(), Vec::new());
    for (protocol, ports) in by_protocol {
        let Some(number) = protocol.number() else { continue };
        if !protocol.has_ports() {
            let protocol = match number {
                PROTOCOL_ICMP | PROTOCOL_ICMPV6 => model::Protocol::Icmp,
                number => model::Protocol::Number(number),
            };
            let all = Services { protocol, ports: Services::ALL.ports };
            if !services.contains(&all) {
                services.push(all);
            }
            continue;
        }
        let number = model::Protocol::Number(number);
        for group in near(&ports) {
            match group {
                [first, .., last] if *first >= HIGH && group.len() > FEW => {
                    services.push(Services { protocol: number, ports: (*first, *last) });
                    ranges.push(format!("{protocol}/{first}-{last} is made of {} ports", group.len()));
                }
                group => {
                    services.extend(
                        group.iter().map(|port| Services { protocol: number, ports: (*port, *port) }),
                    );
                }
            }
        }
    }
    (services, ranges)
}

/// Ascending ports, cut where they are far apart and where the high ones begin.
fn near(ports: &[u16]) -> impl Iterator<Item = &[u16]> {
    ports.chunk_by(|one, next| next - one <= APART && (*one >= HIGH) == (*next >= HIGH))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(ports: impl IntoIterator<Item = (Protocol, u16)>) -> (String, Vec<String>) {
        let (services, ranges) = services(&ports.into_iter().collect());
        (services.iter().map(Services::to_string).collect::<Vec<_>>().join(", "), ranges)
    }

    #[test]
    fn few_ports_stay_what_they_are() {
        let tcp = [22, 80, 443, 3_306, 5_432, 6_379, 8_080, 9_092].map(|port| (Protocol::Tcp, port));
        let more = [(Protocol::Udp, 53), (Protocol::Icmp, 0), (Protocol::IcmpV6, 0), (Protocol::Ip(47), 0)];
        let (words, ranges) = words(tcp.into_iter().chain(more));
        insta::assert_snapshot!(words, @"tcp/22, tcp/80, tcp/443, tcp/3306, tcp/5432, tcp/6379, tcp/8080, tcp/9092, udp/53, icmp, ip/47");
        assert!(ranges.is_empty());
    }

    #[test]
    fn many_high_ports_of_one_target_are_a_range_and_said_to_be() {
        let passive = (0..20).map(|number| (Protocol::Tcp, 30_000 + number * 7));
        let (words, ranges) = words(passive.chain([(Protocol::Tcp, 21), (Protocol::Tcp, 9_090)]));
        insta::assert_snapshot!(words, @"tcp/21, tcp/9090, tcp/30000-30133");
        assert_eq!(ranges, ["tcp/30000-30133 is made of 20 ports"]);
    }
}
