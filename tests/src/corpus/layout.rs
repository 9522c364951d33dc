//! Which services there are, and who talks to whom: six projects of a kind, and what they share.

use std::sync::Arc;

use cofferdam::event::Workload;

use super::{
    chance::Chance,
    host::{Host, Link, Outside, Pace, Peer, Role, Service},
};

const PROJECTS: [&str; 6] = ["shop", "pay", "media", "desk", "fleet", "learn"];
/// Services of each project: name, role, image where it is not its own.
const EACH: [(&str, Role, Option<&str>); 7] = [
    ("web", Role::Web, None),
    ("api", Role::Api, None),
    ("worker", Role::Worker, None),
    ("cache", Role::Store, Some("redis:7")),
    ("db", Role::Store, Some("postgres:16")),
    ("standby", Role::Standby, Some("postgres:16")),
    ("queue", Role::Store, Some("rabbitmq:3")),
];
/// Services that all share.
const SHARED: [(&str, Role); 6] = [
    ("proxy", Role::Shared),
    ("metrics", Role::Shared),
    ("logs", Role::Shared),
    ("backup", Role::Shared),
    ("mail", Role::Shared),
    ("crawler", Role::Crawler),
];

impl Host {
    /// All services, with all that they usually do.
    pub(super) fn new(chance: &mut Chance, projects: usize) -> Self {
        let mut host = Self {
            services: Vec::new(),
            outside: Vec::new(),
            links: Vec::new(),
            busy: vec![1.0; projects + 1],
            itself: Arc::new(Workload::host()),
        };
        for (number, project) in PROJECTS.iter().take(projects).enumerate() {
            for (name, role, image) in EACH {
                host.service(chance, number, project, name, role, image);
            }
        }
        for (name, role) in SHARED {
            host.service(chance, projects, "infra", name, role, Some(name));
        }
        for project in 0..projects {
            host.project(chance, project);
        }
        host.shared(chance, projects);
        host
    }

    fn service(
        &mut self,
        chance: &mut Chance,
        project: usize,
        project_name: &str,
        name: &str,
        role: Role,
        image: Option<&str>,
    ) {
        let image = image.map_or_else(|| format!("{project_name}/{name}:1"), str::to_owned);
        // The same image has the same digest, whoever runs it.
        let known = self.services.iter().find(|service| service.image == image);
        let digest = known.map(|service| service.digest.clone());
        let digest = digest.unwrap_or_else(|| format!("sha256:{}", chance.hex(64)));
        let own = matches!(role, Role::Web | Role::Api | Role::Worker);
        let project_name = project_name.to_owned();
        let mut service = Service {
            project,
            project_name,
            name: name.to_owned(),
            image,
            digest,
            replicas: Vec::new(),
            own,
            role,
        };
        let replicas = if own { chance.between(1, 4) as usize } else { 1 };
        for number in 1..=replicas {
            let container = service.container(chance, number);
            service.replicas.push(container);
        }
        self.services.push(service);
    }

    fn find(&self, project: usize, name: &str) -> usize {
        self.services.iter().position(|one| one.project == project && one.name == name).unwrap_or_default()
    }

    /// A peer outside that nobody knows yet.
    pub(super) fn stranger(&mut self, chance: &mut Chance, named: bool) -> usize {
        // An address that somebody wrote down does not change.
        let many = if named { chance.between(1, 5) } else { 1 };
        let networks = (0..many).map(|_| network(chance)).collect();
        let names = if named { names(chance) } else { Vec::new() };
        self.outside.push(Outside { names, networks });
        self.outside.len() - 1
    }

    /// Adds a link that is always used.
    fn link(&mut self, from: usize, to: Peer, port: u16, pace: Pace, bytes: f64) -> &mut Link {
        let (spread, heavy) = (1.0, matches!(pace, Pace::Season(_)));
        self.links.push(Link {
            from,
            to,
            port,
            pace,
            bytes,
            spread,
            up: 0.3,
            heavy,
            since: 0,
            until: i64::MAX,
        });
        let last = self.links.len() - 1;
        &mut self.links[last]
    }

