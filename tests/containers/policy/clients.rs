//! Clients that connect as fast as they can while something happens. The oracle is the database.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread::{self, ScopedJoinHandle},
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use cofferdam_tests::{Container, Counts, command::wait_for};

use super::SOON;

/// Connections that are made in one go.
const AT_A_TIME: u64 = 1000;
/// Exchanges on each connection that lasts, one every few milliseconds.
const EXCHANGES: u64 = 100;
/// Longest that an answer may take on these, in milliseconds.
const PATIENCE: u32 = 60_000;
/// Payload of a request, and of an answer.
const BYTES: u64 = 64;

/// Who connects, and to whom.
pub(super) struct Clients<'a> {
    pub(super) db: &'a Container,
    /// May. Needs [`cofferdam_tests::Options::many_ports`].
    pub(super) api: &'a Container,
    /// May not.
    pub(super) runner: &'a Container,
    /// Where the database listens.
    pub(super) to: String,
}

/// What came of it, to be printed.
pub(super) struct Outcome {
    /// Connections that were allowed, all of which came to their end.
    pub(super) allowed: u64,
    /// Those of them that lasted for seconds.
    pub(super) lasting: u64,
    /// Attempts that were denied, those of the last go apart.
    pub(super) denied: u64,
    pub(super) seconds: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { allowed, lasting, denied, seconds } = self;
        write!(f, "{allowed} connections allowed ({lasting} lasting), {denied} denied, {seconds} s")
    }
}

impl Clients<'_> {
    /// Does something while both connect; fails when an allowed connection has failed, or when anything else has reached
    /// the database.
    pub(super) fn meanwhile<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<(T, Outcome)> {
        let (begun, stop) = (Instant::now(), AtomicBool::new(false));
        let (done, allowed, lasting, denied) = thread::scope(|scope| {
            let allowed = scope.spawn(|| self.allowed(&stop, &format!("--count {AT_A_TIME}"), AT_A_TIME, 1));
            // What was held because nobody knew yet who it is of, TCP sends again ever later.
            let lasting =
                format!("--count 2 --parallel 2 --exchanges {EXCHANGES} --hold 20 --timeout {PATIENCE}");
            let stopped = &stop;
            let lasting = scope.spawn(move || self.allowed(stopped, &lasting, 2, EXCHANGES));
            let denied = scope.spawn(|| self.denied(&stop));
            let end = End { stop: &stop, runner: self.runner };
            let done = act();
            drop(end);
            (done, join(allowed), join(lasting), join(denied))
        });
        let (done, allowed, lasting, denied) = (done?, allowed?, lasting?, denied?);
        let sum = allowed + lasting;
        let arrived = wait_for("the database to have counted all", SOON, || {
            let got = self.db.counts().ok()?;
            let wanted = Counts { bytes_sent: sum.bytes_received, bytes_received: sum.bytes_sent, ..sum };
            (got == wanted).then_some(())
        });
        arrived.with_context(|| format!("it got {:?}, and {sum:?} was allowed", self.db.counts()))?;
        let (allowed, lasting) = (sum.connections, lasting.connections);
        Ok((done, Outcome { allowed, lasting, denied, seconds: begun.elapsed().as_secs() }))
    }

    /// Connects again and again until `stop`: all must come to their end.
    fn allowed(&self, stop: &AtomicBool, how: &str, connections: u64, exchanges: u64) -> Result<Counts> {
        let (begun, mut sum) = (Instant::now(), Counts::default());
        let bytes = connections * exchanges * BYTES;
        let whole = Counts { connections, failed: 0, bytes_sent: bytes, bytes_received: bytes };
        while !stop.load(Relaxed) {
            let since = begun.elapsed();
            let counts = self.api.connect(&format!("{} {how} --strict", self.to));
            let counts =
                counts.with_context(|| format!("allowed, from {since:?} to {:?}", begun.elapsed()))?;
            ensure!(counts == whole, "allowed, from {since:?} to {:?}: {counts:?}", begun.elapsed());
            sum = sum + counts;
        }
        Ok(sum)
    }

    /// Tries again and again until `stop`: nothing may come to pass. Returns how many it were.
    fn denied(&self, stop: &AtomicBool) -> Result<u64> {
        let mut sum = 0;
        while !stop.load(Relaxed) {
            let tried = self.runner.connect(&format!("{} --count 5000 --parallel 2 --timeout 20", self.to));
            let counts = match tried {
                // It is removed while it tries.
                Err(_) if stop.load(Relaxed) => break,
                tried => tried?,
            };
            ensure!(counts.connections == 0 && counts.bytes_received == 0, "denied: {counts:?}");
            sum += counts.failed;
        }
        Ok(sum)
    }
}

/// Has the clients end, however what happens meanwhile ends: else nobody would ever come back from waiting for them.
struct End<'a> {
    stop: &'a AtomicBool,
    runner: &'a Container,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        let _ = self.runner.clone().remove();
    }
}

fn join<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a client panicked"))?
}
