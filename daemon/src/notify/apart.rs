//! Work that blocks, one at a time: a disk that hangs takes one thread, however often it is asked.

use tokio::task::{JoinHandle, spawn_blocking};

use super::lane::Failure;

/// Whoever does such work.
#[derive(Debug)]
pub(super) struct Apart<T>(Option<JoinHandle<T>>);

impl<T> Default for Apart<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Apart<T> {
    /// Does something in a thread of its own, after what was begun before has ended.
    pub(super) async fn run(&mut self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
        if let Some(before) = &mut self.0 {
            // What came of it nobody waits for any more.
            let _ = before.await;
            self.0 = None;
        }
        let done = self.0.insert(spawn_blocking(work)).await;
        self.0 = None;
        done.map_err(Failure::passing)
    }
}
