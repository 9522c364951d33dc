//! What is tried, and what must come of it. Pure.

use std::{collections::HashSet, fmt};

use super::wire::{Arrival, At, How, Outcome, Token};
use crate::policy::canary::{CLOSED, HIDDEN, OPEN};

/// One try.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Probe {
    pub(super) how: How,
    pub(super) ipv6: bool,
    pub(super) place: Place,
    pub(super) port: u16,
    pub(super) must: Must,
}

/// Which address of the receiver it goes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// By which it is known who has it: the sender's end judges by the receiver's rules as well.
    Own,
    /// That the kernel takes for a peer's outside: only the receiver's socket tells who has it.
    Shared,
    /// The same, but who sends has no link, so that it never leaves him.
    Nowhere,
}

/// What must come of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Must {
    /// It arrives: at a socket, but for a frame that is made here, of which that it comes to the interface is enough.
    Arrive,
    /// It is denied there, and not only later.
    Fail(Layer),
}

/// Where something is denied, as docs/policy.md calls it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Layer {
    Connect,
    Egress,
    Ingress,
    Veth,
    Lsm,
}

/// How something can be tried: by which way, to which address and port, and what must come of it.
const TRIES: [(How, Place, u16, Must); 13] = [
    (How::Connect, Place::Own, OPEN, Must::Arrive),
    (How::Datagram, Place::Own, OPEN, Must::Arrive),
    (How::Datagram, Place::Shared, OPEN, Must::Arrive),
    (How::Raw, Place::Own, OPEN, Must::Arrive),
    (How::Frame, Place::Own, OPEN, Must::Arrive),
    (How::Connect, Place::Own, CLOSED, Must::Fail(Layer::Connect)),
    (How::Connect, Place::Own, HIDDEN, Must::Fail(Layer::Connect)),
    (How::Datagram, Place::Own, CLOSED, Must::Fail(Layer::Egress)),
    (How::Raw, Place::Own, CLOSED, Must::Fail(Layer::Egress)),
    (How::Datagram, Place::Shared, HIDDEN, Must::Fail(Layer::Ingress)),
    (How::Connect, Place::Shared, HIDDEN, Must::Fail(Layer::Ingress)),
    (How::Frame, Place::Own, CLOSED, Must::Fail(Layer::Veth)),
    // The same that passes where there is a link at which it is judged: without one, nobody knows what it is.
    (How::Frame, Place::Nowhere, OPEN, Must::Fail(Layer::Lsm)),
];

/// All that is tried: over IPv6 as well, and where there is no link.
pub(super) fn all(ipv6: bool, linkless: bool) -> impl Iterator<Item = Probe> {
    [false, true].into_iter().filter(move |six| ipv6 || !six).flat_map(move |ipv6| {
        let tries = TRIES.into_iter().filter(move |(_, place, ..)| linkless || *place != Place::Nowhere);
        tries.map(move |(how, place, port, must)| Probe { how, ipv6, place, port, must })
    })
}

impl Probe {
    /// Whether its bytes are to reach a socket.
    pub(super) fn is_awaited(&self) -> bool {
        self.must == Must::Arrive && self.how != How::Frame
    }

    /// What is wrong with what came of it, if anything is.
    pub(super) fn fault(
        &self,
        token: Token,
        outcome: &Outcome,
        arrived: &HashSet<Arrival>,
    ) -> Option<String> {
        let came_to = |at| arrived.contains(&Arrival { token, at });
        let seen = match (came_to(At::Socket), came_to(At::Interface)) {
            (true, _) => Seen::Arrived,
            (false, true) => Seen::Passed,
            (false, false) => Seen::Nothing,
        };
        let right = match (self.must, outcome, seen) {
            (Must::Arrive, Outcome::Sent, Seen::Passed) => self.how == How::Frame,
            (Must::Arrive, Outcome::Sent, Seen::Arrived) => true,
            (Must::Arrive, _, _) => false,
            // Of what is sent there, the sender is told nothing.
            (Must::Fail(Layer::Veth), Outcome::Sent, Seen::Nothing) => true,
            (Must::Fail(Layer::Ingress), Outcome::Sent, Seen::Passed) => self.how != How::Connect,
            // A connection of which no answer comes is given up.
            (Must::Fail(Layer::Ingress), Outcome::Failed(_), Seen::Nothing) => self.how == How::Connect,
            (Must::Fail(Layer::Connect | Layer::Egress | Layer::Lsm), Outcome::Refused, Seen::Nothing) => {
                true
            }
            (Must::Fail(_), _, _) => false,
        };
        (!right).then(|| format!("{self}, and {}", came(outcome, seen, self.place)))
    }
}

/// How far something was seen to come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    Nothing,
    /// To the interface of the receiver, and to no socket.
    Passed,
    Arrived,
}

