//! Reads answers of the DNS. The only user of domain. Pure; never panics.

use std::net::IpAddr;

use domain::{
    base::{Message, iana::Class},
    rdata::{A, Aaaa},
};

use super::text::clean;

/// Longest name that is kept, in bytes: all that have no escapes in them.
const NAME_LIMIT: usize = 256;

/// What a resolver answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// The name that was asked for, in lower case, without the dot at the end. Bytes that are no printable ASCII are
    /// written as zone files write them (`\009`, RFC 1035 section 5.1).
    pub(super) name: String,
    /// What was asked for: `A`, `AAAA`, `TXT`, ...
    pub(super) record_type: String,
    /// The addresses of that name, or of the one that it is an alias of.
    pub(super) addresses: Vec<IpAddr>,
    /// How long they are valid, in seconds.
    pub(super) ttl: u32,
}

/// Reads an answer, or as much of it as is there. `None` when not even the question can be read.
///
/// Only addresses that the asker would believe count: those of the name that was asked for, at the end of its chain
/// of aliases (CNAME, RFC 1034 section 3.6.2). Others in the same message are nobody's.
pub(super) fn read(message: &[u8]) -> Option<Answer> {
    let message = Message::from_octets(message).ok()?;
    let question = message.sole_question().ok()?;
    let mut answer = Answer {
        name: written(&question.qname().to_string()),
        record_type: question.qtype().to_string(),
        addresses: Vec::new(),
        ttl: u32::MAX,
    };
    // There is none where the aliases go round in circles.
    let Some(last_name) = message.canonical_name() else { return Some(answer) };
    // A record that cannot be read ends the iteration: of a message that was cut, the rest.
    for record in message.answer().ok().into_iter().flatten().flatten() {
        if record.class() != Class::IN || record.owner() != last_name {
            continue;
        }
        let address = match (record.to_record::<A>(), record.to_record::<Aaaa>()) {
            (Ok(Some(record)), _) => IpAddr::V4(record.data().addr()),
            (_, Ok(Some(record))) => IpAddr::V6(record.data().addr()),
            _ => continue,
        };
        answer.addresses.push(address.to_canonical());
        answer.ttl = answer.ttl.min(record.ttl().as_secs());
    }
    Some(answer)
}

