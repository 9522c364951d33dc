//! The host: its services with their replicas, the peers outside, and who talks to whom how.

use std::{net::Ipv4Addr, sync::Arc};

use cofferdam::{
    event::{DnsAnswer, Endpoint, Protocol, Runtime, Scope, Workload, WorkloadKind},
    interaction::{Edge, Failed, Verdicts},
};
use jiff::Timestamp;

use super::{at, chance::Chance};

/// What a minute brought.
#[derive(Default)]
pub(super) struct Gained {
    pub(super) edges: Vec<Edge>,
    pub(super) answers: Vec<DnsAnswer>,
}

/// All that there is.
pub(super) struct Host {
    pub(super) services: Vec<Service>,
    pub(super) outside: Vec<Outside>,
    pub(super) links: Vec<Link>,
    /// How busy each project is besides the season: a crowd, or growth.
    pub(super) busy: Vec<f64>,
    pub(super) itself: Arc<Workload>,
}

/// A service of a compose project.
pub(super) struct Service {
    pub(super) project: usize,
    pub(super) project_name: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) digest: String,
    /// The containers that run.
    pub(super) replicas: Vec<Arc<Workload>>,
    /// Whether its own people build its image.
    pub(super) own: bool,
    pub(super) role: Role,
}

/// What a service does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Web,
    Api,
    Worker,
    Store,
    Standby,
    Shared,
    Crawler,
}

/// A peer outside.
pub(super) struct Outside {
    /// Its names; none where only addresses are used.
    pub(super) names: Vec<String>,
    /// Networks in which its addresses are.
    pub(super) networks: Vec<[u8; 2]>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Peer {
    Service(usize),
    Outside(usize),
}

/// Who talks to whom, how often and how much.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) from: usize,
    pub(super) to: Peer,
    pub(super) port: u16,
    pub(super) pace: Pace,
    /// Bytes each time: the median, how much they spread, and which part of them is sent.
    pub(super) bytes: f64,
    pub(super) spread: f64,
    pub(super) up: f64,
    /// Whether some of it is far larger than the rest.
    pub(super) heavy: bool,
    pub(super) since: i64,
    pub(super) until: i64,
}

/// When a link is used.
#[derive(Clone, Copy)]
pub(super) enum Pace {
    /// So often an hour in the middle of a working day.
    Season(f64),
    /// So often an hour, day and night.
    Even(f64),
    /// At this minute of the hour.
    Hourly(i64),
    /// At this minute of the day.
    Daily(i64),
    /// At this minute of the week.
    Weekly(i64),
}

/// What went over a link.
pub(super) struct Flow {
    pub(super) attempts: u64,
    pub(super) opened: u64,
    pub(super) denied: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
}

impl Service {
    /// A container of it.
    pub(super) fn container(&self, chance: &mut Chance, number: usize) -> Arc<Workload> {
        Arc::new(Workload {
            runtime: Some(Runtime::Docker),
            id: Some(chance.hex(64)),
            image: Some(self.image.clone()),
            image_digest: Some(self.digest.clone()),
            container_name: Some(format!("{}-{}-{number}", self.project_name, self.name)),
            project: Some(self.project_name.clone()),
            service: Some(self.name.clone()),
            ..Workload::named(WorkloadKind::Container, format!("{}/{}", self.project_name, self.name))
        })
    }

    /// Makes all its containers anew.
    pub(super) fn recreate(&mut self, chance: &mut Chance) {
        for number in 0..self.replicas.len() {
            self.replicas[number] = self.container(chance, number + 1);
        }
    }
}

impl Outside {
    /// One of its addresses.
    pub(super) fn address(&self, chance: &mut Chance) -> Ipv4Addr {
        let [a, b] = chance.pick(&self.networks).copied().unwrap_or([203, 0]);
        Ipv4Addr::new(a, b, chance.between(1, 9) as u8 * 16, chance.between(1, 250) as u8)
    }

    /// It, as the daemon names it.
    pub(super) fn workload(&self, chance: &mut Chance) -> Arc<Workload> {
        let address = self.address(chance).to_string();
        let dns_name = chance.pick(&self.names).cloned();
        Arc::new(Workload {
            dns_name,
            scope: Some(Scope::Public),
            ..Workload::named(WorkloadKind::Outside, address)
        })
    }
}

