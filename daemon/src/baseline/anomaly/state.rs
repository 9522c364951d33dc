//! What survives a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Detector, PEERS, SUBJECTS, book::Book, subject::Subject};

/// Raised when what an older daemon kept can no longer be read.
const VERSION: u32 = 1;

/// All that was learned, and the alerts. To be kept as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct State {
    version: u32,
    clock: i64,
    forgot: i64,
    subjects: BTreeMap<String, Subject>,
    book: Book,
}

/// Why a state is not taken over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StateError {
    /// Another version wrote it.
    #[error("what was learned is of version {0}, and this is version {VERSION}: it is learned anew")]
    Version(u32),
    /// It has more than a detector would ever keep.
    #[error("what was learned is larger than it can be: it is learned anew")]
    TooLarge,
}

impl Detector {
    /// All that it knows, to be kept.
    #[must_use]
    pub fn state(&self) -> State {
        State {
            version: VERSION,
            clock: self.clock,
            forgot: self.forgot,
            subjects: self.subjects.clone(),
            book: self.book.clone(),
        }
    }

    /// Takes over what was kept. The settings stay.
    ///
    /// # Errors
    /// Where it does not fit: then nothing has changed.
    pub fn restore(&mut self, state: State) -> Result<(), StateError> {
        let State { version, clock, forgot, subjects, book } = state;
        if version != VERSION {
            return Err(StateError::Version(version));
        }
        let peers: usize = subjects.values().map(|subject| subject.peers.len()).sum();
        // A turn may pass the bounds by what it brought; it is made good within the hour.
        let fits = subjects.len() <= 2 * SUBJECTS && peers <= 2 * PEERS && book.fits();
        if !fits || !subjects.values().all(Subject::fits) {
            return Err(StateError::TooLarge);
        }
        (self.clock, self.forgot, self.subjects, self.book) = (clock, forgot, subjects, book);
        Ok(())
    }
}
