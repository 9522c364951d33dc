//! Upkeep: everything that has to read from the system while the daemon runs, away from the data path.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use super::Attribution;

/// How often the host's addresses are read.
const ADDRESSES_EVERY: Duration = Duration::from_secs(10);
/// Every how many readings of addresses the tree is walked and processes are swept: repairs what lost records left.
const WALK_EVERY: u32 = 6;
/// Least time between two rounds, however many unknown cgroups turn up.
const REST: Duration = Duration::from_secs(1);

/// Keeps the tables true until `cancel`: reads the host's addresses, looks for cgroups that turned up unknown, and
/// clears away what ended without being heard.
pub async fn keep(attribution: Arc<Attribution>, cancel: CancellationToken) {
    let mut ticks = interval(ADDRESSES_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut round = 0u32;
    loop {
        let whole = tokio::select! {
            () = cancel.cancelled() => return,
            () = attribution.wake.notified() => false,
            _ = ticks.tick() => {
                round = round.wrapping_add(1);
                round.is_multiple_of(WALK_EVERY)
            }
        };
        let state = Arc::clone(&attribution);
        if let Err(error) = tokio::task::spawn_blocking(move || state.refresh(whole)).await {
            tracing::warn!(%error, "upkeep of the attribution tables failed");
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            () = sleep(REST) => {}
        }
    }
}
