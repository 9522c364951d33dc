//! DNS names, as far as they concern what is in force: whose answers are believed, and how long what was told counts.

use std::collections::HashMap;

use cofferdam_common::network::{Flow, FlowKey};

use super::InForce;
use crate::{attribution::Attribution, sensor::clock::Clock};

impl InForce {
    /// Finds out again whose answers are believed, and tells the kernel. Blocks.
    ///
    /// # Errors
    /// There is no room for more, or the map cannot be written.
    pub fn find_resolvers(&self, attribution: &Attribution) -> anyhow::Result<()> {
        let resolvers = self.lock().config.resolvers.clone();
        let (addresses, placed) = (resolvers.addresses(), attribution.placed());
        match &mut self.lock().sync {
            Some(sync) => sync.believe(&resolvers, &addresses, &placed),
            None => Ok(()),
        }
    }

    /// Forgets addresses that workloads were told by name, once they are not valid any more and no flow uses them, which
    /// `flows` tells.
    ///
    /// # Errors
    /// When a map cannot be read or written.
    pub fn forget_names(
        &self,
        flows: impl FnOnce() -> anyhow::Result<HashMap<FlowKey, Flow>>,
    ) -> anyhow::Result<()> {
        let now = Clock::now().monotonic();
        let stale = match &mut self.lock().sync {
            Some(sync) => sync.stale_names(now)?,
            None => Vec::new(),
        };
        if stale.is_empty() {
            return Ok(());
        }
        let flows = flows()?;
        match &mut self.lock().sync {
            Some(sync) => sync.forget_names(&stale, &flows, now),
            None => Ok(()),
        }
    }
}
