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
    missed: Arc<Missing>,
}

/// Where the recorder takes them.
#[derive(Debug)]
pub struct Outlet {
    receiver: Receiver<Event>,
    missed: Arc<Missing>,
}

/// What found no room.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Missed {
    /// Events of which the history would tell.
    pub kept: u64,
    /// Answers of the DNS, which are only looked through.
    pub answers: u64,
}

#[derive(Debug, Default)]
struct Missing {
    kept: AtomicU64,
    answers: AtomicU64,
}

/// Both ends.
#[must_use]
pub fn inlet() -> (Inlet, Outlet) {
    let (sender, receiver) = sync_channel(CAPACITY);
    let missed = Arc::<Missing>::default();
    (Inlet { sender, missed: Arc::clone(&missed) }, Outlet { receiver, missed })
}

impl Inlet {
    /// Hands over an event of which the recorder wants to know; others cost nothing.
    pub fn offer(&self, event: &Event) {
        let missed = match &event.kind {
            EventKind::DnsAnswer(_) => &self.missed.answers,
            kind if is_kept(kind) => &self.missed.kept,
            _ => return,
        };
        // Once the recorder has ended nobody misses it.
        if let Err(TrySendError::Full(_)) = self.sender.try_send(event.clone()) {
            missed.fetch_add(1, Ordering::Relaxed);
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
    pub fn missed(&self) -> Missed {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        Missed { kept: take(&self.missed.kept), answers: take(&self.missed.answers) }
    }
}

/// Kinds of events of which the history tells: what others say stands by the minute, or would be too much.
pub const KEPT_KINDS: [&str; 3] = ["denial", "alert", "lost"];

/// Whether the history tells of it.
#[must_use]
pub fn is_kept(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Denial(_) | EventKind::Alert(_) | EventKind::Lost(_))
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
        assert_eq!((outlet.take().len(), outlet.missed().kept, outlet.missed().kept), (CAPACITY, 7, 0));
        (0..CAPACITY + 5).for_each(|_| inlet.offer(&samples::dns_answer()));
        assert_eq!(outlet.missed(), Missed { kept: 0, answers: 5 });
    }

    #[test]
    fn what_is_kept_is_of_the_kinds_that_are_named() {
        let kept: Vec<_> = samples::all().iter().map(|event| event.kind.clone()).filter(is_kept).collect();
        assert_eq!(kept.iter().map(EventKind::name).collect::<Vec<_>>(), KEPT_KINDS);
    }
}
