//! Who is at one end of an expectation: a name, an address, a DNS name, or a workload that is described.

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{
    config::looks_like_address,
    event::{Kubernetes, Runtime, Workload, WorkloadKind, of_user},
    policy::{document::ANY, explain::End, names::NamePattern},
};

/// Who is at one end, as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Whom {
    /// An address outside.
    Address(IpAddr),
    /// A peer outside, by the name under which the source looked it up.
    Dns(NamePattern),
    /// What the map calls a workload.
    Name(String),
    /// A workload of which more than the name is said.
    Described(Arc<Workload>),
}

/// What can be said of somebody. What is left out he does not have.
#[derive(Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
struct Keys {
    /// Of a peer outside; stands alone.
    dns: Option<NamePattern>,
    /// What the map calls him.
    name: Option<String>,
    /// What sort of thing he is; else what his name says.
    kind: Option<WorkloadKind>,
    /// The container's own name.
    container_name: Option<String>,
    /// The image as it was asked for.
    image: Option<String>,
    /// Labels of the container.
    labels: BTreeMap<String, String>,
    /// Which runtime runs it.
    runtime: Option<Runtime>,
    /// Compose project.
    project: Option<String>,
    /// Compose service.
    service: Option<String>,
    /// Namespace of the Kubernetes pod.
    namespace: Option<String>,
    /// Kubernetes pod.
    pod: Option<String>,
}

/// Who it is.
#[derive(Clone, Debug)]
pub(super) enum Resolved {
    Outside(Option<IpAddr>, Vec<String>),
    Workload(Arc<Workload>),
}

impl Resolved {
    pub(super) fn end(&self) -> End<'_> {
        match self {
            Self::Outside(address, names) => End::Outside { address: *address, names },
            Self::Workload(workload) => End::Workload(workload),
        }
    }
}

impl Whom {
    pub(super) fn is_dns(&self) -> bool {
        matches!(self, Self::Dns(_))
    }

    pub(super) fn resolve(&self, known: &[Arc<Workload>]) -> Resolved {
        match self {
            Self::Address(address) => Resolved::Outside(Some(*address), Vec::new()),
            Self::Dns(name) => Resolved::Outside(None, vec![name.to_string()]),
            Self::Name(name) => {
                let called = known.iter().find(|workload| workload.names().any(|own| own == name));
                Resolved::Workload(called.map_or_else(|| Arc::new(named(name)), Arc::clone))
            }
            Self::Described(workload) => Resolved::Workload(Arc::clone(workload)),
        }
    }
}

impl TryFrom<Keys> for Whom {
    type Error = &'static str;

    fn try_from(mut keys: Keys) -> Result<Self, Self::Error> {
        match keys.dns.take() {
            Some(name) if keys == Keys::default() => return Ok(Self::Dns(name)),
            Some(_) => return Err("`dns` stands alone"),
            None => {}
        }
        let Keys {
            dns: _,
            name,
            kind,
            container_name,
            image,
            labels,
            runtime,
            project,
            service,
            namespace,
            pod,
        } = keys;
        let guess = named(&name.ok_or("lacks `name`")?);
        let kubernetes = (namespace.is_some() || pod.is_some()).then(|| Kubernetes {
            namespace: namespace.unwrap_or_default(),
            pod: pod.unwrap_or_default(),
            container: None,
        });
        Ok(Self::Described(Arc::new(Workload {
            kind: kind.unwrap_or(guess.kind),
            runtime,
            image,
            container_name,
            project,
            service,
            kubernetes,
            labels,
            ..Workload::named(guess.kind, guess.name)
        })))
    }
}

/// What a name alone says, as the map makes names.
fn named(name: &str) -> Workload {
    let is_unit = [".service", ".scope", ".slice"].iter().any(|suffix| name.ends_with(suffix));
    let kind = match name {
        "host" => WorkloadKind::Host,
        _ if name.starts_with('/') => WorkloadKind::Cgroup,
        _ if is_unit && !of_user(name).map_or(name, |(_, rest)| rest).contains('/') => WorkloadKind::Unit,
        _ => WorkloadKind::Container,
    };
    let mut workload = Workload::named(kind, name);
    workload.user = of_user(name).map(|(user, _)| user);
    if kind == WorkloadKind::Container && workload.of_user().is_none() {
        let own = |text: &str| Some(text.to_owned());
        match name.split('/').collect::<Vec<_>>()[..] {
            [project, service] => {
                (workload.project, workload.service) = (own(project), own(service));
            }
            [namespace, pod, container] => {
                let (namespace, pod) = (namespace.to_owned(), pod.to_owned());
                workload.kubernetes = Some(Kubernetes { namespace, pod, container: own(container) });
            }
            _ => (),
        }
    }
    workload
}

impl<'de> Deserialize<'de> for Whom {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Written)
    }
}

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Whom;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name, an address, or keys such as `name` and `image`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Whom, E> {
        if text.is_empty() {
            return Err(E::custom("must be a name or an address"));
        }
        if let Ok(address) = text.parse() {
            return Ok(Whom::Address(address));
        }
        if text == ANY || looks_like_address(text) {
            return Err(E::custom(format!("`{text}` is nobody: write a name or one address")));
        }
        Ok(Whom::Name(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Whom, A::Error> {
        Keys::deserialize(MapAccessDeserializer::new(map))?.try_into().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_says_what_the_map_says_by_such_names() {
        use WorkloadKind::{Cgroup, Container, Host, Unit};
        for (name, kind) in [
            ("host", Host),
            ("nginx.service", Unit),
            ("/batch/jobs", Cgroup),
            ("web", Container),
            ("shop/web", Container),
            ("shop/web.service", Container),
            ("user-1000/web", Container),
            ("user-1000/backup.service", Unit),
        ] {
            assert_eq!(named(name).kind, kind, "{name}");
        }
        let compose = named("shop/web");
        assert_eq!((compose.project.as_deref(), compose.service.as_deref()), (Some("shop"), Some("web")));
        let pod = named("shop/web-1/nginx").kubernetes.unwrap();
        assert_eq!((&*pod.namespace, &*pod.pod), ("shop", "web-1"));
        assert_eq!(named("user-1000/web").project, None);
    }
}
