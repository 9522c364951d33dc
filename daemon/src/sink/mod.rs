//! Hands events to whoever listens. Publishing never waits; who is too slow loses, and is told so.
//!
//! Denials wait apart from all other events, so that no flood of those costs a reader one of them. A reader gets both in the
//! order in which they were published.

mod filter;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    select,
    sync::broadcast::{
        self, Receiver, Sender,
        error::{RecvError, TryRecvError},
    },
};
use tokio_util::bytes::{Bytes, BytesMut};

pub use self::filter::{Filter, KINDS};
use crate::event::{Event, EventKind, Lost, SCHEMA_VERSION};

/// How many denials, and how many other events, wait for a slow reader before it begins to lose.
pub const CAPACITY: usize = 4_096;

/// From how many bytes on lines are no longer put together.
const BATCH: usize = 64 * 1024;

/// The usual event, so that most lines are written into a buffer that need not grow.
const USUAL_LINE: usize = 1_024;

/// The `family` of the notice that a slow reader gets.
pub const STREAM_FAMILY: &str = "stream";

/// Where events are published and listened to. Clones are the same stream.
#[derive(Clone, Debug)]
pub struct EventStream {
    denials: Sender<Arc<Published>>,
    others: Sender<Arc<Published>>,
    dropped: Arc<AtomicU64>,
}

impl Default for EventStream {
    fn default() -> Self {
        Self::new()
    }
}

impl EventStream {
    /// A stream that holds [`CAPACITY`] events for its slowest reader.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY)
    }

    /// A stream that holds at least `capacity` events of each sort (rounded up to a power of two).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let sender = || broadcast::channel(capacity.max(1)).0;
        Self { denials: sender(), others: sender(), dropped: Arc::default() }
    }

    /// Hands the event to all who listen. Never waits; free when nobody listens.
    pub fn publish(&self, event: Event) {
        let is_denial = matches!(event.kind, EventKind::Denial(_));
        let sender = if is_denial { &self.denials } else { &self.others };
        if sender.receiver_count() > 0 {
            // Fails only when the last listener left just now: nobody misses it.
            let _ = sender.send(Arc::new(Published { event, line: OnceLock::new() }));
        }
    }

    /// Listens to what is published from now on.
    #[must_use]
    pub fn subscribe(&self, filter: Filter) -> Subscription {
        let lane = |sender: &Sender<_>| Lane { receiver: sender.subscribe(), head: None };
        Subscription {
            denials: lane(&self.denials),
            others: lane(&self.others),
            dropped: Arc::clone(&self.dropped),
            filter,
        }
    }

    /// Events that readers were too slow for, all readers together.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// One reader of the stream.
#[derive(Debug)]
pub struct Subscription {
    denials: Lane,
    others: Lane,
    dropped: Arc<AtomicU64>,
    filter: Filter,
}

