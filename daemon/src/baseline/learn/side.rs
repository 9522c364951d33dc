//! Who is at an end of an interaction, by what stays when the container is replaced.

use std::{collections::BTreeMap, net::IpAddr};

use super::made_up::is_made_up;
use crate::{
    config::Pattern,
    event::{Kubernetes, Scope, Workload, WorkloadKind, of_controller},
    policy::{
        names::NamePattern,
        write::{Keys, Peer},
    },
};

/// Labels by which Kubernetes' own tools tell applications apart; of several the first.
const APPLICATION: [&str; 3] = ["app.kubernetes.io/name", "app", "k8s-app"];
/// And, beside the first of these, the parts of one.
const COMPONENT: &str = "app.kubernetes.io/component";
/// Labels that tell what a container without a name of its own is.
const OTHERS: [&str; 3] = ["com.docker.swarm.service.name", "app.kubernetes.io/name", "app"];

/// One end. Whoever is the same here is the same to a policy that is learned.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Side {
    /// Workloads of this host.
    Here(Here),
    /// A peer outside, by its address and the name under which the other end knows it.
    Outside(IpAddr, Option<NamePattern>),
}

/// Workloads of this host that a selector selects.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Here {
    /// What the policy that is about it is called: its project, its namespace, or as it is.
    pub(crate) policy: String,
    /// What it is called in that.
    pub(crate) name: String,
    /// How it is selected.
    pub(crate) peer: Peer,
}

/// Why somebody is at no end of a policy.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Untold {
    /// Nothing is known of it.
    Unknown,
    /// It stands for many.
    Many,
    /// No pattern can say it.
    Unsayable,
}

impl Side {
    pub(crate) fn of(workload: &Workload) -> Result<Self, Untold> {
        match workload.kind {
            WorkloadKind::Container => container(workload).map(Self::Here).ok_or(Untold::Unsayable),
            WorkloadKind::Unit => unit(workload).map(Self::Here).ok_or(Untold::Unsayable),
            WorkloadKind::Host => Ok(Self::Here(Here::of("host", Peer::Text("host".to_owned())))),
            WorkloadKind::Cgroup => by_name(&workload.name).map(Self::Here).ok_or(Untold::Unsayable),
            WorkloadKind::Outside => outside(workload).ok_or(Untold::Many),
            WorkloadKind::Other => Err(Untold::Many),
            WorkloadKind::Unknown | WorkloadKind::Canary => Err(Untold::Unknown),
        }
    }

    /// How people call it.
    pub(crate) fn label(&self) -> String {
        match self {
            Self::Here(Here { policy, name, .. }) if policy == name => name.clone(),
            Self::Here(Here { policy, name, .. }) => format!("{policy}/{name}"),
            Self::Outside(address, None) => format!("outside {address}"),
            Self::Outside(_, Some(name)) => format!("outside {name}"),
        }
    }
}

/// What somebody is called as long as his containers are replaced by others like them.
#[must_use]
pub fn lasting_name(workload: &Workload) -> String {
    Side::of(workload).map_or_else(|_| workload.name.clone(), |side| side.label())
}

/// Whether no answer can come from there, so that what is sent is all that there is.
pub(super) fn is_group(workload: &Workload) -> bool {
    workload.scope == Some(Scope::Multicast)
}

impl Here {
    /// Somebody for whom there is a policy of his own.
    fn of(name: &str, peer: Peer) -> Self {
        Self { policy: name.to_owned(), name: name.to_owned(), peer }
    }
}

