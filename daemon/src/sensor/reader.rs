//! Takes records out of the rings, so that what names things comes before what needs names.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aya::maps::{MapData, RingBuf};

/// Most flow records that are taken at a time. Of the others all are: they are few, and name the flows' ends.
pub const BATCH: usize = 1024;

/// The head that the kernel puts before each record in a ring (`struct bpf_ringbuf_hdr`).
const RING_HEADER: usize = 8;

/// Takes records out of both rings.
pub struct Reader {
    records: RingBuf<MapData>,
    flow_records: RingBuf<MapData>,
    /// Flow records that wait for what names their ends, one behind the other.
    held: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<usize>,
    waiting: Waiting,
}

/// Bytes that were found waiting in each ring at the last look.
pub(super) type Waiting = Arc<[AtomicU64; 2]>;

impl Reader {
    pub(super) fn new(records: RingBuf<MapData>, flow_records: RingBuf<MapData>, waiting: Waiting) -> Self {
        Self { records, flow_records, held: Vec::new(), ends: Vec::new(), waiting }
    }

    /// Hands records to `take`: all of process and container, and up to a batch of flows. Returns how many there were.
    ///
    /// A cgroup is made before its first flow, but its record lies in the other ring. So flows are taken out first,
    /// and handed on last: whatever names their ends is in the other ring by then.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        let [of_records, of_flows] = &*self.waiting;
        self.held.clear();
        self.ends.clear();
        let mut bytes = 0;
        while self.ends.len() < BATCH
            && let Some(record) = self.flow_records.next()
        {
            bytes += room(record.len());
            self.held.extend_from_slice(&record);
            self.ends.push(self.held.len());
        }
        of_flows.store(bytes, Ordering::Relaxed);

        let (mut bytes, mut count) = (0, 0);
        while let Some(record) = self.records.next() {
            bytes += room(record.len());
            count += 1;
            take(&record);
        }
        of_records.store(bytes, Ordering::Relaxed);

        let mut start = 0;
        for end in &self.ends {
            take(self.held.get(start..*end).unwrap_or_default());
            start = *end;
        }
        count + self.ends.len()
    }
}

/// What a record takes up in its ring.
fn room(length: usize) -> u64 {
    (length.next_multiple_of(8) + RING_HEADER) as u64
}