impl Subscription {
    /// The next event that the filter lets through, as one line of JSON with its newline; `None` when the stream
    /// has ended. After a loss the next line is a `lost` event of family `stream`, whatever the filter says.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.another() {
                return Some(line);
            }
            let waited = select! {
                waited = self.denials.wait() => waited,
                waited = self.others.wait() => waited,
            };
            match waited {
                Ok(()) => {}
                Err(RecvError::Lagged(count)) => return Some(self.missed(count)),
                // What was published before the end may be in the other lane.
                Err(RecvError::Closed) => return self.another(),
            }
        }
    }

    /// [`Self::next`], and what else has come by then: one write for many events.
    pub async fn batch(&mut self) -> Option<Batch> {
        let first = self.next().await?;
        let mut lines = BytesMut::new();
        while lines.len() < BATCH {
            let Some(line) = self.another() else { break };
            if lines.is_empty() {
                lines.extend_from_slice(&first);
            }
            lines.extend_from_slice(&line);
        }
        let full = lines.len() >= BATCH;
        Some(Batch { lines: if lines.is_empty() { first } else { lines.freeze() }, full })
    }

    /// [`Self::next`], if it is there already.
    fn another(&mut self) -> Option<Bytes> {
        loop {
            let published = match self.take() {
                Ok(published) => published?,
                Err(count) => return Some(self.missed(count)),
            };
            if self.filter.accepts(&published.event) {
                return Some(published.line());
            }
        }
    }

    /// What was published first of what is there, or how many events are missing.
    fn take(&mut self) -> Result<Option<Arc<Published>>, u64> {
        let Self { denials, others, .. } = self;
        denials.look()?;
        others.look()?;
        // What has come between the two looks may be from before what the second has found.
        denials.look()?;
        let seq = |lane: &Lane| lane.head.as_ref().map_or(u64::MAX, |head| head.event.seq);
        let first = if seq(denials) < seq(others) { denials } else { others };
        Ok(first.head.take())
    }

    /// The line for the loss of so many.
    fn missed(&self, count: u64) -> Bytes {
        self.dropped.fetch_add(count, Ordering::Relaxed);
        line(&notice(count))
    }
}

/// Events of one sort that wait for a reader, and the one that is next.
#[derive(Debug)]
struct Lane {
    receiver: Receiver<Arc<Published>>,
    head: Option<Arc<Published>>,
}

impl Lane {
    /// Sees to it that the next one is at hand, if there is one, or tells how many are missing before it.
    fn look(&mut self) -> Result<(), u64> {
        if self.head.is_none() {
            self.head = match self.receiver.try_recv() {
                Ok(published) => Some(published),
                Err(TryRecvError::Lagged(count)) => return Err(count),
                Err(TryRecvError::Empty | TryRecvError::Closed) => None,
            };
        }
        Ok(())
    }

    /// Waits for the next one. Nothing is lost when it is waited for no more.
    async fn wait(&mut self) -> Result<(), RecvError> {
        self.head = Some(self.receiver.recv().await?);
        Ok(())
    }
}

/// Events that came together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Whole lines.
    pub lines: Bytes,
    /// Whether there may be more already.
    pub full: bool,
}

/// An event and, once somebody wanted it, its JSON: made by the first reader, so that the loop never pays for it.
#[derive(Debug)]
struct Published {
    event: Event,
    line: OnceLock<Bytes>,
}

impl Published {
    fn line(&self) -> Bytes {
        self.line.get_or_init(|| line(&self.event)).clone()
    }
}

fn line(event: &Event) -> Bytes {
    let mut json = Vec::with_capacity(USUAL_LINE);
    if let Err(error) = serde_json::to_writer(&mut json, event) {
        // No field of an event can fail to become JSON; should one ever, the log says which.
        tracing::error!(seq = event.seq, %error, "an event could not be written as JSON");
        json.clear();
    }
    json.push(b'\n');
    Bytes::from(json)
}

/// What a reader is told when it lost. Its `seq` is 0: it is no part of the daemon's numbering.
fn notice(count: u64) -> Event {
    Event {
        schema_version: SCHEMA_VERSION,
        seq: 0,
        time: jiff::Timestamp::now(),
        message: format!("this reader was too slow: {count} events were not sent to it"),
        kind: EventKind::Lost(Lost::of(STREAM_FAMILY, count)),
    }
}