    fn project(&mut self, chance: &mut Chance, project: usize) {
        let of = |name: &str| self.find(project, name);
        let (web, api, worker, cache) = (of("web"), of("api"), of("worker"), of("cache"));
        let (db, standby, queue) = (of("db"), of("standby"), of("queue"));
        let often = chance.scale(10.0, 60.0);
        let size = chance.scale(20_000.0, 2_000_000.0);
        self.link(web, Peer::Service(api), 8080, Pace::Season(often), size);
        self.link(web, Peer::Service(cache), 6379, Pace::Season(often), size / 10.0);
        self.link(api, Peer::Service(db), 5432, Pace::Season(often), size / 3.0);
        self.link(api, Peer::Service(cache), 6379, Pace::Season(often), size / 20.0);
        self.link(api, Peer::Service(queue), 5672, Pace::Season(often / 2.0), size / 50.0);
        self.link(worker, Peer::Service(queue), 5672, Pace::Even(often / 2.0), size / 50.0);
        self.link(worker, Peer::Service(db), 5432, Pace::Season(often / 3.0), size);
        self.link(standby, Peer::Service(db), 5432, Pace::Even(20.0), size).spread = 0.5;
        // What is seldom: by the hour, the day and the week.
        let (minute, daily) = (chance.between(0, 60), chance.between(0, 1_440));
        let weekly = chance.between(0, 10_080);
        let outside: Vec<usize> = (0..6).map(|index| self.stranger(chance, index != 5)).collect();
        self.link(api, Peer::Outside(outside[0]), 443, Pace::Season(often / 3.0), size / 20.0);
        self.link(web, Peer::Outside(outside[1]), 443, Pace::Season(often / 5.0), size / 10.0);
        self.link(worker, Peer::Outside(outside[2]), 443, Pace::Hourly(minute), size * 2.0).heavy = true;
        self.link(worker, Peer::Outside(outside[3]), 443, Pace::Daily(daily), size * 30.0).up = 0.9;
        self.link(worker, Peer::Outside(outside[4]), 443, Pace::Weekly(weekly), size * 50.0);
        self.link(worker, Peer::Outside(outside[5]), 22, Pace::Daily((daily + 90) % 1_440), size);
        self.link(worker, Peer::Service(db), 5432, Pace::Daily((daily + 30) % 1_440), size * 300.0);
        self.link(worker, Peer::Service(api), 8080, Pace::Hourly((minute + 7) % 60), size);
    }

    fn shared(&mut self, chance: &mut Chance, projects: usize) {
        let of = |name: &str| self.find(projects, name);
        let (proxy, metrics, logs, backup) = (of("proxy"), of("metrics"), of("logs"), of("backup"));
        let (mail, storage) = (of("mail"), self.stranger(chance, true));
        let relay = self.stranger(chance, true);
        for index in 0..self.services.len() {
            let (project, role) = (self.services[index].project, self.services[index].role);
            if index != metrics {
                self.link(metrics, Peer::Service(index), 9100, Pace::Even(12.0), 60_000.0).spread = 0.2;
            }
            if index != logs && project < projects {
                self.link(index, Peer::Service(logs), 3100, Pace::Season(10.0), 100_000.0).up = 0.95;
            }
            match role {
                Role::Web => {
                    self.link(proxy, Peer::Service(index), 8080, Pace::Season(40.0), 500_000.0);
                }
                Role::Worker => {
                    self.link(index, Peer::Service(mail), 25, Pace::Season(4.0), 40_000.0);
                }
                _ => (),
            }
            if self.services[index].name == "db" {
                let at = 120 + 20 * project as i64;
                let size = chance.scale(3e8, 2e10);
                self.link(backup, Peer::Service(index), 5432, Pace::Daily(at), size).spread = 0.2;
                let sent = self.link(backup, Peer::Outside(storage), 443, Pace::Daily(at + 10), size / 3.0);
                (sent.spread, sent.up) = (0.2, 0.99);
                // And all of it once a week.
                let all =
                    self.link(backup, Peer::Outside(storage), 443, Pace::Weekly(at + 8_640), size * 2.0);
                (all.spread, all.up) = (0.2, 0.99);
            }
        }
        self.link(mail, Peer::Outside(relay), 587, Pace::Season(20.0), 80_000.0).up = 0.9;
    }
}

/// A network of the Internet, as far as that matters.
pub(super) fn network(chance: &mut Chance) -> [u8; 2] {
    [chance.between(20, 100) as u8, chance.between(0, 256) as u8]
}

/// Names below one domain.
pub(super) fn names(chance: &mut Chance) -> Vec<String> {
    let domain = domain(chance);
    let hosts = ["api", "www", "eu", "static"];
    let count = 1 + chance.index(hosts.len());
    let mut names: Vec<String> = hosts.iter().take(count).map(|host| format!("{host}.{domain}")).collect();
    if chance.happens(0.2) {
        // As networks of caches name their customers.
        names.extend((0..30).map(|_| format!("d{}.{domain}", chance.hex(13))));
    }
    names
}

/// A domain that somebody thought of.
pub(super) fn domain(chance: &mut Chance) -> String {
    const PARTS: [&str; 12] =
        ["acme", "blue", "cloud", "data", "fast", "hub", "lab", "net", "pixel", "soft", "tree", "works"];
    const ENDS: [&str; 6] = ["com", "io", "net", "org", "de", "co.uk"];
    let mut part = || PARTS[chance.index(PARTS.len())];
    let (first, second) = (part(), part());
    let end = ENDS[chance.index(ENDS.len())];
    format!("{first}{second}{}.{end}", chance.between(0, 100))
}
