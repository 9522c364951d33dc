//! Puts verdicts into the kernel's maps, as a daemon would.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use cofferdam::sensor::{Sensor, record::Record};
use cofferdam_common::{
    ids::{Address, CgroupId},
    network::{LedgerRow, VERDICT_DENY},
    policy::{INGRESS, Identity, Interval, PairKey, Resident, Span, Subject, VerdictRecord, why},
};

use nix::net::if_::if_nametoindex;

use super::bridge::Container;
use crate::node::{Cgroup, Node};

pub(super) const WEB: Identity = Identity(4);
pub(super) const DB: Identity = Identity(5);
/// How long a packet gets that shall not arrive.
pub(super) const WHILE: Duration = Duration::from_millis(300);
pub(super) const RULE: u32 = 77;

pub(super) fn v4(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(198, 18, 0, last), port))
}

pub(super) fn v6(last: u16, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv6Addr::new(0xfd00, 0xc0ff, 0xd, 0, 0, 0, 0, last), port))
}

pub(super) fn mapped(address: SocketAddr) -> Address {
    address.ip().into()
}

/// Addresses of a namespace in which two containers could be.
pub(super) const ADDRESSES: [&str; 4] =
    ["198.18.0.1/32", "198.18.0.2/32", "fd00:c0ff:d::1/128", "fd00:c0ff:d::2/128"];

/// The verdict on everything that `DB` receives, which is the only one that any rule selects.
pub(super) struct Judge<'a> {
    pub(super) node: &'a mut Node,
}

impl<'a> Judge<'a> {
    /// Puts two cgroups under a policy in which everything is allowed.
    pub(super) fn new(node: &'a mut Node, web: &Cgroup, db: &Cgroup) -> Self {
        node.loaded.sensor.need("policy", true);
        let mut judge = Self { node };
        judge.place(web, WEB, false);
        judge.place(db, DB, false);
        judge
    }

    /// Somebody whose frames are judged at a link of his own.
    pub(super) fn place(&mut self, cgroup: &Cgroup, identity: Identity, owns_below: bool) {
        self.settle(cgroup, identity, owns_below, true);
    }

    /// Somebody without such a link, who also has all cgroups inside his.
    pub(super) fn place_without_link(&mut self, cgroup: &Cgroup, identity: Identity) {
        self.settle(cgroup, identity, true, false);
    }

    fn settle(&mut self, cgroup: &Cgroup, identity: Identity, owns_below: bool, covered: bool) {
        let (owns_below, covered) = (owns_below.into(), covered.into());
        let resident = Resident { identities: [identity; 2], owns_below, covered };
        self.node.loaded.policy.set_resident(cgroup.id, resident).expect("a resident");
    }

    pub(super) fn address(&mut self, owners: &[(SocketAddr, &Cgroup)]) {
        let owners = owners.iter().map(|(address, cgroup)| (mapped(*address), cgroup.id)).collect();
        self.node.loaded.policy.set_addresses(&owners).expect("addresses");
    }

    /// From here on this is said of what `DB` receives, from `WEB` or, if `of` is none, from anybody.
    pub(super) fn says(&mut self, of: Option<Identity>, verdict: u8) {
        self.says_by(of, verdict, RULE);
    }

    /// The same by another rule.
    pub(super) fn says_by(&mut self, of: Option<Identity>, verdict: u8, rule: u32) {
        let maps = &mut self.node.loaded.policy;
        let slot = maps.next_slot();
        maps.clear(slot).expect("a slot");
        let interval = Interval { first: 0, rule, verdict, why: why::RULE, padding: 0 };
        let forged = Interval { rule: 0, why: why::FORGED, ..interval };
        maps.set_intervals(slot, 0, &[interval, forged]).expect("intervals");
        let span = Span { start: 0, length: 1 };
        let mut subject = Subject::default();
        if let Some(peer) = of {
            subject.pairs[usize::from(INGRESS)] = 1;
            let key = PairKey { subject: DB, peer, direction: INGRESS, slot, padding: 0 };
            maps.set_pair(key, span).expect("a pair");
        } else {
            subject.any[usize::from(INGRESS)] = span;
        }
        maps.set_subject(slot, DB, subject).expect("a subject");
        let forger = Subject { any: [Span { start: 1, length: 1 }; 2], pairs: [0; 2] };
        maps.set_subject(slot, Identity::FORGED, forger).expect("a subject");
        for other in [Identity::UNRESOLVED, Identity::NOBODY, WEB] {
            maps.set_subject(slot, other, Subject::default()).expect("a subject");
        }
        maps.activate().expect("a generation");
    }

