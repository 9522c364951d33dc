//! One `NetworkPolicy` of Kubernetes -> one policy. Each of its lists becomes a rule about the pods that it selects.

mod form;

mod labels;

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde_saphyr::Spanned;

pub(super) use self::form::Object;
use self::{
    form::{IpBlock, LabelSelector, PolicyType, Port, Protocol, Spec},
    labels::Labels,
};
use super::{
    Findings, Options,
    page::{Loose, Page},
};
use crate::config::Cidr;
use crate::policy::{
    model::{self, Direction, Services},
    write::{Document, Entry, Keys, Peer, Rule},
};

/// Longest name of a namespace, in bytes (a label of RFC 1123).
const NAMESPACE_LIMIT: usize = 63;
/// Most networks that are left out of one.
const EXCEPT_LIMIT: usize = 256;
/// All ports.
const ALL: (u16, u16) = Services::ALL.ports;

const NODE: &str =
    "Kubernetes lets the node of a pod always reach it and be reached by it (the kubelet's probes).";
const BLOCK: &str = "Peers outside only; some networks of Kubernetes mean pods by it, too.";
const PODS: &str = "pods are those of this host: what runs on other nodes is a peer outside, and so is the address of a \
                    service (docs/policy.md, Importing)";
const LABELS: &str = "pods are selected by the labels of their containers: see whether `cofferdam ps --json` shows \
                      those that are meant (docs/policy.md, Importing)";

/// Translates one object.
pub(super) struct Reader<'a, 'f> {
    page: &'a Page<'a>,
    options: &'a Options,
    /// The key of the object within its document.
    key: &'a str,
    findings: &'f mut Findings,
    /// What is missing of this object.
    missing: Vec<String>,
}

impl<'a, 'f> Reader<'a, 'f> {
    pub(super) fn new(
        page: &'a Page<'a>,
        options: &'a Options,
        key: &'a str,
        findings: &'f mut Findings,
    ) -> Self {
        Self { page, options, key, findings, missing: Vec::new() }
    }

    /// The policy; none where it cannot be told whom it is about.
    pub(super) fn document(mut self, object: &Spanned<Object>) -> Option<Document> {
        let Object { metadata, spec, .. } = &object.value;
        let namespace = self.namespace(object)?;
        let name = format!("{namespace}/{}", metadata.name.value);
        let place = self.page.place(object);
        let subjects = match &spec.pod_selector {
            Some(selector) => match self.labels(selector, "spec.podSelector") {
                Some(sets) => sets.into_iter().map(|labels| pod(&namespace, labels)).collect(),
                None => {
                    let stays = "it cannot be told whom it is about, so that these pods stay open";
                    self.findings.absent.push(format!("NetworkPolicy {name}, from {place}: {stays}"));
                    return None;
                }
            },
            None => vec![pod(&namespace, Labels::new())],
        };
        let mut rules = Vec::new();
        if subjects.is_empty() {
            self.findings
                .note(format!("{place}: {name} selects nobody: what it asks for contradicts itself"));
        } else {
            for direction in self.directions(spec, &place) {
                rules.push(self.rule(spec, direction, &namespace, subjects.clone()));
            }
        }
        let labelled = |peer: &Peer| matches!(peer, Peer::Keys(keys) if !keys.labels.is_empty());
        let named = |rule: &Rule| {
            rule.subjects.iter().chain(rule.allow.iter().flat_map(|entry| &entry.peers)).any(labelled)
        };
        if rules.iter().any(named) {
            self.findings.note(LABELS.to_owned());
        }
        let mut comments = vec![format!("NetworkPolicy {name}, from {place}")];
        comments.extend(self.missing.iter().map(|missing| format!("Missing: {missing}")));
        Some(Document {
            comments,
            name: format!("{namespace}.{}", metadata.name.value),
            groups: Vec::new(),
            rules,
        })
    }

    /// The namespace that an object is in.
    fn namespace(&mut self, object: &Spanned<Object>) -> Option<String> {
        let Some(written) = &object.value.metadata.namespace else {
            let place = self.page.place(object);
            let namespace = &self.options.namespace;
            self.findings.note(format!("{place}: names no namespace, and is taken for one of `{namespace}`"));
            return Some(namespace.clone());
        };
        let fits = is_namespace(&written.value);
        if !fits {
            self.missing(written, "metadata.namespace", "is no name of a namespace");
            self.findings.absent.push(format!("NetworkPolicy, from {}", self.page.place(object)));
        }
        fits.then(|| written.value.clone())
    }