impl Host {
    /// What happens within a minute when nobody attacks.
    pub(super) fn minute(&self, chance: &mut Chance, minute: i64) -> Gained {
        let mut gained = Gained::default();
        for link in &self.links {
            if link.is_due(chance, minute, self.busy[self.services[link.from].project]) {
                self.use_link(chance, link, minute, &mut gained);
            }
        }
        self.wander(chance, minute, &mut gained);
        gained
    }

    fn use_link(&self, chance: &mut Chance, link: &Link, minute: i64, gained: &mut Gained) {
        let Some(source) = chance.pick(&self.services[link.from].replicas).cloned() else { return };
        let mut bytes = chance.normal(link.bytes, link.spread);
        if link.heavy && chance.happens(0.02) {
            bytes = chance.pareto(link.bytes * 5.0, 1.3);
        }
        let attempts = chance.between(1, 6) as u64;
        // Now and then one fails.
        let opened = attempts - u64::from(chance.happens(0.005));
        let sent = (bytes * link.up) as u64;
        let flow =
            Flow { attempts, opened, denied: 0, sent, received: bytes as u64 - sent.min(bytes as u64) };
        let target = match link.to {
            Peer::Service(index) => chance.pick(&self.services[index].replicas).cloned(),
            Peer::Outside(index) => {
                let target = self.outside[index].workload(chance);
                if let Some(name) = target.dns_name.as_deref().filter(|_| chance.happens(0.3)) {
                    answers(&source, name, &target.name, gained);
                }
                Some(target)
            }
        };
        if let Some(target) = target {
            gained.edges.push(edge(source, target, link.port, minute, &flow));
        }
    }
}

impl Link {
    fn is_due(&self, chance: &mut Chance, minute: i64, busy: f64) -> bool {
        if minute < self.since || minute >= self.until {
            return false;
        }
        match self.pace {
            Pace::Season(often) => chance.happens(often / 60.0 * season(minute) * busy),
            Pace::Even(often) => chance.happens(often / 60.0),
            Pace::Hourly(at) => minute % 60 == at,
            Pace::Daily(at) => minute % 1_440 == at,
            Pace::Weekly(at) => minute % 10_080 == at,
        }
    }
}

/// How busy people are: by day and night, and less at the end of the week.
fn season(minute: i64) -> f64 {
    let hour = (minute % 1_440) as f64 / 60.0;
    let day = 0.1 + 0.9 * (0.5 - 0.5 * ((hour - 2.0) / 24.0 * std::f64::consts::TAU).cos()).powi(2);
    if (minute / 1_440) % 7 >= 5 { day * 0.4 } else { day }
}

/// An edge that gained something.
pub(super) fn edge(
    source: Arc<Workload>,
    target: Arc<Workload>,
    port: u16,
    minute: i64,
    flow: &Flow,
) -> Edge {
    let now: Timestamp = at(minute);
    Edge {
        source,
        target,
        protocol: Protocol::Tcp,
        port,
        via: None,
        flows: flow.opened,
        attempts: flow.attempts,
        bytes_sent: flow.sent,
        bytes_received: flow.received,
        packets_sent: flow.attempts + flow.sent / 1_400,
        packets_received: if flow.received > 0 { 1 + flow.received / 1_400 } else { 0 },
        failed: Failed { refused: flow.attempts - flow.opened, ..Failed::default() },
        verdicts: Verdicts { allow: flow.attempts, audit: 0, deny: flow.denied },
        first_seen: now,
        last_seen: now,
        last_denied: (flow.denied > 0).then_some(now),
    }
}

/// What a resolver says of a name: an address, and none of the other kind.
pub(super) fn answers(workload: &Arc<Workload>, name: &str, address: &str, gained: &mut Gained) {
    for (record_type, address) in [("A", Some(address)), ("AAAA", None)] {
        gained.answers.push(answer(workload, name, record_type, address));
    }
}

/// What a resolver says.
pub(super) fn answer(
    workload: &Arc<Workload>,
    name: &str,
    record_type: &str,
    address: Option<&str>,
) -> DnsAnswer {
    let resolver = Arc::new(Workload {
        scope: Some(Scope::Private),
        ..Workload::named(WorkloadKind::Outside, "10.0.0.2")
    });
    DnsAnswer {
        workload: Arc::clone(workload),
        resolver: Endpoint { workload: resolver, address: Ipv4Addr::new(10, 0, 0, 2).into(), port: 53 },
        name: Some(name.to_owned()),
        record_type: Some(record_type.to_owned()),
        addresses: address.and_then(|address| address.parse().ok()).into_iter().collect(),
        truncated: false,
    }
}
