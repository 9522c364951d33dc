//! What policies need: who lives where and when that changes, whose addresses are whose, and what rules are called.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, PoisonError},
    time::Duration,
};

use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{LedgerKey, LedgerRow, Party},
};

use super::{Attribution, Canary, Home, Networked, Placed, RuntimeStatus, lock};
use crate::event::RuleName;

impl Attribution {
    /// Every cgroup that exists and that the kernel needs to know, and who lives there.
    #[must_use]
    pub fn placed(&self) -> Vec<Placed> {
        let heard = self.runtimes();
        let may_tell = |runtime, user| {
            let of = |status: &&RuntimeStatus| status.runtime == runtime && status.user == user;
            heard.iter().filter(of).any(RuntimeStatus::may_tell)
        };
        self.tables().placed(may_tell)
    }

    /// Whether it is known of everybody who is here who he is, as far as rules can ask.
    #[must_use]
    pub fn knows_everybody(&self) -> bool {
        self.placed().iter().all(|placed| placed.told)
    }

    /// Every container that runs.
    #[must_use]
    pub fn networked(&self) -> Vec<Networked> {
        self.tables().networked()
    }

    /// Every container of which no runtime has told yet by which process its network is found, and what it is called.
    #[must_use]
    pub fn untold(&self) -> Vec<(Home, Arc<str>)> {
        self.tables().untold(&self.cgroup_root)
    }

    /// These are the daemon's own workloads, and no others.
    pub fn set_canaries(&self, canaries: Vec<Canary>) {
        self.tables_mut().set_canaries(canaries);
        self.change();
    }

    /// The daemon's own workloads.
    #[must_use]
    pub fn networked_canaries(&self) -> Vec<Networked> {
        self.tables().networked_canaries()
    }

    /// Leaves out the rows of the ledger that are about the daemon's own workloads.
    pub fn without_canaries(&self, rows: &mut Vec<(LedgerKey, LedgerRow)>) {
        let tables = self.tables();
        let is_canarys = |party: &Party| tables.is_canary(party.cgroup);
        rows.retain(|(key, _)| !is_canarys(&key.source) && !is_canarys(&key.target));
    }

    /// Where the processes are of whoever lives in a cgroup; `None` where that is not known.
    #[must_use]
    pub fn home(&self, cgroup: CgroupId) -> Option<Home> {
        self.tables().home(cgroup, &self.cgroup_root)
    }

    /// Whose address each of this host's is; the root's where only a socket can tell.
    #[must_use]
    pub fn owners_of_addresses(&self) -> HashMap<Address, CgroupId> {
        self.tables().owners_of_addresses()
    }

    /// Waits until who lives here, or what is known of him, has changed since this returned last.
    pub fn wait_for_change(&self, longest: Duration) {
        let (changed, condition) = &self.changed;
        let waited = condition.wait_timeout_while(lock(changed), longest, |changed| !*changed);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Something has changed.
    pub(super) fn change(&self) {
        *lock(&self.changed.0) = true;
        self.changed.1.notify_one();
    }

    /// Rules have these numbers from now on. What those before have denied may be told only now: of them, those that are not
    /// among these are known until this is said again.
    pub fn name_rules(&self, rules: HashMap<u32, Arc<RuleName>>) {
        let mut known = self.rules.write().unwrap_or_else(PoisonError::into_inner);
        let [now, before] = &mut *known;
        *before = mem::replace(now, rules);
    }

    /// The rule that the kernel knows by a number.
    #[must_use]
    pub fn rule(&self, number: u32) -> Option<Arc<RuleName>> {
        let known = self.rules.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().find_map(|rules| rules.get(&number)).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_the_policies_before_is_still_known_and_none_of_those_before_them() {
        let attribution = Attribution::new("/nonexistent".into());
        let rule = |name: &str| Arc::new(RuleName { name: name.to_owned(), file: String::new(), line: 1 });
        let known = || [1, 2].map(|number| attribution.rule(number).map(|rule| rule.name.clone()));
        attribution.name_rules([(1, rule("a#1"))].into());
        attribution.name_rules([(1, rule("a#2")), (2, rule("b#1"))].into());
        assert_eq!(known(), [Some("a#2".to_owned()), Some("b#1".to_owned())]);
        attribution.name_rules([(3, rule("c#1"))].into());
        assert_eq!(known(), [Some("a#2".to_owned()), Some("b#1".to_owned())]);
        attribution.name_rules([(3, rule("c#1"))].into());
        assert_eq!(known(), [None, None]);
    }
}
