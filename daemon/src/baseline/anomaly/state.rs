//! What survives a restart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Detector, PEERS, SUBJECTS, book::Book, settings::MINUTE, subject::Subject};
use crate::event::Alert;

/// Raised when what an older daemon kept can no longer be read.
const VERSION: u32 = 1;

/// Whatever was told so many seconds before a daemon ended, or later, may have reached nobody.
const UNHEARD: i64 = MINUTE;

/// All that was learned. To be kept as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct State {
    version: u32,
    clock: i64,
    forgot: i64,
    subjects: BTreeMap<String, Subject>,
}

/// The alerts. To be kept as JSON, and more often than what was learned, which is much larger.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct KeptAlerts {
    version: u32,
    clock: i64,
    book: Book,
}

/// Alerts that an earlier daemon left behind, and that are to be told.
#[derive(Debug, Default)]
pub struct Left {
    /// They were told so shortly before its end that maybe nobody heard it.
    pub unheard: Vec<Alert>,
    /// The others that are open.
    pub open: Vec<Alert>,
}

/// Why a state is not taken over.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StateError {
    /// Another version wrote it.
    #[error("it is of version {0}, and this is version {VERSION}")]
    Version(u32),
    /// It has more than a detector would ever keep.
    #[error("it is larger than it can be")]
    TooLarge,
}

impl Detector {
    /// All that it has learned, to be kept.
    #[must_use]
    pub fn state(&self) -> State {
        State { version: VERSION, clock: self.clock, forgot: self.forgot, subjects: self.subjects.clone() }
    }

    /// Its alerts, to be kept.
    #[must_use]
    pub fn kept_alerts(&self) -> KeptAlerts {
        KeptAlerts { version: VERSION, clock: self.clock, book: self.book.clone() }
    }

    /// Takes over what was learned, in the place of what it knows. The settings and the alerts stay.
    ///
    /// # Errors
    /// Where it does not fit: then nothing has changed.
    pub fn restore(&mut self, state: State) -> Result<(), StateError> {
        let State { version, clock, forgot, subjects } = state;
        check_version(version)?;
        let peers: usize = subjects.values().map(|subject| subject.peers.len()).sum();
        // A turn may pass the bounds by what it brought; it is made good within the hour.
        let fits = subjects.len() <= 2 * SUBJECTS && peers <= 2 * PEERS;
        if !fits || !subjects.values().all(Subject::fits) {
            return Err(StateError::TooLarge);
        }
        (self.clock, self.forgot, self.subjects) = (clock.max(self.clock), forgot, subjects);
        Ok(())
    }

    /// Takes over alerts that were kept, besides those that it has, which are newer. What had to go for these is told as
    /// unheard.
    ///
    /// # Errors
    /// Where they do not fit: then nothing has changed.
    pub fn restore_alerts(&mut self, kept: KeptAlerts) -> Result<Left, StateError> {
        let KeptAlerts { version, clock, book } = kept;
        check_version(version)?;
        if !book.fits() {
            return Err(StateError::TooLarge);
        }
        let (unheard, open) = self.book.take_over(book, clock - UNHEARD);
        self.clock = clock.max(self.clock);
        Ok(Left { unheard, open })
    }
}

fn check_version(version: u32) -> Result<(), StateError> {
    if version == VERSION { Ok(()) } else { Err(StateError::Version(version)) }
}
