//! DNS names, as far as they concern what is in force: whose answers are believed, and how long what was told counts.

use std::{collections::HashMap, net::IpAddr};

use cofferdam_common::network::{Flow, FlowKey};

use super::{InForce, Sync};
use crate::{
    attribution::{Attribution, Placed},
    config::Resolvers,
    sensor::clock::Clock,
};

impl InForce {
    /// Looks up again which resolvers are believed. Blocks.
    pub fn find_resolvers(&self) {
        let resolvers = self.lock().config.resolvers.clone();
        let addresses = resolvers.addresses();
        self.lock().resolvers = addresses;
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

impl Sync {
    /// Says whose answers are believed, and takes in what workloads were told by them. Returns how many answers there was no
    /// room for, too.
    pub(super) fn hear_all(
        &mut self,
        resolvers: &Resolvers,
        addresses: &[IpAddr],
        placed: &[Placed],
        attribution: &Attribution,
    ) -> (anyhow::Result<()>, u64) {
        let believed = self.believe(resolvers, addresses, placed);
        let (told, untold) = attribution.take_told();
        self.hear(&told, Clock::now().monotonic());
        (believed, untold)
    }
}
