//! Random Compose files, judged as Docker's networks work, and by the policies that come of them.

use std::{collections::BTreeSet, net::IpAddr};

use cofferdam_common::policy::Identity;
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::{Judge, file, options};
use crate::{
    event::{Workload, WorkloadKind},
    policy::{import::import, samples},
};

const SETS: u64 = 250;
const PACKETS: usize = 100;
const NETWORKS: [&str; 3] = ["default", "front", "back"];
const PORTS: [u16; 4] = [53, 80, 81, 443];

/// A service.
#[derive(Clone, Debug)]
struct Service {
    place: Place,
    /// Ports of the container, and whether only the host comes in.
    ports: Vec<(u16, bool)>,
}

#[derive(Clone, Debug)]
enum Place {
    Host,
    None,
    With(usize),
    On(BTreeSet<usize>),
}

#[derive(Clone, Copy, Debug)]
enum End {
    Service(usize),
    Outside(IpAddr),
    Host,
    Dockerd,
    /// A container that is in no file.
    Stranger,
}

struct Scene {
    internal: [bool; 3],
    services: Vec<Service>,
}

impl Scene {
    fn new(rng: &mut Rng) -> Self {
        let count = rng.usize(1..=5);
        let service = |rng: &mut Rng, number: usize| {
            let place = match rng.u8(0..8) {
                0 => Place::Host,
                1 => Place::None,
                2 if number > 0 => Place::With(rng.usize(..number)),
                _ => Place::On((0..3).filter(|_| rng.bool()).collect()),
            };
            let shares = matches!(place, Place::With(_));
            let ports =
                (0..rng.usize(0..3)).filter(|_| !shares).map(|_| (*rng.choice(&PORTS).unwrap(), rng.bool()));
            Service { place, ports: ports.collect() }
        };
        let mut services: Vec<Service> = Vec::new();
        for number in 0..count {
            services.push(service(rng, number));
        }
        Self { internal: [(); 3].map(|()| rng.bool()), services }
    }

    fn text(&self) -> String {
        let mut services = Map::new();
        for (number, service) in self.services.iter().enumerate() {
            let mut written = match &service.place {
                Place::Host => json!({"network_mode": "host"}),
                Place::None => json!({"network_mode": "none"}),
                Place::With(other) => json!({"network_mode": format!("service:s{other}")}),
                Place::On(networks) => {
                    json!({"networks": networks.iter().map(|it| NETWORKS[*it]).collect::<Vec<_>>()})
                }
            };
            let port = |(port, loopback): &(u16, bool)| {
                if *loopback { format!("127.0.0.1:{port}:{port}") } else { format!("1{port}:{port}") }
            };
            written["ports"] = service.ports.iter().map(port).collect();
            services.insert(format!("s{number}"), written);
        }
        let networks = NETWORKS.iter().zip(self.internal);
        let networks: Map<_, _> =
            networks.map(|(name, internal)| ((*name).to_owned(), json!({ "internal": internal }))).collect();
        Value::from_iter([("services", Value::Object(services)), ("networks", Value::Object(networks))])
            .to_string()
    }

    /// Whose network a service has.
    fn root(&self, number: usize) -> usize {
        match self.services[number].place {
            Place::With(other) => self.root(other),
            _ => number,
        }
    }

    fn networks(&self, number: usize) -> BTreeSet<usize> {
        match &self.services[self.root(number)].place {
            // Compose puts who names none on the default one.
            Place::On(networks) if networks.is_empty() => [0].into(),
            Place::On(networks) => networks.clone(),
            _ => BTreeSet::new(),
        }
    }

    fn on_host(&self, number: usize) -> bool {
        matches!(self.services[self.root(number)].place, Place::Host)
    }

    fn leads_outside(&self, number: usize) -> bool {
        self.networks(number).iter().any(|network| !self.internal[*network])
    }

    fn interact(&self, one: usize, other: usize) -> bool {
        self.root(one) == self.root(other) || !self.networks(one).is_disjoint(&self.networks(other))
    }

    fn passes(&self, source: End, target: End, (protocol, port): (u8, u16)) -> bool {
        let sends = match source {
            End::Service(from) if self.on_host(from) => true,
            End::Service(from) => match target {
                End::Service(to) => self.interact(from, to),
                End::Outside(_) | End::Host => self.leads_outside(from),
                End::Dockerd => {
                    let asks = port == 53 && (protocol == 6 || protocol == 17);
                    self.leads_outside(from) || (asks && !self.networks(from).is_empty())
                }
                End::Stranger => false,
            },
            _ => true,
        };
        let receives = match target {
            End::Service(to) if self.on_host(to) => true,
            End::Service(to) => {
                let from_host = matches!(source, End::Host | End::Dockerd);
                let ports = &self.services[self.root(to)].ports;
                let published = ports.iter().any(|(own, loopback)| *own == port && (from_host || !loopback));
                let interact = matches!(source, End::Service(from) if self.interact(from, to));
                interact || (protocol == 6 && published && self.leads_outside(to))
            }
            _ => true,
        };
        sends && receives
    }
}

fn identity(judge: &mut Judge, end: End) -> Identity {
    match end {
        End::Service(number) => judge.workload(&samples::container(&format!("shop/s{number}"))),
        End::Outside(address) => judge.0.identity_of_address(address),
        End::Host => judge.workload(&Workload::host()),
        End::Dockerd => judge.workload(&Workload::named(WorkloadKind::Unit, "docker.service")),
        End::Stranger => judge.workload(&samples::container("other/web")),
    }
}

#[test]
fn files_that_are_imported_judge_every_packet_as_their_networks_do() {
    let (mut passed, mut denied) = (0, 0);
    for seed in 0..SETS {
        let rng = &mut Rng::with_seed(seed);
        let scene = Scene::new(rng);
        let text = scene.text();
        let imported = import(&[file(&text)], &options()).unwrap_or_else(|problem| panic!("{problem}"));
        assert!(imported.missing.is_empty(), "{text}\n{:?}", imported.missing);
        let mut judge = Judge::new(&imported.text);
        let outside = ["192.0.2.1", "2001:db8::1"].map(|address| End::Outside(address.parse().unwrap()));
        let ends: Vec<_> = (0..scene.services.len())
            .map(End::Service)
            .chain(outside)
            .chain([End::Host, End::Dockerd, End::Stranger])
            .collect();
        let identities: Vec<_> = ends.iter().map(|end| identity(&mut judge, *end)).collect();
        for _ in 0..PACKETS {
            let (from, to) = (rng.usize(..ends.len()), rng.usize(..ends.len()));
            let service =
                (*rng.choice(&[6, 6, 17, 1]).unwrap(), *rng.choice(&[53, 80, 81, 443, 444]).unwrap());
            let expected = scene.passes(ends[from], ends[to], service);
            let told = judge.passes(identities[from], identities[to], service);
            assert_eq!(
                told, expected,
                "seed {seed}: {:?} to {:?} {service:?}\n{text}\n{}",
                ends[from], ends[to], imported.text
            );
            *(if told { &mut passed } else { &mut denied }) += 1;
        }
    }
    assert!(passed > 10_000 && denied > 5_000, "{passed} {denied}");
}
