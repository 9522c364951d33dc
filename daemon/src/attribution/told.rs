//! What workloads were told by resolvers that are believed, until the policies take it in.

use std::{mem, sync::Arc};

use cofferdam_common::ids::{Address, CgroupId};

use super::{Attribution, dns::Answer, lock};

/// Most answers that wait.
const LIMIT: usize = 16_384;

/// An answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Told {
    /// Whose identity the asker has: a container's own cgroup, or else the asker's.
    pub owner: CgroupId,
    /// What was asked for.
    pub name: Arc<str>,
    /// Where that is.
    pub addresses: Vec<Address>,
    /// For how long, in seconds.
    pub ttl: u32,
}

/// Those that wait.
#[derive(Default)]
pub(super) struct Waiting {
    answers: Vec<Told>,
    missed: u64,
}

impl Attribution {
    /// A workload was told this by a resolver that is believed.
    pub(super) fn was_told(&self, asker: CgroupId, answer: &Answer) {
        if answer.addresses.is_empty() {
            return;
        }
        let owner = self.container_of(asker).unwrap_or(asker);
        let mut waiting = lock(&self.told);
        if waiting.answers.len() >= LIMIT {
            waiting.missed += 1;
            return;
        }
        waiting.answers.push(Told {
            owner,
            name: answer.name.as_str().into(),
            addresses: answer.addresses.iter().copied().map(Address::from).collect(),
            ttl: answer.ttl,
        });
    }

    /// What workloads were told since this was asked last, and how many answers there was no room for in all.
    #[must_use]
    pub fn take_told(&self) -> (Vec<Told>, u64) {
        let mut waiting = lock(&self.told);
        (mem::take(&mut waiting.answers), waiting.missed)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn what_nobody_takes_is_bounded_and_counted() {
        let attribution = Attribution::new("/nonexistent".into());
        let address: IpAddr = [203, 0, 113, 7].into();
        let answer = Answer {
            name: "api.example".to_owned(),
            record_type: "A".to_owned(),
            addresses: vec![address],
            ttl: 5,
        };
        for _ in 0..LIMIT + 3 {
            attribution.was_told(CgroupId(7), &answer);
        }
        attribution.was_told(CgroupId(7), &Answer { addresses: Vec::new(), ..answer });
        let (told, missed) = attribution.take_told();
        assert_eq!((told.len(), missed), (LIMIT, 3));
        assert_eq!((told[0].owner, &*told[0].name, told[0].ttl), (CgroupId(7), "api.example", 5));
        assert_eq!(attribution.take_told(), (Vec::new(), 3));
    }
}