fn container(workload: &Workload) -> Option<Here> {
    // Nothing else that it says of itself selects it.
    if workload.of_user().is_some() {
        return by_name(&workload.name);
    }
    if let (Some(project), Some(service)) = (&workload.project, &workload.service) {
        let keys = Keys {
            project: Some(Pattern::literal(project)?),
            service: Some(Pattern::literal(service)?),
            ..Keys::default()
        };
        return Some(Here { policy: project.clone(), name: service.clone(), peer: Peer::from(keys) });
    }
    if let Some(place) = workload.place() {
        return pod(place, &workload.labels);
    }
    let name = workload.container_name.as_ref().unwrap_or(&workload.name);
    let swarm = workload.labels.contains_key(OTHERS[0]);
    if !swarm && !is_made_up(name) && workload.id.as_ref().is_none_or(|id| !id.starts_with(name.as_str())) {
        return by_name(name);
    }
    if let Some((label, labels)) = OTHERS.iter().find_map(|key| labelled(key, &workload.labels)) {
        return Some(Here::of(&label, Peer::from(Keys { labels, ..Keys::default() })));
    }
    match &workload.image {
        Some(image) => Some(Here::of(
            image,
            Peer::from(Keys { image: Some(Pattern::literal(image)?), ..Keys::default() }),
        )),
        None => by_name(name),
    }
}

fn pod(place: &Kubernetes, labels: &BTreeMap<String, String>) -> Option<Here> {
    let Kubernetes { namespace, pod, .. } = place;
    let keys = Keys { namespace: Some(Pattern::literal(namespace)?), ..Keys::default() };
    let here =
        |name: &str, keys| Here { policy: namespace.clone(), name: name.to_owned(), peer: Peer::from(keys) };
    if let Some((mut name, mut wanted)) = APPLICATION.iter().find_map(|key| labelled(key, labels)) {
        if wanted.contains_key(APPLICATION[0])
            && let Some((component, more)) = labelled(COMPONENT, labels)
        {
            wanted.extend(more);
            name = format!("{name}-{component}");
        }
        return Some(here(&name, Keys { labels: wanted, ..keys }));
    }
    let Some((base, rest)) = of_controller(pod) else {
        return Some(here(pod, Keys { pod: Some(Pattern::literal(pod)?), ..keys }));
    };
    let pattern = Pattern::literal(base)? + &rest;
    // It means the pod that it was made of, also where it would be too long for a pattern.
    let is_one = Pattern::try_from(pattern.clone()).is_ok_and(|pattern| pattern.matches(pod));
    is_one.then(|| here(base, Keys { pod: Some(pattern), ..keys }))
}

fn by_name(name: &str) -> Option<Here> {
    Some(Here::of(name, Peer::from(Keys { name: Some(Pattern::literal(name)?), ..Keys::default() })))
}

/// A unit. Of those that systemd numbers (`session-3.scope`, `run-r8c1….service`), all.
fn unit(workload: &Workload) -> Option<Here> {
    let name = workload.name.as_str();
    let (user, called) = match workload.of_user() {
        Some((user, called)) => (format!("user-{user}/"), called),
        None => (String::new(), name),
    };
    let numbered = ["session-", "run-"].into_iter().find(|beginning| called.starts_with(beginning));
    let pattern = match (numbered, called.rsplit_once('.')) {
        (Some(beginning), Some((_, kind))) if ["scope", "service"].contains(&kind) => {
            format!("{user}{beginning}*.{kind}")
        }
        _ => Pattern::literal(name)?,
    };
    let called = if numbered.is_some() { pattern.clone() } else { name.to_owned() };
    Some(Here::of(&called, Peer::from(Keys { unit: Some(pattern), ..Keys::default() })))
}

/// A peer outside; nothing for a network to which the configuration gives a name.
fn outside(workload: &Workload) -> Option<Side> {
    let address: IpAddr = workload.name.parse().ok()?;
    let name = workload.dns_name.clone().and_then(|name| NamePattern::try_from(name).ok());
    Some(Side::Outside(address.to_canonical(), name.filter(NamePattern::is_whole)))
}

/// A label that there is, as keys have it, and its value.
fn labelled(key: &str, labels: &BTreeMap<String, String>) -> Option<(String, BTreeMap<String, String>)> {
    let value = labels.get(key).filter(|value| !value.is_empty())?;
    Some((value.clone(), BTreeMap::from([(key.to_owned(), Pattern::literal(value)?)])))
}
