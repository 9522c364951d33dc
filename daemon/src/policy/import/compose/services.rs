//! Services of a Compose file: on which networks they are, and which of their ports are published.

use std::collections::{BTreeMap, BTreeSet};

use serde_saphyr::Spanned;

use super::{
    NAME_LIMIT, Reader, Service, Stand,
    form::{self, Form},
    is_plain,
    networks::{DEFAULT, Names, shared},
    ports::{self, Published, hint},
};

/// Where a service says that it is.
enum Said {
    Stand(Stand),
    /// Where another one is.
    With(String),
}

impl Reader<'_, '_> {
    pub(super) fn services(&mut self, form: &Form, names: &Names) -> Vec<Service> {
        let containers = form.services.iter().filter(|(_, service)| service.value.provider.is_none());
        let mut said = BTreeMap::new();
        let mut published = BTreeMap::new();
        for (key, service) in containers {
            if key.len() > NAME_LIMIT || !is_plain(key) {
                let message = format!("is no name of a service: {NAME_LIMIT} letters and digits at most");
                self.missing(service, &format!("services.{key}"), &message);
                continue;
            }
            said.insert(key.as_str(), self.said(form, key, &service.value, names));
            published.insert(key.as_str(), self.published(key, &service.value));
        }
        // Who shares the network of another is found at its ports, and both have one loopback.
        let mut roots = BTreeMap::<&str, Vec<&str>>::new();
        for key in said.keys() {
            let root = root(key, &said).unwrap_or_else(|| {
                if let Some(service) = form.services.get(*key) {
                    let message = "leads to no service that has a network of its own";
                    self.missing(service, &format!("services.{key}.network_mode"), message);
                }
                key
            });
            roots.entry(root).or_default().push(key);
        }
        let mut services = Vec::new();
        for (root, sharers) in roots {
            let mut stand = match said.get(root) {
                Some(Said::Stand(stand)) => stand.clone(),
                _ => Stand::On(BTreeSet::new()),
            };
            if let (Stand::On(networks), [_, _, ..]) = (&mut stand, sharers.as_slice()) {
                networks.insert(shared(&format!("{}/{root}", self.project)));
            }
            for key in sharers {
                services.push(Service {
                    key: key.to_owned(),
                    name: format!("{}/{key}", self.project),
                    stand: stand.clone(),
                    published: published.get(root).cloned().unwrap_or_default(),
                    comments: Vec::new(),
                });
            }
        }
        services.sort_by(|a, b| a.key.cmp(&b.key));
        services
    }

    /// Where a service says that it is. Where that cannot be told it is alone.
    fn said(&mut self, form: &Form, key: &str, service: &form::Service, names: &Names) -> Said {
        let alone = Said::Stand(Stand::On(BTreeSet::new()));
        let nothing = service.networks.is_none() && service.network_mode.is_none();
        if let Some(extends) = &service.extends {
            let message = "what a service extends is not read: `docker compose config` makes one of both";
            self.missing(extends, &format!("services.{key}.extends"), message);
            if nothing {
                return alone;
            }
        }
        match (&service.network_mode, &service.networks) {
            (Some(mode), None) => self.mode(form, key, mode),
            (None, networks) => {
                let attached = networks.as_ref().map(|networks| networks.value.0.as_slice());
                let attached = attached.filter(|attached| !attached.is_empty());
                let default = [DEFAULT.to_owned()];
                let mut on = BTreeSet::new();
                for network in attached.unwrap_or(&default) {
                    match (names.get(network), networks) {
                        (Some(name), _) => drop(on.insert(name.clone())),
                        (None, Some(at)) => {
                            let message = format!("there is no network `{network}`{}", hint(network));
                            self.missing(at, &format!("services.{key}.networks"), &message);
                        }
                        (None, None) => (),
                    }
                }
                Said::Stand(by_name(on))
            }
            (Some(mode), Some(_)) => {
                let message = "cannot stand beside `networks`";
                self.missing(mode, &format!("services.{key}.network_mode"), message);
                alone
            }
        }
    }

    fn mode(&mut self, form: &Form, key: &str, mode: &Spanned<String>) -> Said {
        let called = |name: &str| {
            let is = |service: &form::Service| service.container_name.as_deref() == Some(name);
            form.services.iter().find(|(_, service)| is(&service.value)).map(|(key, _)| key.clone())
        };
        let refusal = match mode.value.split_once(':') {
            Some(("service", other)) => return Said::With(other.to_owned()),
            Some(("container", name)) => match called(name) {
                Some(other) => return Said::With(other),
                None => format!("which network the container `{name}` has is not known here"),
            },
            // Docker's own, whose containers know each other by address only.
            None if mode.value == DEFAULT => return Said::Stand(by_name(["bridge".to_owned()].into())),
            None if is_plain(&mode.value) => {
                return Said::Stand(by_name([mode.value.clone()].into()));
            }
            _ => format!("`{}` is no network{}", mode.value, hint(&mode.value)),
        };
        self.missing(mode, &format!("services.{key}.network_mode"), &refusal);
        Said::Stand(Stand::On(BTreeSet::new()))
    }

    fn published(&mut self, key: &str, service: &form::Service) -> Vec<Published> {
        let mut published = Vec::new();
        for (number, port) in service.ports.iter().flatten().enumerate() {
            match ports::read(&port.value) {
                Ok(port) if published.contains(&port) => (),
                Ok(port) => published.push(port),
                Err(message) => self.missing(port, &format!("services.{key}.ports[{number}]"), &message),
            }
        }
        published
    }
}

/// Whose network a service has.
fn root<'a>(key: &'a str, said: &'a BTreeMap<&'a str, Said>) -> Option<&'a str> {
    let mut at = key;
    // As many steps as there are services: who has not arrived by then goes in a circle.
    for _ in 0..=said.len() {
        match said.get_key_value(at)? {
            (own, Said::Stand(_)) => return Some(own),
            (_, Said::With(other)) => at = other,
        }
    }
    None
}

/// Networks by the names that Docker has for them, some of which are none.
fn by_name(mut networks: BTreeSet<String>) -> Stand {
    if networks.contains("host") {
        return Stand::Host;
    }
    networks.remove("none");
    Stand::On(networks)
}
