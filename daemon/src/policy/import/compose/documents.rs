//! Projects -> policies: two rules for each service, one about who may send to it and one about to whom it may send.

use std::collections::{BTreeMap, BTreeSet};

use super::{Called, Network, Project, Projects, Service, Stand, networks::sharing};
use crate::policy::{
    import::Findings,
    model::{Direction, Protocol, Services},
    write::{Document, Entry, Group, Names, Peer, Rule},
};

/// All peers outside, and who runs on this host outside of containers.
const OUTSIDE: &str = "outside";
const NODE: &str = "node";
/// The unit of Docker itself, also where snap installed it.
const DOCKER: &str = "*docker*";
const DNS: [Services; 2] = [service(17, 53), service(6, 53)];

const ON_THE_HOST: &str = "On the host's network: whoever reaches the host reaches it.";
const ALONE: &str = "On no network: only its own loopback, and that of whoever shares it.";
const PUBLISHED: &str = "Published.";
const PUBLISHED_HERE: &str =
    "Published for the host itself: its clients come through docker-proxy or from the host.";
const RESOLVER: &str = "Docker's DNS.";
const ELSEWHERE: &str = "Nobody may send to ports that other projects publish: they are not known here.";

const fn service(protocol: u8, port: u16) -> Services {
    Services { protocol: Protocol::Number(protocol), ports: (port, port) }
}

impl Projects {
    pub(in crate::policy::import) fn documents(self, findings: &mut Findings) -> Vec<Document> {
        let Self { projects, networks } = self;
        projects
            .into_iter()
            .map(|project| Draft::new(&project, &networks).document(project, findings))
            .collect()
    }
}

/// A policy that is being made.
struct Draft<'a> {
    networks: &'a BTreeMap<String, Network>,
    called: BTreeMap<String, Called>,
    /// Names of groups, by the networks that they are of.
    groups: BTreeMap<String, String>,
    /// Whether a rule names these.
    outside: bool,
    node: bool,
}

impl<'a> Draft<'a> {
    fn new(project: &Project, networks: &'a BTreeMap<String, Network>) -> Self {
        let mut called = project.called.clone();
        let on = project.services.iter().filter_map(|service| match &service.stand {
            Stand::On(networks) => Some(networks),
            Stand::Host => None,
        });
        let on: BTreeSet<&String> = on.flatten().collect();
        // What no key stands for: Docker's own `bridge`, and who shares the network of another.
        for name in &on {
            let service = sharing(name).and_then(|name| name.split_once('/'));
            let key = || service.map_or((*name).clone(), |(_, service)| format!("of-{service}"));
            called.entry((*name).clone()).or_insert_with(|| Called { key: key(), comments: Vec::new() });
        }
        let mut names = Names::default();
        let mut groups = BTreeMap::new();
        let mut sorted: Vec<_> = called.iter().filter(|(name, _)| on.contains(name)).collect();
        sorted.sort_by(|(_, a), (_, b)| a.key.cmp(&b.key));
        for (name, called) in sorted {
            if networks.get(name).is_some_and(|network| !network.silent) {
                groups.insert(name.clone(), names.give(&format!("network-{}", called.key)));
            }
        }
        Self { networks, called, groups, outside: false, node: false }
    }

    fn document(mut self, project: Project, findings: &mut Findings) -> Document {
        let Project { name, mut comments, services, .. } = project;
        let mut names = Names::default();
        let rules: Vec<_> = services.iter().flat_map(|service| self.rules(service, &mut names)).collect();
        if self.outside {
            comments.push(ELSEWHERE.to_owned());
        }
        for called in self.called.iter().filter(|(name, _)| self.groups.contains_key(*name)).map(|(_, it)| it)
        {
            for comment in &called.comments {
                findings.note(format!("network `{}` of project {name}: {comment}", called.key));
            }
        }
        Document { comments, name, groups: self.groups(), rules }
    }

