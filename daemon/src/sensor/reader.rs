//! Takes records out of the rings, so that what names things comes before what needs names.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aya::maps::{MapData, RingBuf};
use cofferdam_common::record::Header;
use zerocopy::FromBytes as _;

/// Most records that are taken at a time of flows, and of processes. Those for security are all taken: their number is
/// bounded by their ring, and they name the others' ends.
pub const BATCH: usize = 1024;

/// The head that the kernel puts before each record in a ring (`struct bpf_ringbuf_hdr`).
const RING_HEADER: usize = 8;

/// The rings, in the order of [`Waiting`].
pub(super) const RINGS: [&str; 3] = ["records", "flow_records", "security_records"];

/// Takes records out of all rings.
pub struct Reader {
    records: Ring,
    flow_records: Ring,
    security_records: Ring,
    waiting: Waiting,
}

/// Bytes that were found waiting in each ring at the last look.
pub(super) type Waiting = Arc<[AtomicU64; RINGS.len()]>;

/// A ring, and what was taken out of it and is not yet handed on.
struct Ring {
    ring: RingBuf<MapData>,
    held: Vec<u8>,
    /// Where each record in `held` ends.
    ends: Vec<usize>,
}

impl Reader {
    pub(super) fn new(rings: [RingBuf<MapData>; RINGS.len()], waiting: Waiting) -> Self {
        let [records, flow_records, security_records] =
            rings.map(|ring| Ring { ring, held: Vec::new(), ends: Vec::new() });
        Self { records, flow_records, security_records, waiting }
    }

    /// Hands records to `take`. Returns how many there were.
    ///
    /// A cgroup is made before its first process and flow, but its record lies in another ring. So flows are taken out
    /// first and handed on last: whatever names their ends has been seen by then. Records of processes and for
    /// security are handed on in the order of their times.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        let [of_records, of_flows, of_security] = &*self.waiting;
        of_flows.store(self.flow_records.hold(BATCH), Ordering::Relaxed);
        of_records.store(self.records.hold(BATCH), Ordering::Relaxed);
        of_security.store(self.security_records.hold(usize::MAX), Ordering::Relaxed);

        let mut security = self.security_records.held().peekable();
        for record in self.records.held() {
            while let Some(earlier) = security.next_if(|earlier| time(earlier) <= time(record)) {
                take(earlier);
            }
            take(record);
        }
        security.chain(self.flow_records.held()).for_each(take);
        [&self.records, &self.flow_records, &self.security_records].map(|ring| ring.ends.len()).iter().sum()
    }
}

impl Ring {
    /// Takes out what is there, up to `limit` records. Returns how much room that took up.
    fn hold(&mut self, limit: usize) -> u64 {
        self.held.clear();
        self.ends.clear();
        let mut room = 0;
        while self.ends.len() < limit
            && let Some(record) = self.ring.next()
        {
            room += record.len().next_multiple_of(8) + RING_HEADER;
            self.held.extend_from_slice(&record);
            self.ends.push(self.held.len());
        }
        room as u64
    }

    fn held(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let record = self.held.get(start..*end).unwrap_or_default();
            start = *end;
            record
        })
    }
}

/// When a record happened; what is no record comes first.
fn time(record: &[u8]) -> u64 {
    Header::read_from_prefix(record).map_or(0, |(header, _)| header.time)
}
