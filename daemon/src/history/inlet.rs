//! Hands events of the loop to the recorder. Never waits; what finds no room is counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use crate::event::{Event, EventKind};

/// How many events may wait. The recorder looks every second.
const CAPACITY: usize = 16_384;

/// Where the loop puts events.
#[derive(Clone, Debug)]
pub struct Inlet {
    sender: SyncSender<Event>,
    lost: Arc<AtomicU64>,
}

/// Where the recorder takes them.
#[derive(Debug)]
pub struct Outlet {
    receiver: Receiver<Event>,
    lost: Arc<AtomicU64>,
}

/// Both ends.
#[must_use]
pub fn inlet() -> (Inlet, Outlet) {
    let (sender, receiver) = sync_channel(CAPACITY);
    let lost = Arc::<AtomicU64>::default();
    (Inlet { sender, lost: Arc::clone(&lost) }, Outlet { receiver, lost })
}

impl Inlet {
    /// Hands over an event of which the recorder wants to know; others cost nothing.
    pub fn offer(&self, event: &Event) {
        if is_kept(&event.kind) || matches!(event.kind, EventKind::DnsAnswer(_)) {
            // Once the recorder has ended nobody misses it.
            if let Err(TrySendError::Full(_)) = self.sender.try_send(event.clone()) {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Outlet {
    /// What is there.
    pub fn take(&self) -> Vec<Event> {
        self.receiver.try_iter().take(CAPACITY).collect()
    }

    /// How many found no room since this was asked last.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

/// Kinds of events of which the history tells: what others say stands by the minute, or would be too much.
pub const KEPT_KINDS: [&str; 3] = ["denial", "alert", "lost"];

/// Whether the history tells of it.
#[must_use]
pub fn is_kept(kind: &EventKind) -> bool {
    KEPT_KINDS.contains(&kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::samples;

    #[test]
    fn what_the_recorder_wants_arrives_and_what_finds_no_room_is_counted() {
        let (inlet, outlet) = inlet();
        inlet.offer(&samples::denial());
        inlet.offer(&samples::exec());
        assert_eq!(outlet.take(), [samples::denial()]);
        (0..CAPACITY + 7).for_each(|_| inlet.offer(&samples::denial()));
        assert_eq!((outlet.take().len(), outlet.lost(), outlet.lost()), (CAPACITY, 7, 0));
    }
}