#[cfg(test)]
pub(crate) mod samples;

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(seq: u64) -> Event {
        Event { seq, ..samples::exec() }
    }

    fn parsed(line: &Bytes) -> Event {
        serde_json::from_slice(line).expect("a line is one JSON event")
    }

    #[tokio::test]
    async fn a_reader_gets_each_event_as_one_line_of_json() {
        let stream = EventStream::new();
        let mut reader = stream.subscribe(Filter::default());
        stream.publish(exec(1));
        stream.publish(exec(2));
        let first = reader.next().await.expect("an event");
        assert_eq!(first.iter().filter(|&&byte| byte == b'\n').count(), 1);
        assert_eq!(parsed(&first), exec(1));
        assert_eq!(parsed(&reader.next().await.expect("an event")), exec(2));
        assert_eq!(stream.dropped(), 0);
    }

    #[tokio::test]
    async fn what_has_come_meanwhile_is_handed_over_together() {
        let stream = EventStream::with_capacity(1_024);
        let mut reader = stream.subscribe(Filter::default());
        for seq in 1..=1_000 {
            stream.publish(exec(seq));
        }
        let mut seen = Vec::new();
        while seen.len() < 1_000 {
            let Batch { lines, full } = reader.batch().await.expect("events");
            let lines = std::str::from_utf8(&lines).expect("text");
            assert!(lines.ends_with('\n') && lines.len() < BATCH + 2_000);
            seen.extend(lines.lines().map(|line| serde_json::from_str::<Event>(line).expect("an event").seq));
            assert_eq!(full, seen.len() < 1_000);
        }
        assert_eq!(seen, (1..=1_000).collect::<Vec<_>>());
        stream.publish(exec(1_001));
        assert_eq!(parsed(&reader.batch().await.expect("an event").lines).seq, 1_001);
    }

    #[tokio::test]
    async fn the_json_is_made_once_for_all_readers() {
        let stream = EventStream::new();
        let (mut one, mut two) = (stream.subscribe(Filter::default()), stream.subscribe(Filter::default()));
        stream.publish(exec(1));
        let (first, second) = (one.next().await.expect("an event"), two.next().await.expect("an event"));
        assert_eq!(first.as_ptr(), second.as_ptr());
    }

    #[tokio::test]
    async fn a_slow_reader_loses_and_is_told_how_many() {
        let stream = EventStream::with_capacity(4);
        let mut reader = stream.subscribe(Filter { kinds: vec!["process_exec".to_owned()], of: None });
        for seq in 1..=10 {
            stream.publish(exec(seq));
        }
        let notice = parsed(&reader.next().await.expect("a notice"));
        assert_eq!(notice.kind, EventKind::Lost(Lost::of("stream", 6)));
        assert_eq!(notice.seq, 0);
        assert_eq!(parsed(&reader.next().await.expect("an event")).seq, 7);
        assert_eq!(stream.dropped(), 6);
    }

    #[tokio::test]
    async fn one_slow_reader_costs_the_others_nothing() {
        let stream = EventStream::with_capacity(4);
        let _slow = stream.subscribe(Filter::default());
        let mut quick = stream.subscribe(Filter::default());
        for seq in 1..=100 {
            stream.publish(exec(seq));
            assert_eq!(parsed(&quick.next().await.expect("an event")).seq, seq);
        }
    }

    #[tokio::test]
    async fn denials_come_in_their_order_among_others_and_no_flood_of_others_costs_one() {
        let denial = |seq| Event { seq, ..samples::denial() };
        let stream = EventStream::with_capacity(4);
        let mut reader = stream.subscribe(Filter::default());
        for seq in 1..=4 {
            stream.publish(if seq % 2 == 0 { denial(seq) } else { exec(seq) });
        }
        for seq in 1..=4 {
            assert_eq!(parsed(&reader.next().await.expect("an event")).seq, seq);
        }
        stream.publish(denial(5));
        (6..=100).for_each(|seq| stream.publish(exec(seq)));
        stream.publish(denial(101));
        drop(stream);
        let mut seen = Vec::new();
        while let Some(line) = reader.next().await {
            seen.push(parsed(&line).seq);
        }
        // 0 says how many are missing.
        assert_eq!(seen, [0, 5, 97, 98, 99, 100, 101]);
    }

    #[test]
    fn publishing_without_readers_keeps_nothing() {
        let stream = EventStream::new();
        stream.publish(exec(1));
        stream.publish(samples::denial());
        assert_eq!((stream.denials.len(), stream.others.len()), (0, 0));
    }
}
