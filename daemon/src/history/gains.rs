//! What interactions have gained since they were looked at last. Pure.
//!
//! The kernel only ever adds to a row of its ledger. What is recorded by the minute is what came between two looks, by row: a
//! workload that is renamed in between bears its new name from then on, and nothing is counted twice.

use std::collections::HashMap;

use cofferdam_common::network::{Failed, LedgerKey, LedgerRow, Volume};

use crate::interaction::{Edge, Graph};

/// What was there at the last look, and what went away since.
#[derive(Debug, Default)]
pub struct Gains {
    seen: HashMap<LedgerKey, LedgerRow>,
    /// What rows that were taken out of the ledger had gained until then, with the names of that time. Bounded by the rows
    /// that can go between two looks, as long as somebody looks.
    gone: Graph,
}

impl Gains {
    /// The most edges of rows that are gone that are kept for the next look; of more, nobody is told.
    const LIMIT: usize = 20_000;

    /// What all rows that are there have gained since the last look.
    pub fn look(&mut self, rows: &[(LedgerKey, LedgerRow)]) -> Vec<(LedgerKey, LedgerRow)> {
        let gained = self.gained(rows);
        self.seen = rows.iter().copied().collect();
        gained
    }

    /// The same of rows that have just been taken out of the ledger, and come back no more.
    pub fn leave(&mut self, rows: &[(LedgerKey, LedgerRow)]) -> Vec<(LedgerKey, LedgerRow)> {
        let gained = self.gained(rows);
        for (key, _) in rows {
            self.seen.remove(key);
        }
        gained
    }

    /// Keeps what they have gained for [`Self::take_gone`]. Returns how many found no room.
    pub fn keep_gone(&mut self, edges: Vec<Edge>) -> usize {
        let room = Self::LIMIT.saturating_sub(self.gone.len());
        let lost = edges.len().saturating_sub(room);
        edges.into_iter().take(room).for_each(|edge| self.gone.add(edge));
        lost
    }

    /// What was kept since the last time.
    pub fn take_gone(&mut self) -> Vec<Edge> {
        std::mem::take(&mut self.gone).into_edges()
    }

    fn gained(&self, rows: &[(LedgerKey, LedgerRow)]) -> Vec<(LedgerKey, LedgerRow)> {
        let of = |(key, row): &(LedgerKey, LedgerRow)| {
            let gained = self.seen.get(key).map_or(*row, |seen| gain(row, seen));
            (!is_nothing(&gained)).then_some((*key, gained))
        };
        rows.iter().filter_map(of).collect()
    }
}

/// What `row` has more than it had, unless it has begun anew.
fn gain(row: &LedgerRow, before: &LedgerRow) -> LedgerRow {
    if row.first_seen != before.first_seen {
        return *row;
    }
    let more = u64::saturating_sub;
    let (volume, failed) = (&row.volume, &row.failed);
    LedgerRow {
        attempts: more(row.attempts, before.attempts),
        flows: more(row.flows, before.flows),
        volume: Volume {
            bytes_sent: more(volume.bytes_sent, before.volume.bytes_sent),
            bytes_received: more(volume.bytes_received, before.volume.bytes_received),
            packets_sent: more(volume.packets_sent, before.volume.packets_sent),
            packets_received: more(volume.packets_received, before.volume.packets_received),
        },
        failed: Failed {
            refused: more(failed.refused, before.failed.refused),
            unreachable: more(failed.unreachable, before.failed.unreachable),
            aborted: more(failed.aborted, before.failed.aborted),
            unanswered: more(failed.unanswered, before.failed.unanswered),
        },
        // When it began to gain is not known: at the last look or later.
        first_seen: row.last_seen,
        ..*row
    }
}

fn is_nothing(row: &LedgerRow) -> bool {
    row.attempts == 0 && row.flows == 0 && row.volume == Volume::default() && row.failed == Failed::default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::samples;

    /// A row of the edge to this port that has counted so many.
    fn row(port: u16, count: u64) -> (LedgerKey, LedgerRow) {
        let (key, row) = samples::row(count);
        let volume = Volume { bytes_sent: count * 10, ..Volume::default() };
        (LedgerKey { port, ..key }, LedgerRow { volume, ..row })
    }

    fn counts(rows: &[(LedgerKey, LedgerRow)]) -> Vec<(u16, u64, u64)> {
        rows.iter().map(|(key, row)| (key.port, row.attempts, row.volume.bytes_sent)).collect()
    }

    #[test]
    fn only_what_came_since_the_last_look_is_told() {
        let mut gains = Gains::default();
        assert_eq!(counts(&gains.look(&[row(1, 3), row(2, 1)])), [(1, 3, 30), (2, 1, 10)]);
        assert_eq!(counts(&gains.look(&[row(1, 3), row(2, 5)])), [(2, 4, 40)]);
        assert_eq!(counts(&gains.look(&[row(1, 3), row(2, 5)])), []);
    }

    #[test]
    fn a_row_whose_last_packet_came_before_its_first_by_a_coarser_clock_is_told_once() {
        let mut gains = Gains::default();
        let row = |count| {
            let (key, row) = row(1, count);
            (key, LedgerRow { first_seen: 7, last_seen: 5, ..row })
        };
        assert_eq!(counts(&gains.look(&[row(2)])), [(1, 2, 20)]);
        assert_eq!(counts(&gains.look(&[row(6)])), [(1, 4, 40)]);
    }

    #[test]
    fn a_row_that_goes_tells_its_last_gain_once_and_begins_anew_when_it_comes_again() {
        let mut gains = Gains::default();
        gains.look(&[row(1, 3)]);
        assert_eq!(counts(&gains.leave(&[row(1, 7)])), [(1, 4, 40)]);
        assert_eq!(counts(&gains.look(&[])), []);
        assert_eq!(counts(&gains.look(&[row(1, 2)])), [(1, 2, 20)]);
    }

    proptest! {
        #[test]
        fn what_is_told_adds_up_to_what_was_counted(
            // Steps of what is added to each of four rows, and which of them then leaves.
            steps in proptest::collection::vec((proptest::array::uniform4(0_u64..5), 0_usize..8), 1..20),
        ) {
            let (mut gains, mut there, mut counted, mut told) = (Gains::default(), [0_u64; 4], 0, 0);
            for (more, leaves) in steps {
                for (row, more) in there.iter_mut().zip(more) {
                    *row += more;
                    counted += more;
                }
                if let Some(count) = there.get_mut(leaves) {
                    let port = u16::try_from(leaves).unwrap();
                    told += gains.leave(&[row(port, *count)]).iter().map(|(_, row)| row.attempts).sum::<u64>();
                    *count = 0;
                }
                let rows: Vec<_> = (0..).zip(there).filter(|(_, count)| *count > 0).collect();
                let rows: Vec<_> = rows.into_iter().map(|(port, count)| row(port, count)).collect();
                told += gains.look(&rows).iter().map(|(_, row)| row.attempts).sum::<u64>();
            }
            prop_assert_eq!(told, counted);
        }
    }
}