    fn groups(&self) -> Vec<Group> {
        let of_network = |(network, name): (&String, &String)| Group {
            comments: self.called.get(network).map(|called| called.comments.clone()).unwrap_or_default(),
            name: name.clone(),
            peers: self.members(network).map(|member| Peer::Text(member.clone())).collect(),
        };
        let mut groups: Vec<_> = self.groups.iter().map(of_network).collect();
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        let more = |name: &str, peers| Group { comments: Vec::new(), name: name.to_owned(), peers };
        if self.outside {
            groups.push(more(OUTSIDE, vec![Peer::network("0.0.0.0/0"), Peer::network("::/0")]));
        }
        if self.node {
            groups.push(more(NODE, Peer::node()));
        }
        groups
    }

    fn members(&self, network: &str) -> impl Iterator<Item = &String> {
        self.networks.get(network).into_iter().flat_map(|network| &network.members)
    }

    fn rules(&mut self, service: &Service, names: &mut Names) -> [Rule; 2] {
        let (mut comments, ingress, egress) = match &service.stand {
            Stand::Host => {
                let any = || vec![Entry::all(vec![Peer::any()])];
                (vec![ON_THE_HOST.to_owned()], any(), any())
            }
            Stand::On(networks) => {
                let with = self.with(service, networks);
                let leads = self.leads_outside(networks);
                let ingress = [vec![Entry::all(with.clone())], self.published(service, leads)].concat();
                let egress = [vec![Entry::all(with)], self.beyond(networks, leads)].concat();
                let alone = if is_alone(networks) { vec![ALONE.to_owned()] } else { Vec::new() };
                (alone, ingress, egress)
            }
        };
        comments.extend_from_slice(&service.comments);
        let mut rule = |to, direction, comments, allow| {
            let name = names.give(&format!("{to}-{}", service.key));
            Rule { comments, allow, ..Rule::new(name, direction, vec![Peer::Text(service.name.clone())]) }
        };
        [
            rule("to", Direction::Ingress, comments, ingress),
            rule("from", Direction::Egress, Vec::new(), egress),
        ]
    }

    /// With whom a service has a network in common. It is among them itself, for its own loopback.
    fn with(&self, service: &Service, networks: &BTreeSet<String>) -> Vec<Peer> {
        let mut groups: Vec<_> = networks.iter().filter_map(|network| self.groups.get(network)).collect();
        groups.sort();
        if groups.is_empty() {
            return vec![Peer::Text(service.name.clone())];
        }
        groups.into_iter().map(|group| Peer::group(group)).collect()
    }

    /// Whether any of these networks leads outside. Of those of others it is not known, and Docker still sees to it.
    fn leads_outside(&self, networks: &BTreeSet<String>) -> bool {
        let leads = |network: &String| {
            let internal = self.networks.get(network).and_then(|network| network.internal);
            sharing(network).is_none() && internal != Some(true)
        };
        networks.iter().any(leads)
    }

    /// Who may send to the ports that a service publishes. Docker publishes none where nothing leads outside.
    fn published(&mut self, service: &Service, leads: bool) -> Vec<Entry> {
        let published = || service.published.iter().filter(|_| leads);
        let open: Vec<_> = published().filter(|port| !port.loopback).map(|port| port.service).collect();
        let here = published().filter(|port| port.loopback).map(|port| port.service);
        let here: Vec<_> = here.filter(|service| !open.contains(service)).collect();
        self.node |= !here.is_empty();
        let open = Entry::new(vec![Peer::any()], open).because(PUBLISHED);
        let here = Entry::new(vec![Peer::group(NODE)], here).because(PUBLISHED_HERE);
        [open.split(), here.split()].concat()
    }

    /// To whom a service may send besides.
    fn beyond(&mut self, networks: &BTreeSet<String>, leads: bool) -> Vec<Entry> {
        if leads {
            (self.outside, self.node) = (true, true);
            vec![Entry::all(vec![Peer::group(OUTSIDE), Peer::group(NODE)])]
        } else if is_alone(networks) {
            Vec::new()
        } else {
            vec![Entry::new(vec![Peer::unit(DOCKER)], DNS.to_vec()).because(RESOLVER)]
        }
    }
}

/// Whether there is no network of Docker among them.
fn is_alone(networks: &BTreeSet<String>) -> bool {
    networks.iter().all(|network| sharing(network).is_some())
}
