//! Runs of tests side by side.

use std::{
    num::NonZero,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Result, bail};

use crate::tally::Tally;

/// Does this for all items, for as many at a time as there are processors. Returns the sum.
///
/// # Errors
/// The first that some run ended with; what runs already comes to its end, and the thread that met it takes no more.
pub(crate) fn sum<T: Send>(items: Vec<T>, run: impl Fn(T) -> Result<Tally> + Sync) -> Result<Tally> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(items.len());
    let waiting = Mutex::new(items.into_iter());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        let mut tally = Tally::default();
        while let Some(item) = next() {
            tally += run(item)?;
        }
        Ok(tally)
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut tally = Tally::default();
        for worker in workers {
            tally += worker.join().unwrap_or_else(|_| bail!("a thread that runs tests panicked"))?;
        }
        Ok(tally)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_each_counts_once() {
        let tally = sum((0..100).collect(), |number| {
            Ok(if number % 10 == 0 { Tally::FAILED } else { Tally::PASSED })
        });
        assert_eq!(tally.unwrap(), Tally { passed: 90, failed: 10, skipped: 0 });
        assert_eq!(sum(Vec::<u32>::new(), |_| bail!("nothing")).unwrap(), Tally::default());
    }

    #[test]
    fn a_run_that_cannot_be_made_is_told() {
        let run = |number| if number == 7 { bail!("number 7") } else { Ok(Tally::PASSED) };
        assert_eq!(sum((0..10).collect(), run).unwrap_err().to_string(), "number 7");
    }
}
