//! The attacks: who, when, and what a detector may see of it.

use std::{fmt, sync::Arc};

use cofferdam::event::{AlertKind, Scope, Workload, WorkloadKind};

use super::{
    DAY, Size,
    chance::Chance,
    changes::own_port,
    host::{Flow, Gained, Host, Outside, Peer, Role, answer, answers, edge},
    layout::{domain, network},
};

/// Which attack.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// A few other services are reached that never were.
    Lateral,
    /// Hundreds of hosts or ports within minutes.
    FastScan,
    /// One try each ten to forty minutes, for a day.
    SlowScan,
    /// Hundreds of megabytes leave within minutes.
    Burst,
    /// A few megabytes an hour leave, for days.
    Trickle,
    /// A sign of life each few minutes.
    Beacon,
    /// Data leaves in names.
    DnsTunnel,
    /// Names that a program makes up, of which there are none.
    GeneratedNames,
    /// A connection to a pool, for hours.
    Mining,
}

/// One attack, and what is known of it.
#[derive(Debug)]
pub struct Attack {
    /// Which.
    pub kind: Kind,
    /// The service from which it goes.
    pub source: String,
    /// First and last minute.
    pub begin: i64,
    /// Last minute.
    pub end: i64,
    /// How it was varied.
    pub how: String,
    service: usize,
    /// Minutes between two steps, and how far they are off at most.
    every: f64,
    off: f64,
    next: f64,
    step: usize,
    bytes: f64,
    goal: Goal,
}

#[derive(Debug)]
enum Goal {
    /// Services and ports of them.
    Inside(Vec<(usize, u16)>),
    /// Addresses of the host's network and ports.
    Addresses(Vec<(String, u16)>),
    /// A peer outside: its name where it has one, its address, and a port.
    Outside(Option<String>, String, u16),
    /// A peer that the service is used to.
    Known(usize),
    Domain(String),
}

/// All attacks of a corpus.
pub(super) struct Attacks {
    pub(super) all: Vec<Attack>,
}

impl Kind {
    /// All there are.
    pub const ALL: [Self; 9] = [
        Self::Lateral,
        Self::FastScan,
        Self::Burst,
        Self::DnsTunnel,
        Self::GeneratedNames,
        Self::SlowScan,
        Self::Trickle,
        Self::Beacon,
        Self::Mining,
    ];

    /// Whether it makes so much noise that nearly each must be noticed.
    #[must_use]
    pub fn is_loud(self) -> bool {
        matches!(self, Self::Lateral | Self::FastScan | Self::Burst | Self::DnsTunnel | Self::GeneratedNames)
    }

    /// Which alerts call it by its name.
    #[must_use]
    pub fn alerts(self) -> &'static [AlertKind] {
        match self {
            Self::Lateral => &[AlertKind::NewEdge, AlertKind::NewService, AlertKind::FanOut],
            Self::FastScan | Self::SlowScan => &[AlertKind::FanOut],
            Self::Burst | Self::Trickle => &[AlertKind::Exfiltration],
            Self::Beacon => &[AlertKind::Beacon],
            Self::DnsTunnel | Self::GeneratedNames => &[AlertKind::OddDns],
            Self::Mining => &[AlertKind::LongLived],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lateral => "lateral movement",
            Self::FastScan => "fast scan",
            Self::SlowScan => "slow scan",
            Self::Burst => "exfiltration, burst",
            Self::Trickle => "exfiltration, trickle",
            Self::Beacon => "beacon",
            Self::DnsTunnel => "DNS tunnel",
            Self::GeneratedNames => "generated names",
            Self::Mining => "mining pool",
        })
    }
}

impl Attacks {
    /// Plans so many of each kind within the last seven days, from a service each as far as there are enough.
    pub(super) fn plan(chance: &mut Chance, host: &Host, size: Size) -> Self {
        // From where backups go out by the gigabyte, nobody could tell.
        let able = |index: &usize| !["backup", "crawler"].contains(&host.services[*index].name.as_str());
        let mut sources: Vec<usize> = (0..host.services.len()).filter(able).collect();
        let crawler =
            host.services.iter().position(|service| service.role == Role::Crawler).unwrap_or_default();
        chance.shuffle(&mut sources);
        let mut turn = sources.iter().copied().cycle();
        let mut all = Vec::new();
        for kind in Kind::ALL {
            for number in 0..size.attacks {
                let roams = kind == Kind::Beacon && number == 3;
                let service = if roams { crawler } else { turn.next().unwrap_or_default() };
                let begin = (size.days - 7) * DAY + chance.between(0, 5 * DAY);
                all.push(Attack::plan(chance, host, kind, service, begin));
            }
        }
        Self { all }
    }

