//! The last denials, by their id. Bounded; what had to go is in the history.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use lru::LruCache;

use crate::event::{Caller, Denial, Event, EventKind, Protocol};

/// How many are kept: those that were told last.
const KEPT: NonZeroUsize = NonZeroUsize::new(1_024).expect("not zero");

/// The last denials. Shared.
#[derive(Debug)]
pub struct Recent(Mutex<LruCache<String, Kept>>);

/// What is kept of one.
#[derive(Debug)]
struct Kept {
    time: Timestamp,
    denial: Denial,
    /// The last caller that was told, and when: that none is told of later attempts takes nothing away.
    caller: Option<(Timestamp, Caller)>,
}

/// Several have an id that begins so.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the ids of several begin so: name more of it")]
pub struct Several;

impl Default for Recent {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(KEPT)))
    }
}

impl Recent {
    /// Keeps it if it is a denial; others cost nothing.
    pub fn note(&self, event: &Event) {
        if let EventKind::Denial(denial) = &event.kind {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let before = kept.get_mut(&denial.id).and_then(|before| before.caller.take());
            let caller = denial.caller.clone().map(|caller| (event.time, caller)).or(before);
            kept.put(denial.id.clone(), Kept { time: event.time, denial: denial.clone(), caller });
        }
    }

    /// The process that was told last of those that tried what was denied, or would have been, and when; of all replicas.
    pub fn caller(
        &self,
        source: &str,
        target: &str,
        (protocol, port): (Protocol, u16),
    ) -> Option<(Timestamp, Caller)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_meant = |denial: &Denial| {
            (denial.source.workload.name.as_str(), denial.target.workload.name.as_str()) == (source, target)
                && (denial.protocol, denial.target.port) == (protocol, port)
        };
        let meant = kept.iter().filter(|(_, kept)| is_meant(&kept.denial));
        meant.filter_map(|(_, kept)| kept.caller.as_ref()).max_by_key(|(time, _)| *time).cloned()
    }

    /// The one whose id begins so, as it was told last, and when.
    ///
    /// # Errors
    /// There are several.
    pub fn named(&self, id: &str) -> Result<Option<(Timestamp, Denial)>, Several> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut meant = kept.iter().filter(|(known, _)| known.starts_with(id));
        match (meant.next(), meant.next()) {
            (Some(_), Some(_)) => Err(Several),
            (one, _) => Ok(one.map(|(_, kept)| (kept.time, kept.denial.clone()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::samples;

    fn denial() -> Denial {
        match samples::denial().kind {
            EventKind::Denial(denial) => denial,
            other => panic!("{other:?}"),
        }
    }

    fn note(recent: &Recent, denial: Denial) {
        recent.note(&Event { kind: EventKind::Denial(denial), ..samples::denial() });
    }

    #[test]
    fn the_beginning_of_an_id_is_enough_and_what_was_told_last_counts() {
        let recent = Recent::default();
        recent.note(&samples::exec());
        assert_eq!(recent.named(""), Ok(None), "only denials are kept");
        let of = |id: &str, attempts| Denial { id: id.to_owned(), attempts, ..denial() };
        for told in [of("9f2c", 1), of("9f3d", 1), of("9f2c", 7)] {
            note(&recent, told);
        }
        let attempts = |id| recent.named(id).map(|told| told.map(|(_, denial)| denial.attempts));
        assert_eq!((attempts("9f2"), attempts("9f3d"), attempts("a")), (Ok(Some(7)), Ok(Some(1)), Ok(None)));
        assert_eq!(attempts("9f"), Err(Several));
    }

    #[test]
    fn who_tried_it_is_the_one_that_was_told_last_even_if_nobody_is_told_since() {
        let recent = Recent::default();
        let by = |id: &str, command: Option<&str>| Denial {
            id: id.to_owned(),
            caller: command
                .map(|command| Caller { command: command.to_owned(), ..denial().caller.expect("a caller") }),
            ..denial()
        };
        let caller = |port| recent.caller("shop/web", "shop/db", (Protocol::Tcp, port));
        let command = |port| caller(port).map(|(_, caller)| caller.command);
        note(&recent, by("a", None));
        assert_eq!(command(5_432), None);
        let later =
            Event { time: samples::denial().time + jiff::Span::new().seconds(1), ..samples::denial() };
        recent.note(&Event { kind: EventKind::Denial(by("b", Some("psql"))), ..later });
        note(&recent, by("c", Some("nc")));
        note(&recent, by("b", None));
        assert_eq!(command(5_432).as_deref(), Some("psql"), "by the time at which it was");
        assert_eq!(command(80), None, "another port");
    }

    #[test]
    fn those_that_were_told_longest_ago_go() {
        let recent = Recent::default();
        (0..=KEPT.get())
            .for_each(|number| note(&recent, Denial { id: format!("{number:016x}"), ..denial() }));
        assert_eq!(recent.named(&format!("{:016x}", 0)), Ok(None));
        assert!(recent.named(&format!("{KEPT:016x}")).is_ok_and(|told| told.is_some()));
    }
}
