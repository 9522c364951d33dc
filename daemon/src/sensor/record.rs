//! Bytes from the ring become a record. Pure; never panics.

use cofferdam_common::{
    container::{AttachRecord, CgroupRecord},
    dns::DnsRecord,
    network::FlowRecord,
    policy::VerdictRecord,
    process::{ExecRecord, ExitRecord, ForkRecord},
    record::{Header, family, kind},
};
use zerocopy::FromBytes;

/// What the kernel sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A process made another.
    Fork(ForkRecord),
    /// A process began another program.
    Exec(Box<ExecRecord>),
    /// A process ended.
    Exit(ExitRecord),
    /// A flow opened.
    FlowOpen(FlowRecord),
    /// A flow closed.
    FlowClose(FlowRecord),
    /// An answer of the DNS arrived.
    DnsAnswer(Box<DnsRecord>),
    /// A cgroup was made.
    CgroupMade(Box<CgroupRecord>),
    /// A cgroup was removed.
    CgroupRemoved(Box<CgroupRecord>),
    /// A task was moved into a cgroup.
    CgroupAttached(AttachRecord),
    /// An interaction was denied, or would have been.
    Verdict(Box<VerdictRecord>),
}

/// Why bytes are no record. Counted as `undecoded`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Shorter than its kind.
    #[error("record of {0} bytes is too short for its kind")]
    TooShort(usize),
    /// A kind that this version does not know.
    #[error("unknown record kind {0}")]
    UnknownKind(u32),
}

impl Record {
    /// The family it belongs to: an index into [`cofferdam_common::record::family::NAMES`].
    #[must_use]
    pub fn family(&self) -> u32 {
        match self {
            Self::Fork(_) | Self::Exec(_) | Self::Exit(_) => family::PROCESS,
            Self::FlowOpen(_) | Self::FlowClose(_) | Self::DnsAnswer(_) => family::NETWORK,
            Self::CgroupMade(_) | Self::CgroupRemoved(_) | Self::CgroupAttached(_) => family::CONTAINER,
            Self::Verdict(_) => family::POLICY,
        }
    }

    /// Reads one record. Bytes beyond the kind's own length are ignored.
    ///
    /// # Errors
    /// When the bytes are too few, or of a kind that is not known.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: Header = read(bytes)?;
        Ok(match header.kind {
            kind::PROCESS_FORK => Self::Fork(read(bytes)?),
            kind::PROCESS_EXEC => Self::Exec(Box::new(read(bytes)?)),
            kind::PROCESS_EXIT => Self::Exit(read(bytes)?),
            kind::FLOW_OPEN => Self::FlowOpen(read(bytes)?),
            kind::FLOW_CLOSE => Self::FlowClose(read(bytes)?),
            kind::DNS_ANSWER => Self::DnsAnswer(Box::new(read(bytes)?)),
            kind::CGROUP_MADE => Self::CgroupMade(Box::new(read(bytes)?)),
            kind::CGROUP_REMOVED => Self::CgroupRemoved(Box::new(read(bytes)?)),
            kind::CGROUP_ATTACHED => Self::CgroupAttached(read(bytes)?),
            kind::VERDICT => Self::Verdict(Box::new(read(bytes)?)),
            other => return Err(DecodeError::UnknownKind(other)),
        })
    }
}

fn read<T: FromBytes>(bytes: &[u8]) -> Result<T, DecodeError> {
    T::read_from_prefix(bytes).map(|(value, _)| value).map_err(|_| DecodeError::TooShort(bytes.len()))
}

#[cfg(test)]
mod tests {
    use cofferdam_common::ids::{CgroupId, Tgid};
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;

    fn exit() -> ExitRecord {
        ExitRecord {
            header: Header { kind: kind::PROCESS_EXIT, padding: 0, time: 7, cgroup: CgroupId(42) },
            tgid: Tgid(9),
            status: 256,
            start_time: 3,
        }
    }

    #[test]
    fn a_record_survives_the_way_through_bytes() {
        assert_eq!(Record::decode(exit().as_bytes()), Ok(Record::Exit(exit())));
    }

    #[test]
    fn a_record_cut_short_is_refused() {
        let bytes = exit();
        let cut = &bytes.as_bytes()[..39];
        assert_eq!(Record::decode(cut), Err(DecodeError::TooShort(39)));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut record = exit();
        record.header.kind = 9_999;
        assert_eq!(Record::decode(record.as_bytes()), Err(DecodeError::UnknownKind(9_999)));
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..1536), kind in 0u32..110) {
            let _ = Record::decode(&bytes);
            let mut bytes = bytes;
            if let Some(head) = bytes.get_mut(..4) {
                head.copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = Record::decode(&bytes);
        }
    }
}