/// A name as it is shown. Names are compared without case, and some resolvers play with it (0x20).
fn written(name: &str) -> String {
    let name = if name.is_empty() { "." } else { name };
    clean(&name.to_ascii_lowercase(), NAME_LIMIT)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fmt::Write as _;

    use domain::{
        base::{MessageBuilder, Name, Rtype, Ttl, iana::Rcode},
        rdata::{Cname, Txt},
    };
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name<Vec<u8>> {
        text.parse().unwrap()
    }

    /// An answer for `asked` with one record for each of `records`: an address, or the name that it is an alias of.
    pub(in super::super) fn message(asked: &str, record_type: Rtype, records: &[(&str, &str)]) -> Vec<u8> {
        let builder = MessageBuilder::new_vec();
        let mut asking = builder.question();
        asking.push((name(asked), record_type)).unwrap();
        let query = asking.into_message();
        let mut answer = MessageBuilder::new_vec().start_answer(&query, Rcode::NOERROR).unwrap();
        for (number, (owner, data)) in (1..).zip(records) {
            let (owner, ttl) = (name(owner), Ttl::from_secs(number * 60));
            match data.parse() {
                Ok(IpAddr::V4(address)) => answer.push((owner, ttl, A::new(address))).unwrap(),
                Ok(IpAddr::V6(address)) => answer.push((owner, ttl, Aaaa::new(address))).unwrap(),
                Err(_) => answer.push((owner, ttl, Cname::new(name(data)))).unwrap(),
            }
        }
        answer.finish()
    }

    fn addresses(answer: &Answer) -> Vec<String> {
        answer.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_addresses_have_the_name_that_was_asked_for() {
        let records = [("api.example.org", "203.0.113.7"), ("api.example.org", "203.0.113.8")];
        let answer = read(&message("Api.EXAMPLE.org", Rtype::A, &records)).unwrap();
        assert_eq!(
            (answer.name.as_str(), answer.record_type.as_str(), answer.ttl),
            ("api.example.org", "A", 60)
        );
        assert_eq!(addresses(&answer), ["203.0.113.7", "203.0.113.8"]);
        let six = read(&message("six.example", Rtype::AAAA, &[("six.example", "2001:db8::1")])).unwrap();
        assert_eq!((six.record_type.as_str(), addresses(&six)), ("AAAA", vec!["2001:db8::1".to_owned()]));
    }

    #[test]
    fn behind_aliases_it_is_still_the_name_that_was_asked_for() {
        let records = [
            ("www.example.org", "edge.cdn.example"),
            ("edge.cdn.example", "pop7.cdn.example"),
            ("pop7.cdn.example", "203.0.113.9"),
        ];
        let answer = read(&message("www.example.org", Rtype::A, &records)).unwrap();
        assert_eq!(
            (answer.name.as_str(), addresses(&answer)),
            ("www.example.org", vec!["203.0.113.9".to_owned()])
        );
    }

    #[test]
    fn addresses_of_names_that_nobody_asked_for_count_for_nothing() {
        let records = [("bank.example", "203.0.113.66"), ("a.example", "203.0.113.1")];
        let answer = read(&message("a.example", Rtype::A, &records)).unwrap();
        assert_eq!(addresses(&answer), ["203.0.113.1"]);
        let circle = [("a.example", "b.example"), ("b.example", "a.example"), ("a.example", "203.0.113.1")];
        assert_eq!(addresses(&read(&message("a.example", Rtype::A, &circle)).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn an_answer_without_addresses_still_tells_what_was_asked() {
        let query = message("note.example", Rtype::TXT, &[]);
        let query = Message::from_octets(query).unwrap();
        let mut answer = MessageBuilder::new_vec().start_answer(&query, Rcode::NOERROR).unwrap();
        let text = Txt::<Vec<u8>>::build_from_slice(b"hello").unwrap();
        answer.push((name("note.example"), Ttl::from_secs(1), text)).unwrap();
        let answer = read(&answer.finish()).unwrap();
        assert_eq!((answer.name.as_str(), answer.record_type.as_str()), ("note.example", "TXT"));
        assert_eq!(answer.addresses, Vec::<IpAddr>::new());
    }

    #[test]
    fn of_an_answer_that_was_cut_what_is_there_counts() {
        let addresses: Vec<_> = (0..80).map(|number| format!("203.0.113.{number}")).collect();
        let records: Vec<_> = addresses.iter().map(|address| ("many.example", address.as_str())).collect();
        let whole = message("many.example", Rtype::A, &records);
        let answer = read(&whole[..1232]).unwrap();
        assert!((40..80).contains(&answer.addresses.len()), "{}", answer.addresses.len());
        for length in 0..whole.len() {
            let cut = read(&whole[..length]).map_or(0, |answer| answer.addresses.len());
            assert!(cut <= read(&whole).unwrap().addresses.len());
        }
    }

    #[test]
    fn hostile_names_are_written_out() {
        let asked = Name::<Vec<u8>>::from_octets(b"\x0aev\x1b[2J\n\xe2\x80\xae\x03a.b\0".to_vec()).unwrap();
        let mut asking = MessageBuilder::new_vec().question();
        asking.push((asked, Rtype::A)).unwrap();
        let answer = read(&asking.finish()).unwrap();
        assert_eq!(answer.name, r"ev\027[2j\010\226\128\174.a\.b");
        assert_eq!(read(&message(".", Rtype::NS, &[])).unwrap().name, ".");
    }

    #[test]
    fn the_longest_name_is_kept_whole() {
        let mut longest = String::new();
        for label in ["a", "b", "c", "d"] {
            write!(longest, "{}.", label.repeat(if label == "d" { 61 } else { 63 })).unwrap();
        }
        let longest = longest.trim_end_matches('.');
        assert_eq!(read(&message(longest, Rtype::A, &[])).unwrap().name, longest);
    }

    #[test]
    fn pointers_that_lead_to_themselves_are_refused() {
        let mut looped = message("a.example", Rtype::A, &[("a.example", "203.0.113.1")]);
        // The record's owner points at itself.
        let owner = looped.len() - 16;
        looped[owner..owner + 2].copy_from_slice(&[0xc0, owner as u8]);
        assert_eq!(read(&looped).unwrap().addresses, Vec::<IpAddr>::new());
        // So does the name that was asked for.
        looped[12..14].copy_from_slice(&[0xc0, 12]);
        assert_eq!(read(&looped), None);
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn reading_what_was_damaged_never_panics(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        ) {
            let records = [("a.example", "b.example"), ("b.example", "203.0.113.1"), ("b.example", "2001:db8::1")];
            let mut bytes = message("a.example", Rtype::A, &records);
            for (at, byte) in damage {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(answer) = read(&bytes) {
                prop_assert!(answer.name.len() <= NAME_LIMIT && !answer.name.chars().any(crate::event::is_hostile));
            }
        }
    }
}