    /// In which directions the pods are isolated.
    fn directions(&mut self, spec: &Spec, place: &str) -> Vec<Direction> {
        let (ingress, egress) = match spec.policy_types.as_deref() {
            None | Some([]) => (true, spec.egress.as_ref().is_some_and(|rules| !rules.is_empty())),
            Some(types) => (types.contains(&PolicyType::Ingress), types.contains(&PolicyType::Egress)),
        };
        for (list, idle) in [
            ("ingress", !ingress && spec.ingress.iter().flatten().next().is_some()),
            ("egress", !egress && spec.egress.iter().flatten().next().is_some()),
        ] {
            if idle {
                self.findings.note(format!("{place}: `{list}` means nothing, for `policyTypes` lacks it"));
            }
        }
        let all = [(ingress, Direction::Ingress), (egress, Direction::Egress)];
        all.into_iter().filter_map(|(is, direction)| is.then_some(direction)).collect()
    }

    fn rule(&mut self, spec: &Spec, direction: Direction, namespace: &str, subjects: Vec<Peer>) -> Rule {
        let mut allow = Vec::new();
        let mut entry = |peers: Vec<Peer>, services: Vec<Services>| {
            let block = peers.iter().any(|peer| matches!(peer, Peer::Keys(keys) if keys.cidr.is_some()));
            let entry = Entry::new(peers, services);
            allow.extend(if block { entry.because(BLOCK) } else { entry }.split());
        };
        let name = match direction {
            Direction::Ingress => {
                for (number, rule) in spec.ingress.iter().flatten().enumerate() {
                    let key = format!("spec.ingress[{number}]");
                    let peers = self.peers(rule.value.from.as_deref(), namespace, &format!("{key}.from"));
                    entry(peers, self.services(rule.value.ports.as_deref(), &key));
                }
                "ingress"
            }
            Direction::Egress => {
                for (number, rule) in spec.egress.iter().flatten().enumerate() {
                    let key = format!("spec.egress[{number}]");
                    let peers = self.peers(rule.value.to.as_deref(), namespace, &format!("{key}.to"));
                    entry(peers, self.services(rule.value.ports.as_deref(), &key));
                }
                "egress"
            }
        };
        let all =
            |entry: &Entry| entry.peers.contains(&Peer::any()) && entry.services.contains(&Services::ALL);
        if !allow.iter().any(all) {
            allow.push(Entry::all(Peer::node()).because(NODE));
        }
        Rule { allow, ..Rule::new(name.to_owned(), direction, subjects) }
    }

    /// Who may be at the other side; nobody is left where none of them can be told.
    fn peers(&mut self, peers: Option<&[Spanned<form::Peer>]>, namespace: &str, key: &str) -> Vec<Peer> {
        let peers = peers.unwrap_or_default();
        if peers.is_empty() {
            return vec![Peer::any()];
        }
        let told = peers.iter().enumerate().flat_map(|(number, peer)| {
            let key = format!("{key}[{number}]");
            let form::Peer { pod_selector, namespace_selector, ip_block } = &peer.value;
            match (pod_selector, namespace_selector, ip_block) {
                (None, None, Some(block)) => self.network(block, &key).into_iter().collect(),
                (Some(_), _, None) | (None, Some(_), None) => {
                    self.findings.note(PODS.to_owned());
                    let namespaces = match namespace_selector {
                        Some(selector) => self.namespaces(selector, &format!("{key}.namespaceSelector")),
                        None => Some([namespace.to_owned()].into()),
                    };
                    let labels = self.pods(pod_selector.as_ref(), &format!("{key}.podSelector"));
                    // Both must hold.
                    let both = namespaces.zip(labels);
                    both.map_or_else(Vec::new, |(namespaces, labels)| {
                        let pods =
                            |namespace: String| labels.iter().map(move |it| pod(&namespace, it.clone()));
                        namespaces.into_iter().flat_map(pods).collect()
                    })
                }
                _ => {
                    let message = "must have selectors or an `ipBlock`, and not both";
                    self.missing(peer, &key, message);
                    Vec::new()
                }
            }
        });
        let mut told: Vec<_> = told.collect();
        let mut known = BTreeSet::new();
        told.retain(|peer| known.insert(peer.clone()));
        told
    }