    /// Adds what they do within a minute.
    pub(super) fn minute(&mut self, chance: &mut Chance, host: &Host, minute: i64, gained: &mut Gained) {
        for attack in &mut self.all {
            while attack.begin <= minute && minute <= attack.end && attack.next <= minute as f64 {
                attack.go(chance, host, minute, gained);
                attack.step += 1;
                let off = chance.even(-attack.off, attack.off);
                attack.next += (attack.every * (1.0 + off)).max(0.001);
            }
        }
    }
}

impl Attack {
    fn plan(chance: &mut Chance, host: &Host, kind: Kind, service: usize, begin: i64) -> Self {
        let stranger = |chance: &mut Chance, port: u16| {
            let named = chance.happens(0.6);
            let address =
                Outside { names: Vec::new(), networks: vec![network(chance)] }.address(chance).to_string();
            Goal::Outside(named.then(|| format!("c2.{}", domain(chance))), address, port)
        };
        let leak = |chance: &mut Chance| {
            let known: Vec<usize> =
                host.links.iter().filter(|link| link.from == service).filter_map(outside).collect();
            let port = 443;
            match chance.pick(&known).copied() {
                Some(known) if chance.happens(0.35) => Goal::Known(known),
                _ => stranger(chance, port),
            }
        };
        let (lasts, every, off, bytes, goal) = match kind {
            Kind::Lateral => {
                let count = chance.between(1, 4) as usize;
                (30, 5.0, 0.5, chance.scale(1e3, 1e6), Goal::Inside(others(chance, host, service, count)))
            }
            Kind::FastScan => (chance.between(2, 12), 0.02, 0.5, 0.0, scan(chance, 400)),
            Kind::SlowScan => {
                (chance.between(900, 2_160), chance.even(10.0, 40.0), 0.5, 0.0, scan(chance, 400))
            }
            Kind::Burst => (chance.between(10, 40), 1.0, 0.3, chance.scale(1.5e8, 4e9), leak(chance)),
            Kind::Trickle => {
                (chance.between(1_440, 2_880), 10.0, 0.5, chance.scale(3e6, 1.5e7), leak(chance))
            }
            Kind::Beacon => (
                chance.between(720, 2_880),
                chance.even(4.0, 30.0),
                chance.even(0.0, 0.2),
                400.0,
                stranger(chance, 443),
            ),
            Kind::DnsTunnel => (
                chance.between(20, 60),
                1.0 / chance.even(10.0, 120.0),
                0.5,
                0.0,
                Goal::Domain(domain(chance)),
            ),
            Kind::GeneratedNames => {
                (chance.between(10, 40), 1.0 / chance.even(2.0, 20.0), 0.5, 0.0, Goal::Domain(String::new()))
            }
            Kind::Mining => (chance.between(360, 2_880), 1.0, 0.5, 300.0, stranger(chance, 3_333)),
        };
        let how = match &goal {
            Goal::Known(_) => "to a peer that it is used to".to_owned(),
            Goal::Outside(Some(name), ..) => format!("to {name}"),
            Goal::Outside(None, address, _) => format!("to {address}"),
            Goal::Inside(targets) => {
                let name = |(index, port): &(usize, u16)| {
                    let service = &host.services[*index];
                    format!("{}/{} {port}", service.project_name, service.name)
                };
                format!("to {}", targets.iter().map(name).collect::<Vec<_>>().join(", "))
            }
            Goal::Addresses(_) => format!("each {every:.1} minutes"),
            Goal::Domain(domain) => domain.clone(),
        };
        let one = &host.services[service];
        let source = format!("{}/{}", one.project_name, one.name);
        // So many bytes a burst in all, and so many an hour of a trickle.
        let bytes = match kind {
            Kind::Burst => bytes / lasts as f64,
            Kind::Trickle => bytes / 6.0,
            _ => bytes,
        };
        let next = begin as f64;
        Self { kind, source, begin, end: begin + lasts, how, service, every, off, next, step: 0, bytes, goal }
    }

