//! What the daemon asks its two workloads, and what they answer: one line of JSON each.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What each packet begins with that they send, before its number in hexadecimal digits.
const MARK: &[u8] = b"cofferdam canary ";
/// Digits of a number.
const DIGITS: usize = 16;

/// By which a try is known at the other end.
pub(super) type Token = u64;

/// What the daemon asks.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Ask {
    /// Make a network namespace and go there. The process must be in its cgroup already.
    Enter,
    /// Give the interface its addresses, and listen.
    Settle {
        /// The name of the interface.
        interface: String,
        /// Its addresses, with the lengths of their networks.
        addresses: Vec<(IpAddr, u8)>,
        /// Who else is there, and at which hardware address.
        neighbours: Vec<(IpAddr, [u8; 6])>,
        /// Ports at which to listen.
        ports: Vec<u16>,
    },
    /// Send something.
    Send(Shot),
    /// Say what has arrived, once all these have or so many milliseconds have passed.
    Collect {
        /// What is waited for at a socket.
        expected: Vec<Token>,
        /// How long at most.
        longest: u64,
        /// How long in any case: so long, what shall not arrive has time to.
        least: u64,
    },
}

/// What they answer.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// It is done.
    Done,
    /// It is done, but there is no IPv6 here, and why.
    WithoutIpv6(String),
    /// What became of what was sent.
    Sent(Outcome),
    /// What has arrived since that was asked last.
    Arrived(Vec<Arrival>),
    /// It cannot be done, and why.
    Failed(String),
}

/// Something to be sent.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Shot {
    pub(super) how: How,
    pub(super) from: IpAddr,
    pub(super) to: IpAddr,
    pub(super) port: u16,
    /// The hardware address of who has it.
    pub(super) mac: [u8; 6],
    pub(super) token: Token,
}

/// By which way something is sent.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum How {
    /// `connect(2)` of TCP, and then a few bytes.
    Connect,
    /// A datagram of a socket of UDP.
    Datagram,
    /// The same packet, made here and sent by a raw IP socket: only the packet is judged.
    Raw,
    /// The same packet, made here and sent by AF_PACKET: it is judged at the link.
    Frame,
}

/// What became of it, as the sender was told.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It was sent.
    Sent,
    /// It was refused (`EPERM`).
    Refused,
    /// It was not sent for another reason.
    Failed(String),
}

/// Something that has arrived.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Arrival {
    pub(super) token: Token,
    pub(super) at: At,
}

/// How far something came.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum At {
    /// The interface.
    Interface,
    /// A socket of TCP or UDP.
    Socket,
}

/// The bytes that are sent.
pub(super) fn payload(token: Token) -> Vec<u8> {
    [MARK, format!("{token:0DIGITS$x}").as_bytes()].concat()
}

/// The token that is somewhere in these bytes.
pub(super) fn token(bytes: &[u8]) -> Option<Token> {
    let at = bytes.windows(MARK.len()).position(|window| window == MARK)? + MARK.len();
    let digits = std::str::from_utf8(bytes.get(at..at + DIGITS)?).ok()?;
    Token::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_try_is_known_by_its_number_wherever_it_stands() {
        let bytes = [b"some header".as_slice(), &payload(0x1234_5678_9abc_def0), b"more"].concat();
        assert_eq!(token(&bytes), Some(0x1234_5678_9abc_def0));
        assert_eq!(token(&payload(0)), Some(0));
        for bad in [
            b"".as_slice(),
            b"cofferdam canary ",
            b"cofferdam canary 000",
            b"cofferdam canary 00000000000000zz",
        ] {
            assert_eq!(token(bad), None);
        }
    }

    #[test]
    fn what_is_said_is_one_line() {
        let shot = Shot {
            how: How::Raw,
            from: "169.254.255.241".parse().unwrap(),
            to: "169.254.255.242".parse().unwrap(),
            port: 7_007,
            mac: [2, 0, 0, 0, 0, 1],
            token: 5,
        };
        let line = serde_json::to_string(&Ask::Send(shot)).unwrap();
        assert!(!line.contains('\n') && matches!(serde_json::from_str(&line), Ok(Ask::Send(_))), "{line}");
        let answer = Answer::Sent(Outcome::Failed("a\nb".to_owned()));
        assert!(!serde_json::to_string(&answer).unwrap().contains('\n'));
    }
}
