//! What the daemon's own two workloads may, by which it tries whether policies are enforced. Nobody can write that down or
//! change it: it is about them alone, and nothing else that is written is about them.
//!
//! Each of what is denied is denied by one of them alone, so that each direction is tried by itself.

use cofferdam_common::{
    network::{PROTOCOL_TCP, PROTOCOL_UDP, VERDICT_ALLOW, VERDICT_DENY},
    policy::{Interval, RULE_NONE, service, why},
};

/// The port that the sender may send to, and at which the receiver may receive from him.
pub const OPEN: u16 = 7007;
/// The port that the sender may not send to. The receiver may receive from him there.
pub const CLOSED: u16 = 7009;
/// The port that the sender may send to. The receiver may not receive there.
pub const HIDDEN: u16 = 7011;

/// Which of the two.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// It may send to everybody, to two ports.
    Sender,
    /// It may receive from the other, at two ports.
    Receiver,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Sender, Self::Receiver];

    /// What the workload is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sender => "cofferdam-canary-sender",
            Self::Receiver => "cofferdam-canary-receiver",
        }
    }

    /// Whose name that is.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// Towards whom it is not said otherwise.
pub(super) fn nothing() -> Vec<Interval> {
    vec![from(0, VERDICT_DENY)]
}

/// These ports over TCP and UDP, and nothing else.
pub(super) fn only(mut ports: [u16; 2]) -> Vec<Interval> {
    ports.sort_unstable();
    let mut intervals = nothing();
    for protocol in [PROTOCOL_TCP, PROTOCOL_UDP] {
        for port in ports {
            let begin = service(protocol, port);
            intervals.extend([from(begin, VERDICT_ALLOW), from(begin + 1, VERDICT_DENY)]);
        }
    }
    intervals
}

fn from(first: u32, verdict: u8) -> Interval {
    Interval { first, rule: RULE_NONE, verdict, why: why::DEFAULT, padding: 0 }
}
