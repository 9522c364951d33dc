//! What a receiver has still to be told: the newest state of each alert. Bounded. Pure.

use std::{collections::HashMap, sync::Arc};

use crate::event::Alert;

/// Alerts of one receiver, by their ids.
#[derive(Debug)]
pub(super) struct Queue {
    entries: HashMap<String, Entry>,
    /// Most ids.
    limit: usize,
    /// Whether alerts that are open stay here once they were told, to be told again.
    standing: bool,
    /// The place of the next one in the row.
    next: u64,
}

#[derive(Debug)]
struct Entry {
    alert: Arc<Alert>,
    place: Place,
}

/// Where in its way an alert is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    /// In the row, at this place.
    Waiting(u64),
    /// Being told. Its place is [`Place::Waiting`] again if a newer state comes meanwhile.
    Leaving,
    /// It was told, and is open.
    Told,
}

impl Queue {
    /// An empty one for so many alerts; `standing`: those that are open are told again by [`Self::repeat`].
    pub(super) fn new(limit: usize, standing: bool) -> Self {
        Self { entries: HashMap::new(), limit, standing, next: 0 }
    }

    /// Whether open ones are told again.
    pub(super) fn is_standing(&self) -> bool {
        self.standing
    }

    /// Puts an alert into the row, in the place of an older state of it. Whether there was room.
    #[must_use]
    pub(super) fn put(&mut self, alert: &Arc<Alert>) -> bool {
        let at = self.place();
        if let Some(entry) = self.entries.get_mut(&alert.id) {
            entry.alert = Arc::clone(alert);
            if !matches!(entry.place, Place::Waiting(_)) {
                entry.place = at;
            }
            return true;
        }
        if self.entries.len() >= self.limit {
            return false;
        }
        self.entries.insert(alert.id.clone(), Entry { alert: Arc::clone(alert), place: at });
        true
    }

    /// Takes so many out of the row, the first ones first. They are then [`Self::told`] or [`Self::untold`].
    pub(super) fn take(&mut self, most: usize) -> Vec<Arc<Alert>> {
        let mut waiting: Vec<_> = self.entries.values_mut().filter(|entry| entry.waits().is_some()).collect();
        waiting.sort_unstable_by_key(|entry| entry.waits());
        let taken = waiting.into_iter().take(most).map(|entry| {
            entry.place = Place::Leaving;
            Arc::clone(&entry.alert)
        });
        taken.collect()
    }

    /// What was taken has been told.
    pub(super) fn told(&mut self) {
        let standing = self.standing;
        self.entries.retain(|_, entry| {
            let keep = standing && entry.alert.is_open();
            match entry.place {
                Place::Leaving if keep => entry.place = Place::Told,
                Place::Leaving => return false,
                Place::Waiting(_) | Place::Told => (),
            }
            true
        });
    }

    /// What was taken could not be told: it waits again, behind the others, so that one that nobody takes stops none.
    pub(super) fn untold(&mut self) {
        self.wait_again(Place::Leaving);
    }

    /// What was taken will never be told. How many are lost: those of which no newer state has come.
    pub(super) fn lost(&mut self) -> usize {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.place != Place::Leaving);
        before - self.entries.len()
    }

    /// What was told and is open waits again.
    pub(super) fn repeat(&mut self) {
        self.wait_again(Place::Told);
    }

    /// How many wait, or are being told.
    pub(super) fn waiting(&self) -> usize {
        self.entries.values().filter(|entry| entry.place != Place::Told).count()
    }

    fn wait_again(&mut self, place: Place) {
        let mut next = self.next;
        for entry in self.entries.values_mut().filter(|entry| entry.place == place) {
            entry.place = Place::Waiting(next);
            next += 1;
        }
        self.next = next;
    }

    fn place(&mut self) -> Place {
        self.next += 1;
        Place::Waiting(self.next - 1)
    }
}

