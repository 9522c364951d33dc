//! One receiver: its queue, the task that empties it, and how it stands.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBuilder};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::{sync::Notify, time};
use tokio_util::sync::CancellationToken;

use super::queue::Queue;
use crate::event::{Alert, is_hostile};

/// Longest text of an error, in characters.
const SHOWN: usize = 300;

/// Somebody who takes alerts.
pub(super) trait Receive: Send + 'static {
    /// Most alerts that are handed over at once.
    const AT_ONCE: usize;

    /// Hands over alerts: all of them, or it is done again. Given up at any point where it waits.
    fn deliver(&mut self, alerts: &[Arc<Alert>]) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Why alerts could not be handed over.
#[derive(Debug)]
pub(super) struct Failure {
    why: String,
    /// Whether it may go well another time.
    again: bool,
}

/// How long a receiver is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// At each try.
    pub(super) deadline: Duration,
    /// After the first try that failed; twice as long after each further one, and at random up to twice as long again.
    pub(super) first_pause: Duration,
    /// But not longer than this.
    pub(super) longest_pause: Duration,
    /// How often alerts that are open are told again, where they are.
    pub(super) repeat: Duration,
}

/// How a receiver stands.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ReceiverStatus {
    /// The kind, and a number where there are several: `webhook-2`.
    pub name: String,
    /// `alertmanager`, `webhook`, `journald`, `syslog` or `file`.
    pub kind: String,
    /// Where it is. No password is in it.
    pub place: String,
    /// Alerts that it took, those that it was told again included.
    pub sent: u64,
    /// Tries that failed.
    pub failed: u64,
    /// Alerts that it will never be told: its queue was full, or it refused them for good.
    pub dropped: u64,
    /// Alerts that wait for it.
    pub waiting: usize,
    /// Why the last try failed; nothing when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Since when it takes alerts, or does not.
    pub since: Timestamp,
}

/// One receiver.
#[derive(Debug)]
pub(super) struct Lane {
    name: String,
    kind: &'static str,
    place: String,
    queue: Mutex<Queue>,
    /// Something was put into the queue.
    wake: Notify,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
    standing: Mutex<Standing>,
}

#[derive(Debug)]
struct Standing {
    error: Option<String>,
    since: Timestamp,
}

impl Failure {
    /// It may go well another time.
    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
    pub(super) fn passing(why: impl ToString) -> Self {
        Self { why: why.to_string(), again: true }
    }

    /// It never will.
    #[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
    pub(super) fn lasting(why: impl ToString) -> Self {
        Self { why: why.to_string(), again: false }
    }

    /// Why, in one line that is safe to show.
    fn told(&self) -> String {
        let shown = self.why.chars().take(SHOWN);
        shown.map(|character| if is_hostile(character) { ' ' } else { character }).collect()
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::passing(error)
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(5),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            repeat: Duration::from_secs(60),
        }
    }
}

impl Lane {
    /// A receiver that is told nothing yet.
    pub(super) fn new(name: String, kind: &'static str, place: String, queue: Queue) -> Self {
        Self {
            name,
            kind,
            place,
            queue: Mutex::new(queue),
            wake: Notify::new(),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            standing: Mutex::new(Standing { error: None, since: Timestamp::now() }),
        }
    }

    /// Has the receiver told, as soon as it can be. Never waits for it.
    pub(super) fn put(&self, alert: &Arc<Alert>) {
        if lock(&self.queue).put(alert) {
            self.wake.notify_one();
        } else {
            self.drop_some(1);
        }
    }

    /// Whether the receiver is told of open alerts again and again.
    pub(super) fn is_standing(&self) -> bool {
        lock(&self.queue).is_standing()
    }

    /// How it stands.
    pub(super) fn status(&self) -> ReceiverStatus {
        let standing = lock(&self.standing);
        ReceiverStatus {
            name: self.name.clone(),
            kind: self.kind.to_owned(),
            place: self.place.clone(),
            sent: self.sent.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            waiting: lock(&self.queue).waiting(),
            last_error: standing.error.clone(),
            since: standing.since,
        }
    }

    /// Tells the receiver what is in the queue, until it is cancelled.
    pub(super) async fn run(self: Arc<Self>, receiver: impl Receive, pace: Pace, cancel: CancellationToken) {
        cancel.run_until_cancelled(self.keep(receiver, pace)).await;
    }

    async fn keep<R: Receive>(&self, mut receiver: R, pace: Pace) {
        let pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(pace.first_pause)
            .with_max_delay(pace.longest_pause)
            .without_max_times();
        let mut pause = pauses.build();
        let mut repeat_at = time::Instant::now() + pace.repeat;
        loop {
            // Also while others wait that nobody takes.
            if repeat_at <= time::Instant::now() {
                lock(&self.queue).repeat();
                repeat_at = time::Instant::now() + pace.repeat;
            }
            let batch = lock(&self.queue).take(R::AT_ONCE);
            if batch.is_empty() {
                tokio::select! {
                    () = self.wake.notified() => {}
                    () = time::sleep_until(repeat_at) => {}
                }
                continue;
            }
            let delivered = time::timeout(pace.deadline, receiver.deliver(&batch)).await;
            let late = |_| Err(Failure::passing(format!("no answer within {:?}", pace.deadline)));
            match delivered.unwrap_or_else(late) {
                Ok(()) => {
                    lock(&self.queue).told();
                    self.well();
                    self.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    pause = pauses.build();
                }
                Err(failure) => {
                    if failure.again {
                        lock(&self.queue).untold();
                    } else {
                        let lost = lock(&self.queue).lost();
                        self.drop_some(lost as u64);
                    }
                    self.ill(&failure);
                    self.failed.fetch_add(1, Ordering::Relaxed);
                    time::sleep(pause.next().unwrap_or(pace.longest_pause)).await;
                }
            }
        }
    }

    fn drop_some(&self, count: u64) {
        if self.dropped.fetch_add(count, Ordering::Relaxed) == 0 && count > 0 {
            tracing::warn!(receiver = self.name, "alerts are dropped");
        }
    }

    fn well(&self) {
        let mut standing = lock(&self.standing);
        if standing.error.take().is_some() {
            standing.since = Timestamp::now();
            tracing::info!(receiver = self.name, "alerts are taken again");
        }
    }

    fn ill(&self, failure: &Failure) {
        let error = failure.told();
        let mut standing = lock(&self.standing);
        if standing.error.is_none() {
            standing.since = Timestamp::now();
            tracing::warn!(receiver = self.name, place = self.place, error, "alerts are not taken");
        }
        standing.error = Some(error);
    }
}

/// A thread that panicked left a queue that is still a queue.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