    fn go(&self, chance: &mut Chance, host: &Host, minute: i64, gained: &mut Gained) {
        let Some(source) = host.services[self.service].replicas.first().cloned() else { return };
        let sent = chance.normal(self.bytes, 0.3) as u64;
        match &self.goal {
            Goal::Inside(targets) => {
                let (target, port) = targets[self.step % targets.len()];
                let Some(target) = chance.pick(&host.services[target].replicas).cloned() else { return };
                let denied = u64::from(chance.happens(0.2));
                let opened = 1 - denied;
                let flow =
                    Flow { attempts: opened, opened, denied, sent: sent * opened, received: sent * opened };
                gained.edges.push(edge(source, target, port, minute, &flow));
            }
            Goal::Addresses(all) => {
                let (address, port) = &all[self.step % all.len()];
                let target = Workload {
                    scope: Some(Scope::Private),
                    ..Workload::named(WorkloadKind::Outside, address.as_str())
                };
                let mut target = Arc::new(target);
                let mut flow = Flow { attempts: 1, opened: 0, denied: 0, sent: 0, received: 0 };
                // One in six is there, and one in five of these answers.
                if let Some(service) = chance.pick(&host.services).filter(|_| chance.happens(0.17)) {
                    target = service.replicas.first().cloned().unwrap_or(target);
                    flow.opened = u64::from(chance.happens(0.2));
                }
                if target.name != source.name {
                    gained.edges.push(edge(source, target, *port, minute, &flow));
                }
            }
            Goal::Outside(name, address, port) => {
                let target = Arc::new(Workload {
                    dns_name: name.clone(),
                    scope: Some(Scope::Public),
                    ..Workload::named(WorkloadKind::Outside, address.as_str())
                });
                if let Some(name) = name.as_deref().filter(|_| self.step == 0) {
                    answers(&source, name, address, gained);
                }
                let begun = u64::from(self.kind != Kind::Mining || self.step == 0);
                let flow =
                    Flow { attempts: begun, opened: begun, denied: 0, sent, received: 200 + sent / 100 };
                gained.edges.push(edge(source, target, *port, minute, &flow));
            }
            Goal::Known(index) => {
                let target = host.outside[*index].workload(chance);
                let flow = Flow { attempts: 1, opened: 1, denied: 0, sent, received: 200 + sent / 100 };
                gained.edges.push(edge(source, target, 443, minute, &flow));
            }
            Goal::Domain(domain) if !domain.is_empty() => {
                let length = chance.between(28, 60) as usize;
                let data = chance.word("abcdefghijklmnopqrstuvwxyz234567", length);
                gained.answers.push(answer(&source, &format!("{data}.t.{domain}"), "TXT", None));
            }
            Goal::Domain(_) => {
                let length = chance.between(9, 17) as usize;
                let name = chance.word("abcdefghijklmnopqrstuvwxyz", length);
                gained.answers.push(answer(&source, &format!("{name}.com"), "A", None));
            }
        }
    }
}

fn outside(link: &super::host::Link) -> Option<usize> {
    match link.to {
        Peer::Outside(index) => Some(index),
        Peer::Service(_) => None,
    }
}

/// Services that one never talks to, at the port where they serve or at that of a shell.
fn others(chance: &mut Chance, host: &Host, from: usize, count: usize) -> Vec<(usize, u16)> {
    let knows = |to: usize| host.links.iter().any(|link| link.from == from && link.to == Peer::Service(to));
    let all = (0..host.services.len()).filter(|to| *to != from);
    let (mut strange, known): (Vec<usize>, Vec<usize>) = all.partition(|to| !knows(*to));
    // Whoever talks to all services anyway does so at another port.
    let shell = strange.is_empty();
    if shell {
        strange = known;
    }
    chance.shuffle(&mut strange);
    let port =
        |chance: &mut Chance, to: usize| if shell || chance.happens(0.3) { 22 } else { own_port(host, to) };
    strange.into_iter().take(count).map(|to| (to, port(chance, to))).collect()
}

/// Addresses of the networks of containers with one port, or a few with many.
fn scan(chance: &mut Chance, count: usize) -> Goal {
    let ports = [22, 80, 443, 2_375, 3_306, 5_432, 6_379, 8_080, 9_200, 27_017];
    let wide = chance.happens(0.5);
    let port = ports[chance.index(ports.len())];
    let mut one = |number: usize| {
        let host = if wide { 2 + number % 250 } else { 2 + number % 4 };
        let third = if wide { number / 250 } else { 0 };
        let port = if wide { port } else { ports[number / 4 % ports.len()] + (number / 40) as u16 };
        (format!("172.20.{third}.{host}"), port)
    };
    let mut all: Vec<_> = (0..count).map(&mut one).collect();
    chance.shuffle(&mut all);
    Goal::Addresses(all)
}