impl Entry {
    fn waits(&self) -> Option<u64> {
        match self.place {
            Place::Waiting(at) => Some(at),
            Place::Leaving | Place::Told => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{event::AlertState, notify::samples::alert};

    fn put(queue: &mut Queue, id: &str, state: AlertState) -> bool {
        queue.put(&Arc::new(Alert { state, ..alert(id) }))
    }

    fn taken(queue: &mut Queue, most: usize) -> String {
        queue.take(most).iter().map(|alert| format!("{} {} ", alert.id, alert.state)).collect()
    }

    #[test]
    fn alerts_leave_in_the_order_in_which_they_came() {
        let mut queue = Queue::new(9, false);
        for id in ["b", "a", "c"] {
            assert!(put(&mut queue, id, AlertState::Open));
        }
        assert_eq!(taken(&mut queue, 2), "b open a open ");
        queue.told();
        assert_eq!(taken(&mut queue, 2), "c open ");
        queue.told();
        assert_eq!(queue.waiting(), 0);
    }

    #[test]
    fn the_newest_state_of_an_alert_takes_the_place_of_older_ones() {
        let mut queue = Queue::new(2, false);
        assert!(put(&mut queue, "a", AlertState::Open));
        assert!(put(&mut queue, "b", AlertState::Open));
        assert!(put(&mut queue, "a", AlertState::Resolved), "a known one always has room");
        assert!(!put(&mut queue, "c", AlertState::Open));
        assert_eq!(taken(&mut queue, 9), "a resolved b open ");
    }

    #[test]
    fn what_comes_while_an_older_state_is_being_told_is_told_next_whatever_becomes_of_that() {
        for fails in [false, true] {
            let mut queue = Queue::new(1, true);
            assert!(put(&mut queue, "a", AlertState::Open));
            assert_eq!(taken(&mut queue, 9), "a open ");
            assert!(put(&mut queue, "a", AlertState::Resolved));
            if fails {
                queue.untold();
            } else {
                queue.told();
            }
            assert_eq!(taken(&mut queue, 9), "a resolved ");
            queue.told();
            queue.repeat();
            assert_eq!((taken(&mut queue, 9).as_str(), queue.entries.len()), ("", 0));
        }
    }

    #[test]
    fn what_could_not_be_told_waits_behind_the_others() {
        let mut queue = Queue::new(9, false);
        assert!(put(&mut queue, "a", AlertState::Open) && put(&mut queue, "b", AlertState::Open));
        assert_eq!(taken(&mut queue, 1), "a open ");
        queue.untold();
        assert_eq!(taken(&mut queue, 9), "b open a open ");
    }

    #[test]
    fn open_ones_are_told_again_and_again_where_that_is_wanted() {
        let mut queue = Queue::new(2, true);
        assert!(put(&mut queue, "a", AlertState::Open) && put(&mut queue, "b", AlertState::Acknowledged));
        taken(&mut queue, 9);
        queue.told();
        assert_eq!((taken(&mut queue, 9).as_str(), queue.waiting()), ("", 0));
        queue.repeat();
        assert_eq!(taken(&mut queue, 9), "a open ");
        queue.told();
        assert!(put(&mut queue, "a", AlertState::Resolved) && put(&mut queue, "c", AlertState::Open));
        assert_eq!(taken(&mut queue, 9), "a resolved c open ");
    }

    #[test]
    fn what_nobody_will_take_is_lost_unless_a_newer_state_has_come() {
        let mut queue = Queue::new(2, true);
        assert!(put(&mut queue, "a", AlertState::Open) && put(&mut queue, "b", AlertState::Open));
        taken(&mut queue, 9);
        assert!(put(&mut queue, "b", AlertState::Resolved));
        assert_eq!(queue.lost(), 1);
        assert_eq!(taken(&mut queue, 9), "b resolved ");
    }

    proptest! {
        /// Whatever fails and in whatever order: in the end the last state of each id that found room was told last.
        #[test]
        fn the_last_state_of_each_alert_is_told_last(
            steps in prop::collection::vec((0_u8..5, 0_usize..4, 0_usize..3), 0..60),
        ) {
            let states = [AlertState::Open, AlertState::Acknowledged, AlertState::Resolved];
            let mut queue = Queue::new(3, true);
            let (mut wanted, mut told) = (HashMap::new(), HashMap::new());
            let finish = |queue: &mut Queue, told: &mut HashMap<String, AlertState>, most| {
                told.extend(queue.take(most).iter().map(|alert| (alert.id.clone(), alert.state)));
                queue.told();
            };
            for (step, id, state) in steps {
                match step {
                    0 | 1 => {
                        if put(&mut queue, &id.to_string(), states[state]) {
                            wanted.insert(id.to_string(), states[state]);
                        }
                    }
                    2 => finish(&mut queue, &mut told, id),
                    3 => { queue.take(id); queue.untold(); }
                    _ => queue.repeat(),
                }
                prop_assert!(queue.entries.len() <= 3);
            }
            finish(&mut queue, &mut told, 9);
            prop_assert_eq!(queue.waiting(), 0);
            prop_assert_eq!(told, wanted);
        }
    }
}