    fn pods(&mut self, selector: Option<&Spanned<LabelSelector>>, key: &str) -> Option<Vec<Labels>> {
        match selector {
            Some(selector) => self.labels(selector, key).map(|sets| sets.into_iter().collect()),
            None => Some(vec![Labels::new()]),
        }
    }

    fn network(&mut self, block: &IpBlock, key: &str) -> Option<Peer> {
        let key = format!("{key}.ipBlock");
        let cidr = self.parsed(&block.cidr, &format!("{key}.cidr"))?;
        let mut except = Vec::new();
        for (number, written) in block.except.iter().flatten().enumerate() {
            let key = format!("{key}.except[{number}]");
            let network = self.parsed(written, &key)?;
            if network == cidr || !cidr.contains(&network) {
                self.missing(written, &key, &format!("does not lie within {cidr}"));
                return None;
            }
            except.push(network.to_string());
        }
        if let Some(written) = block.except.iter().flatten().nth(EXCEPT_LIMIT) {
            let message = format!("is one network too many: a policy leaves out {EXCEPT_LIMIT} at most");
            self.missing(written, &format!("{key}.except"), &message);
            return None;
        }
        Some(Peer::from(Keys { cidr: Some(cidr.to_string()), except, ..Keys::default() }))
    }

    fn parsed(&mut self, written: &Spanned<String>, key: &str) -> Option<IpNet> {
        let network = written.value.parse::<IpNet>().ok().map(|network| network.trunc());
        // As policies take it: not IPv4 in the clothes of IPv6.
        let network = network.filter(|network| network.to_string().parse::<Cidr>().is_ok());
        if network.is_none() {
            self.missing(written, key, "is no network, as in 192.0.2.0/24");
        }
        network
    }

    /// Over what; nothing is left where none of it can be told.
    fn services(&mut self, ports: Option<&[Spanned<Port>]>, key: &str) -> Vec<Services> {
        let ports = ports.unwrap_or_default();
        if ports.is_empty() {
            return vec![Services::ALL];
        }
        let mut services = Vec::new();
        for (number, port) in ports.iter().enumerate() {
            match range(&port.value) {
                Ok(ports) => {
                    let protocol = match port.value.protocol.unwrap_or_default() {
                        Protocol::Tcp => 6,
                        Protocol::Udp => 17,
                        Protocol::Sctp => 132,
                    };
                    let service = Services { protocol: model::Protocol::Number(protocol), ports };
                    if !services.contains(&service) {
                        services.push(service);
                    }
                }
                Err(message) => self.missing(port, &format!("{key}.ports[{number}]"), &message),
            }
        }
        services
    }

    /// Something that cannot be told in a policy.
    fn missing<T>(&mut self, at: &Spanned<T>, key: &str, message: &str) {
        let problem = self.page.problem(at, &format!("{}{key}", self.key), message);
        self.missing.push(problem.line().to_owned());
        self.findings.missing.push(problem);
    }
}

fn pod(namespace: &str, labels: Labels) -> Peer {
    Peer::from(Keys { namespace: Some(namespace.to_owned()), labels, ..Keys::default() })
}

/// Whether this is a name that a namespace can have. It is no pattern.
pub(super) fn is_namespace(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    plain && (1..=NAMESPACE_LIMIT).contains(&name.len())
}

/// First and last port.
fn range(port: &Port) -> Result<(u16, u16), String> {
    let first = match (&port.port, port.end_port) {
        (None, None) => return Ok(ALL),
        (None, Some(_)) => return Err("`endPort` needs a `port`".to_owned()),
        (Some(Loose::Text(name)), _) => {
            return Err(format!(
                "only the pods' own specification says which port `{name}` is: write its number"
            ));
        }
        (Some(Loose::Number(first)), _) => u16::try_from(*first).ok().filter(|first| *first > 0),
    };
    let first = first.ok_or("ports are 1 to 65535")?;
    let last = port.end_port.unwrap_or(first);
    if last < first { Err("`endPort` is less than `port`".to_owned()) } else { Ok((first, last)) }
}