    /// From here on this is said of all that an identity sends.
    pub(super) fn says_of_sending(&mut self, subject: Identity, verdict: u8) {
        let maps = &mut self.node.loaded.policy;
        let slot = maps.next_slot();
        maps.clear(slot).expect("a slot");
        let interval = Interval { first: 0, rule: RULE, verdict, why: why::RULE, padding: 0 };
        maps.set_intervals(slot, 0, &[interval]).expect("an interval");
        let any = [Span { start: 0, length: 1 }, Span::default()];
        for other in [Identity::UNRESOLVED, Identity::NOBODY, WEB, DB] {
            maps.set_subject(slot, other, Subject::default()).expect("a subject");
        }
        maps.set_subject(slot, subject, Subject { any, pairs: [0; 2] }).expect("a subject");
        maps.activate().expect("a generation");
    }

    /// Has the link of a container be judged, at its end in the network namespace that this is called in.
    pub(super) fn covers(&mut self, link: &str, owner: CgroupId) {
        cover(&self.node.loaded.sensor, link, owner).expect("it is attached");
    }

    /// From here on all that judges goes on should the sensor end, also at the links of these.
    pub(super) fn stays(&mut self, at: &[(&Container, &Cgroup)]) {
        let sensor = &self.node.loaded.sensor;
        sensor.stay(true).expect("it stays");
        for (container, cgroup) in at {
            let link = container.link();
            sensor.uncover(index(&link)).expect("it is uncovered");
            cover(sensor, &link, cgroup.id).expect("it is attached");
        }
    }

    /// From here on a link is this one's.
    pub(super) fn owns(&mut self, link: &str, owner: CgroupId) {
        self.node.loaded.sensor.set_owner(index(link), owner).expect("an owner");
    }

    /// What is said of cgroups of which nobody knows who lives there.
    pub(super) fn says_of_unresolved(&mut self, verdict: u8) {
        let maps = &mut self.node.loaded.policy;
        let slot = maps.next_slot();
        maps.clear(slot).expect("a slot");
        let interval = Interval { first: 0, rule: 0, verdict, why: why::UNRESOLVED, padding: 0 };
        maps.set_intervals(slot, 0, &[interval]).expect("an interval");
        let span = Span { start: 0, length: 1 };
        for known in [Identity::NOBODY, WEB, DB] {
            maps.set_subject(slot, known, Subject::default()).expect("a subject");
        }
        let unresolved = Subject { any: [span; 2], pairs: [0; 2] };
        maps.set_subject(slot, Identity::UNRESOLVED, unresolved).expect("a subject");
        maps.activate().expect("a generation");
    }

    pub(super) fn verdict(&mut self, port: u16) -> VerdictRecord {
        self.node.record(|record| match record {
            Record::Verdict(verdict) if verdict.port == port => Some(**verdict),
            _ => None,
        })
    }

    pub(super) fn denied(&self, source: &Cgroup) -> Vec<LedgerRow> {
        let rows = self.node.rows(|key| key.source.cgroup == source.id && key.verdict == VERDICT_DENY);
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// Has a link of this network namespace be judged, as somebody's.
pub(super) fn cover(sensor: &Sensor, link: &str, owner: CgroupId) -> anyhow::Result<()> {
    sensor.cover(index(link), link)?;
    sensor.set_owner(index(link), owner)
}

pub(super) fn index(link: &str) -> u32 {
    if_nametoindex(link).expect("a link")
}

/// What a receiver got within a moment.
pub(super) fn got(receiver: &UdpSocket) -> Option<usize> {
    receiver.set_read_timeout(Some(WHILE)).expect("a limit");
    receiver.recv(&mut [0; 100]).ok()
}