fn came(outcome: &Outcome, seen: Seen, place: Place) -> String {
    match (outcome, seen) {
        // There is nowhere to arrive.
        (Outcome::Sent, Seen::Nothing) if place == Place::Nowhere => "was sent".to_owned(),
        (_, Seen::Arrived) => "arrived".to_owned(),
        (_, Seen::Passed) => "was denied only at the receiver's socket".to_owned(),
        (Outcome::Sent, Seen::Nothing) => "was sent and did not arrive".to_owned(),
        (Outcome::Refused, Seen::Nothing) => "was refused".to_owned(),
        (Outcome::Failed(why), Seen::Nothing) => format!("was not refused, but failed: {why}"),
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (protocol, by) = match self.how {
            How::Connect => ("tcp", ""),
            How::Datagram => ("udp", ""),
            How::Raw => ("udp", ", sent by a raw socket,"),
            How::Frame if self.place == Place::Nowhere => ("udp", ", sent by AF_PACKET without a link,"),
            How::Frame => ("udp", ", sent by AF_PACKET,"),
        };
        let version = if self.ipv6 { 6 } else { 4 };
        write!(f, "{protocol}/{} over IPv{version}{by} was to ", self.port)?;
        match self.must {
            Must::Arrive => f.write_str("arrive"),
            Must::Fail(layer) => write!(f, "be denied at {layer}"),
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Egress => "egress",
            Self::Ingress => "ingress",
            Self::Veth => "veth",
            Self::Lsm => "lsm",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(how: How, place: Place, port: u16) -> Probe {
        let found = all(true, true).filter(|it| (it.how, it.place, it.port) == (how, place, port) && it.ipv6);
        let [probe] = found.collect::<Vec<_>>()[..] else { panic!("{how:?} {port} is not tried once") };
        probe
    }

    fn fault(probe: Probe, outcome: &Outcome, at: &[At]) -> Option<String> {
        let arrived = at.iter().map(|at| Arrival { token: 7, at: *at }).collect();
        probe.fault(7, outcome, &arrived)
    }

    #[test]
    fn each_layer_is_tried_over_both_versions_and_what_passes_it_as_well() {
        for layer in [Layer::Connect, Layer::Egress, Layer::Ingress, Layer::Veth, Layer::Lsm] {
            for six in [false, true] {
                assert!(all(true, true).any(|it| it.must == Must::Fail(layer) && it.ipv6 == six), "{layer}");
            }
        }
        assert_eq!(all(true, true).count(), 2 * all(false, true).count());
        assert!(all(true, false).all(|it| it.must != Must::Fail(Layer::Lsm)));
        // Else that nothing arrives would say nothing.
        for it in all(true, true).filter(|it| it.must != Must::Arrive) {
            let passes =
                |other: Probe| other.must == Must::Arrive && other.how == it.how && other.ipv6 == it.ipv6;
            assert!(all(true, true).any(passes), "{it}");
        }
    }

    #[test]
    fn what_is_as_it_must_be_is_no_fault() {
        let nobody = || Outcome::Failed("connection timed out".to_owned());
        for (probe, outcome, at) in [
            (probe(How::Connect, Place::Own, OPEN), Outcome::Sent, &[At::Interface, At::Socket][..]),
            (probe(How::Datagram, Place::Shared, OPEN), Outcome::Sent, &[At::Interface, At::Socket]),
            (probe(How::Frame, Place::Own, OPEN), Outcome::Sent, &[At::Interface]),
            (probe(How::Connect, Place::Own, CLOSED), Outcome::Refused, &[]),
            (probe(How::Datagram, Place::Own, CLOSED), Outcome::Refused, &[]),
            (probe(How::Raw, Place::Own, CLOSED), Outcome::Refused, &[]),
            (probe(How::Datagram, Place::Shared, HIDDEN), Outcome::Sent, &[At::Interface]),
            (probe(How::Connect, Place::Shared, HIDDEN), nobody(), &[]),
            (probe(How::Frame, Place::Own, CLOSED), Outcome::Sent, &[]),
            (probe(How::Frame, Place::Nowhere, OPEN), Outcome::Refused, &[]),
        ] {
            assert_eq!(fault(probe, &outcome, at), None, "{probe}");
        }
    }

    #[test]
    fn a_fault_says_what_was_tried_where_it_was_to_fail_and_how_far_it_came() {
        for (probe, outcome, at, text) in [
            (
                probe(How::Raw, Place::Own, CLOSED),
                Outcome::Sent,
                &[At::Interface, At::Socket][..],
                "udp/7009 over IPv6, sent by a raw socket, was to be denied at egress, and arrived",
            ),
            (
                probe(How::Raw, Place::Own, CLOSED),
                Outcome::Sent,
                &[],
                "udp/7009 over IPv6, sent by a raw socket, was to be denied at egress, and was sent and did not arrive",
            ),
            (
                probe(How::Frame, Place::Own, CLOSED),
                Outcome::Sent,
                &[At::Interface],
                "udp/7009 over IPv6, sent by AF_PACKET, was to be denied at veth, and was denied only at the receiver's socket",
            ),
            (
                probe(How::Connect, Place::Own, CLOSED),
                Outcome::Failed("timed out".to_owned()),
                &[],
                "tcp/7009 over IPv6 was to be denied at connect, and was not refused, but failed: timed out",
            ),
            (
                probe(How::Frame, Place::Nowhere, OPEN),
                Outcome::Sent,
                &[],
                "udp/7007 over IPv6, sent by AF_PACKET without a link, was to be denied at lsm, and was sent",
            ),
            (
                probe(How::Datagram, Place::Shared, HIDDEN),
                Outcome::Refused,
                &[],
                "udp/7011 over IPv6 was to be denied at ingress, and was refused",
            ),
            (
                probe(How::Datagram, Place::Own, OPEN),
                Outcome::Sent,
                &[],
                "udp/7007 over IPv6 was to arrive, and was sent and did not arrive",
            ),
            (
                probe(How::Datagram, Place::Own, OPEN),
                Outcome::Refused,
                &[],
                "udp/7007 over IPv6 was to arrive, and was refused",
            ),
        ] {
            assert_eq!(fault(probe, &outcome, at).as_deref(), Some(text));
        }
    }
}
