//! Takes records out of the rings, the urgent ring first.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use aya::maps::{MapData, RingBuf};

/// Most records that are taken from one ring before the other is looked at.
pub const BATCH: usize = 1024;

/// The head that the kernel puts before each record in a ring (`struct bpf_ringbuf_hdr`).
const RING_HEADER: usize = 8;

/// Takes records out of both rings.
pub struct Reader {
    rings: [RingBuf<MapData>; 2],
    waiting: Waiting,
}

/// Bytes that were found waiting in each ring at the last look.
pub(super) type Waiting = Arc<[AtomicU64; 2]>;

impl Reader {
    pub(super) fn new(records: RingBuf<MapData>, flow_records: RingBuf<MapData>, waiting: Waiting) -> Self {
        Self { rings: [records, flow_records], waiting }
    }

    /// Hands up to a batch of records of each ring to `take`. Returns how many there were.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) -> usize {
        let mut records = 0;
        for (ring, waiting) in self.rings.iter_mut().zip(self.waiting.iter()) {
            let mut bytes = 0;
            for _ in 0..BATCH {
                let Some(record) = ring.next() else { break };
                bytes += (record.len().next_multiple_of(8) + RING_HEADER) as u64;
                records += 1;
                take(&record);
            }
            waiting.store(bytes, Ordering::Relaxed);
        }
        records
    }
}
