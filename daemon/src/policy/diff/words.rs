//! Ranges of services, as people write them.

use cofferdam_common::{
    network::{PROTOCOL_ICMP, PROTOCOL_ICMPV6},
    policy::service,
};

use crate::policy::model::{Protocol, Services};

/// The greatest service that there is.
pub(super) const LAST: u32 = service(u8::MAX, u16::MAX);

/// Most that are told.
const MOST: usize = 32;

/// Ranges that do not touch, ascending, and how many of them are left out.
pub(super) fn in_words(ranges: &[(u32, u32)]) -> (Vec<String>, usize) {
    let (but, told) = match (ranges.first(), ranges.last()) {
        (Some((0, LAST)), _) => return (vec![Services::ALL.to_string()], 0),
        // From the first to the last service: what is not in it is less to say.
        (Some((0, _)), Some((_, LAST))) => (true, between(ranges)),
        _ => (false, ranges.to_vec()),
    };
    let mut words = Vec::new();
    for (first, last) in told {
        add(first, last, &mut words);
    }
    let left_out = words.len().saturating_sub(MOST);
    words.truncate(MOST);
    if let Some(word) = words.first_mut().filter(|_| but) {
        *word = format!("all but {word}");
    }
    (words, left_out)
}

fn between(ranges: &[(u32, u32)]) -> Vec<(u32, u32)> {
    ranges.windows(2).map(|two| (two[0].1 + 1, two[1].0 - 1)).collect()
}

/// A range, cut where the ports of a protocol end.
fn add(first: u32, last: u32, words: &mut Vec<String>) {
    let mut first = first;
    while first <= last {
        let protocol = first >> 16;
        // Whole protocols that no name is known for are one range.
        let whole = |protocol: u32| (protocol << 16) >= first && (protocol << 16 | 0xffff) <= last;
        let nameless = |protocol: &u32| whole(*protocol) && !is_named(*protocol as u8);
        let end = (protocol..=u32::from(u8::MAX)).take_while(nameless).last().unwrap_or(protocol);
        let to = last.min(end << 16 | 0xffff);
        words.push(match end - protocol {
            0 => one(protocol as u8, (first as u16, to as u16)),
            _ => format!("ip/{protocol}-{end}"),
        });
        first = to + 1;
    }
}

fn one(protocol: u8, ports: (u16, u16)) -> String {
    match protocol {
        PROTOCOL_ICMP if ports == (0, u16::MAX) => "icmp".to_owned(),
        PROTOCOL_ICMPV6 if ports == (0, u16::MAX) => "icmpv6".to_owned(),
        _ => Services { protocol: Protocol::Number(protocol), ports }.to_string(),
    }
}

fn is_named(protocol: u8) -> bool {
    let named = one(protocol, (0, u16::MAX));
    !named.starts_with("ip/")
}

#[cfg(test)]
mod tests {
    use cofferdam_common::network::{PROTOCOL_TCP, PROTOCOL_UDP};

    use super::*;

    fn words(ranges: &[(u32, u32)]) -> String {
        in_words(ranges).0.join(", ")
    }

    #[test]
    fn ports_and_protocols_are_written_as_in_policies() {
        let tcp = |port| service(PROTOCOL_TCP, port);
        assert_eq!(words(&[(0, LAST)]), "any");
        assert_eq!(words(&[(tcp(80), tcp(80)), (tcp(8_000), tcp(8_999))]), "tcp/80, tcp/8000-8999");
        assert_eq!(words(&[(tcp(0), tcp(u16::MAX))]), "tcp");
        assert_eq!(words(&[(0, tcp(79)), (tcp(81), LAST)]), "all but tcp/80");
        assert_eq!(words(&[(0, tcp(79)), (tcp(81), service(PROTOCOL_UDP, 52))]).split(", ").count(), 7);
        let icmp = [PROTOCOL_ICMP, PROTOCOL_ICMPV6].map(|it| (service(it, 0), service(it, u16::MAX)));
        assert_eq!(words(&icmp), "icmp, icmpv6");
        assert_eq!(words(&[(0, tcp(u16::MAX))]), "ip/0, icmp, ip/2-5, tcp");
    }

    #[test]
    fn so_many_are_told_and_the_rest_is_counted() {
        let ranges: Vec<_> =
            (1..=40).map(|port| service(PROTOCOL_TCP, port * 10)).map(|it| (it, it)).collect();
        let (words, left_out) = in_words(&ranges);
        assert_eq!((words.len(), left_out), (MOST, 8));
    }
}
