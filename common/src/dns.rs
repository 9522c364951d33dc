//! Family network: answers of the DNS that a client of this host asked for.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    ids::{Address, CgroupId},
    record::Header,
};

/// Where resolvers listen (RFC 1035 section 4.2).
pub const DNS_PORT: u16 = 53;

/// Most bytes of an answer that a record carries: what resolvers keep their datagrams below since the DNS flag day
/// of 2020. Of a longer one the beginning is there, and the answers come first.
pub const DNS_LIMIT: usize = 1232;

/// A datagram from a resolver reaches the socket that has asked it; of a resolver of this host that is believed it is told
/// when it leaves, of all others when it arrives.
///
/// It is a reply to a query, reports no error and holds an answer: that much the hook has looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, FromBytes, Immutable, IntoBytes, KnownLayout, PartialEq)]
pub struct DnsRecord {
    /// Kind [`crate::record::kind::DNS_ANSWER`]; the cgroup is the one of the socket that asked.
    pub header: Header,
    /// The resolver's cgroup, or [`CgroupId::NONE`].
    pub resolver: CgroupId,
    /// The resolver's address, as the client knows it.
    pub resolver_address: Address,
    /// How many bytes of `message` there are; what lies behind them means nothing.
    pub length: u16,
    /// 1 where it is from a resolver whose answers are believed ([`crate::name::Resolver`]).
    pub trusted: u16,
    /// How long the message was.
    pub total: u32,
    /// The message (RFC 1035 section 4.1), of which the first two bytes are the id of the query.
    pub message: [u8; DNS_LIMIT],
}
