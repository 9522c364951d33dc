//! The alerts that there are: made by the recorder, asked for and acknowledged by others. No lock is held over I/O.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::anomaly::{Detector, KeptAlerts, Left, Settings, State, Turn};
use crate::event::{Acknowledgement, Alert};

/// Alerts, and whoever finds them. Shared.
#[derive(Debug)]
pub struct Alerts(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    detector: Detector,
    /// What became of some since the recorder asked last.
    changed: Vec<Alert>,
}

/// Why it is not known which alert is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotFound {
    /// There is none.
    #[error("there is no alert whose id begins so")]
    Unknown,
    /// There is none that could be acknowledged.
    #[error("there is no open alert whose id begins so")]
    NoneOpen,
    /// There are several.
    #[error("the ids of several alerts begin so: name more of it")]
    Many,
}

impl Alerts {
    /// None yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self(Mutex::new(Inner { detector: Detector::new(settings), changed: Vec::new() }))
    }

    /// From now on with these.
    pub fn configure(&self, settings: Settings) {
        self.lock().detector.set(settings);
    }

    /// Looks at what happened, and tells which alerts are new, came again, were acknowledged or are over.
    pub fn turn(&self, turn: &Turn<'_>) -> Vec<Alert> {
        let mut inner = self.lock();
        let mut told = std::mem::take(&mut inner.changed);
        told.extend(inner.detector.turn(turn));
        told
    }

    /// All that are kept: the last seen first.
    #[must_use]
    pub fn list(&self) -> Vec<Alert> {
        let mut alerts = self.lock().detector.alerts();
        alerts.sort_by(|one, other| (other.last_seen, &other.id).cmp(&(one.last_seen, &one.id)));
        alerts
    }

    /// Those that are open, as [`Self::list`] has them.
    #[must_use]
    pub fn open(&self) -> Vec<Alert> {
        self.list().into_iter().filter(Alert::is_open).collect()
    }

    /// The one whose id begins so, open or not.
    ///
    /// # Errors
    /// There is none, or several.
    pub fn named(&self, id: &str) -> Result<Alert, NotFound> {
        only(self.lock().detector.alerts(), id)?.ok_or(NotFound::Unknown)
    }

    /// Somebody has looked at the one whose id begins so: what it is about is normal from now on.
    ///
    /// # Errors
    /// There is none that is open, or several.
    pub fn acknowledge(&self, id: &str, by: Acknowledgement) -> Result<Alert, NotFound> {
        let mut inner = self.lock();
        let mut open = inner.detector.alerts();
        open.retain(Alert::is_open);
        let meant = only(open, id)?.ok_or(NotFound::NoneOpen)?;
        let alert = inner.detector.acknowledge(&meant.id, by).ok_or(NotFound::NoneOpen)?;
        inner.changed.push(alert.clone());
        Ok(alert)
    }

    /// What has been learned.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().detector.state()
    }

    /// All alerts, to be kept.
    #[must_use]
    pub fn kept(&self) -> KeptAlerts {
        self.lock().detector.kept_alerts()
    }

    /// Goes on with what an earlier daemon has learned.
    ///
    /// # Errors
    /// It does not fit; then nothing has changed.
    pub fn restore(&self, state: State) -> anyhow::Result<()> {
        Ok(self.lock().detector.restore(state)?)
    }

    /// Goes on with the alerts of an earlier daemon, besides those that there are; which of them are to be told.
    ///
    /// # Errors
    /// They do not fit; then nothing has changed.
    pub fn restore_kept(&self, kept: KeptAlerts) -> anyhow::Result<Left> {
        Ok(self.lock().detector.restore_alerts(kept)?)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The only one whose id begins so, if there is one.
fn only(alerts: Vec<Alert>, id: &str) -> Result<Option<Alert>, NotFound> {
    let mut meant = alerts.into_iter().filter(|alert| alert.id.starts_with(id));
    match (meant.next(), meant.next()) {
        (Some(_), Some(_)) => Err(NotFound::Many),
        (one, _) => Ok(one.filter(|_| !id.is_empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::EventKind, sink::samples};

    #[test]
    fn the_beginning_of_an_id_is_enough_where_only_one_begins_so() {
        let EventKind::Alert(alert) = samples::alert().kind else { panic!("no alert") };
        let found = |begins: &str| {
            let alerts = ["9f2c", "9f3d"].map(|id| Alert { id: id.to_owned(), ..*alert.clone() });
            only(alerts.to_vec(), begins).map(|alert| alert.map(|alert| alert.id))
        };
        assert_eq!(found("9f2"), Ok(Some("9f2c".to_owned())));
        assert_eq!(found("9f3d"), Ok(Some("9f3d".to_owned())));
        assert_eq!(found("a"), Ok(None));
        assert_eq!((found("9f"), found("")), (Err(NotFound::Many), Err(NotFound::Many)));
        assert_eq!(only(vec![*alert], ""), Ok(None));
    }
}
