//! Docker's answers as facts. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use bollard::models::{
    ContainerInspectResponse, ContainerState as InspectedState, ContainerStateStatusEnum, ContainerSummary,
    ContainerSummaryStateEnum, EndpointSettings, EventMessage, PortMap,
};
use jiff::Timestamp;
use serde::Deserialize;

use super::super::super::container::{ContainerFacts, ContainerState, PublishedPort};
use crate::event::Protocol;

/// Attributes of an event that are no labels; the last two are Podman's.
const NO_LABELS: [&str; 8] =
    ["name", "image", "oldName", "exitCode", "signal", "execDuration", "containerExitCode", "podId"];

/// A line of `GET /containers/json`.
pub(super) fn listed(summary: ContainerSummary) -> Option<ContainerFacts> {
    // Links add names like `/web/alias`; the own one has no second slash.
    let names = summary.names.unwrap_or_default();
    let own = names.iter().find(|name| !name.trim_start_matches('/').contains('/'));
    let networks = summary.network_settings.and_then(|settings| settings.networks);
    Some(ContainerFacts {
        name: own.map(|name| plain(name)),
        image: summary.image,
        image_digest: summary.image_id,
        labels: summary.labels.map(|labels| labels.into_iter().collect()),
        state: summary.state.and_then(|state| match state {
            ContainerSummaryStateEnum::EMPTY => None,
            ContainerSummaryStateEnum::CREATED => Some(ContainerState::Created),
            ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::STOPPING => {
                Some(ContainerState::Running)
            }
            ContainerSummaryStateEnum::PAUSED => Some(ContainerState::Paused),
            _ => Some(ContainerState::Exited),
        }),
        addresses: networks.map(|networks| Networks(networks).addresses()),
        ..ContainerFacts::new(summary.id.filter(|id| !id.is_empty())?)
    })
}

/// The answer to `GET /containers/<id>/json`.
pub(super) fn inspected(answer: ContainerInspectResponse) -> Option<ContainerFacts> {
    let config = answer.config.unwrap_or_default();
    let host = answer.host_config.unwrap_or_default();
    let networks = answer.network_settings.unwrap_or_default();
    let state = answer.state.unwrap_or_default();
    Some(ContainerFacts {
        name: answer.name.map(|name| plain(&name)),
        image: config.image,
        image_digest: answer.image,
        labels: config.labels.map(|labels| labels.into_iter().collect()),
        state: inspected_state(&state),
        // A container that never ran was started in the year 1.
        started_at: state
            .started_at
            .and_then(|time| time.parse().ok())
            .filter(|time| *time > Timestamp::UNIX_EPOCH),
        addresses: Some(Networks(networks.networks.unwrap_or_default()).addresses()),
        privileged: Some(host.privileged.unwrap_or(false)),
        host_network: Some(host.network_mode.as_deref() == Some("host")),
        pid: Some(state.pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0)),
        ports: Some(published(&networks.ports.unwrap_or_default())),
        ..ContainerFacts::new(answer.id.filter(|id| !id.is_empty())?)
    })
}

/// What these bytes tell, taken for each of Docker's answers in turn: the door of the fuzz targets.
#[must_use]
pub fn told_by(json: &[u8]) -> Vec<ContainerFacts> {
    let list = serde_json::from_slice::<Vec<ContainerSummary>>(json).unwrap_or_default();
    let inspection = serde_json::from_slice(json).ok().and_then(inspected);
    let event = serde_json::from_slice(json).ok().and_then(of_event);
    list.into_iter().filter_map(listed).chain(inspection).chain(event).collect()
}

/// An event about a container, other than its destruction.
pub(super) fn of_event(event: EventMessage) -> Option<ContainerFacts> {
    let actor = event.actor?;
    let mut attributes = actor.attributes.unwrap_or_default();
    let name = attributes.remove("name").map(|name| plain(&name));
    let image = attributes.remove("image");
    let mut facts = ContainerFacts {
        name,
        image,
        labels: Some(labels(attributes)),
        ..ContainerFacts::new(actor.id.filter(|id| !id.is_empty())?)
    };
    match event.action.as_deref() {
        Some("create") => facts.state = Some(ContainerState::Created),
        Some("start" | "restart") => {
            facts.state = Some(ContainerState::Running);
            facts.started_at =
                event.time_nano.and_then(|time| Timestamp::from_nanosecond(i128::from(time)).ok());
        }
        Some("pause") => facts.state = Some(ContainerState::Paused),
        Some("unpause") => facts.state = Some(ContainerState::Running),
        Some("die" | "died") => {
            facts.state = Some(ContainerState::Exited);
            // Docker may give them to the next container at once.
            facts.addresses = Some(Vec::new());
            facts.pid = Some(None);
            facts.ports = Some(Vec::new());
        }
        _ => {}
    }
    Some(facts)
}

fn plain(name: &str) -> String {
    name.trim_start_matches('/').to_owned()
}

/// A label may be called like an attribute that Docker adds; the inspection that follows tells it.
fn labels(attributes: HashMap<String, String>) -> BTreeMap<String, String> {
    attributes.into_iter().filter(|(key, _)| !NO_LABELS.contains(&key.as_str())).collect()
}

fn inspected_state(state: &InspectedState) -> Option<ContainerState> {
    match state.status? {
        ContainerStateStatusEnum::EMPTY => None,
        ContainerStateStatusEnum::CREATED => Some(ContainerState::Created),
        ContainerStateStatusEnum::RUNNING | ContainerStateStatusEnum::STOPPING => {
            Some(ContainerState::Running)
        }
        ContainerStateStatusEnum::PAUSED => Some(ContainerState::Paused),
        _ => Some(ContainerState::Exited),
    }
}

/// The networks of a container, as Docker tells them and writes them down.
#[derive(Default, Deserialize)]
#[serde(transparent)]
pub(in super::super) struct Networks(HashMap<String, EndpointSettings>);

impl Networks {
    /// The addresses that it has in them.
    pub(in super::super) fn addresses(&self) -> Vec<IpAddr> {
        let told = self.0.values().flat_map(|it| [&it.ip_address, &it.global_ipv6_address]);
        told.flatten().filter_map(|address| address.parse().ok()).collect()
    }
}

/// `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}]}`
fn published(ports: &PortMap) -> Vec<PublishedPort> {
    let mut published = Vec::new();
    for (inner, bindings) in ports {
        let Some((port, protocol)) = inner.split_once('/') else { continue };
        let Ok(container_port) = port.parse() else { continue };
        let protocol = protocol.parse().unwrap_or(Protocol::Other);
        for binding in bindings.iter().flatten() {
            let host_address =
                binding.host_ip.as_deref().filter(|address| !address.is_empty()).unwrap_or("0.0.0.0");
            let host_port = binding.host_port.as_deref().unwrap_or_default();
            if let (Ok(host_address), Ok(host_port)) = (host_address.parse(), host_port.parse()) {
                published.push(PublishedPort { host_address, host_port, container_port, protocol });
            }
        }
    }
    published
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(action: &str) -> EventMessage {
        serde_json::from_value(json!({
            "Type": "container", "Action": action, "timeNano": 1_700_000_000_000_000_000_i64,
            "Actor": {"ID": "3f2a", "Attributes": {
                "name": "shop_web_1", "image": "shop:1", "exitCode": "0", "com.docker.compose.project": "shop"}}
        }))
        .unwrap()
    }

    #[test]
    fn an_event_alone_tells_name_image_and_labels() {
        let facts = of_event(event("start")).unwrap();
        assert_eq!(facts.id, "3f2a");
        assert_eq!(facts.name.as_deref(), Some("shop_web_1"));
        assert_eq!(facts.image.as_deref(), Some("shop:1"));
        let labels = facts.labels.unwrap();
        assert_eq!(
            labels.into_iter().collect::<Vec<_>>(),
            [("com.docker.compose.project".into(), "shop".into())]
        );
        assert_eq!(facts.state, Some(ContainerState::Running));
        assert_eq!(facts.started_at.unwrap().to_string(), "2023-11-14T22:13:20Z");
        assert_eq!(facts.addresses, None);
    }

    #[test]
    fn a_container_that_died_gives_its_addresses_back() {
        let facts = of_event(event("die")).unwrap();
        assert_eq!(facts.state, Some(ContainerState::Exited));
        assert_eq!(facts.addresses, Some(Vec::new()));
    }

    #[test]
    fn podmans_events_say_the_same_in_other_words() {
        let mut died = event("died");
        let attributes = died.actor.as_mut().and_then(|actor| actor.attributes.as_mut()).unwrap();
        attributes.extend(
            [("containerExitCode", "0"), ("podId", "")].map(|(key, value)| (key.into(), value.into())),
        );
        let facts = of_event(died).unwrap();
        assert_eq!((facts.state, facts.addresses), (Some(ContainerState::Exited), Some(Vec::new())));
        assert_eq!(facts.labels.unwrap().into_keys().collect::<Vec<_>>(), ["com.docker.compose.project"]);
    }

    #[test]
    fn an_inspection_tells_addresses_ports_and_privileges() {
        let answer = serde_json::from_value(json!({
            "Id": "3f2a", "Name": "/web",
            "State": {"Status": "running", "Pid": 77, "StartedAt": "2026-11-24T09:00:00.5Z"},
            "Config": {"Image": "shop:1", "Labels": {"a": "b"}},
            "HostConfig": {"Privileged": true, "NetworkMode": "bridge"},
            "NetworkSettings": {
                "Ports": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}],
                          "81/tcp": null},
                "Networks": {"bridge": {"IPAddress": "198.18.1.2", "GlobalIPv6Address": "fd00::2"},
                             "none": {"IPAddress": "", "GlobalIPv6Address": ""}}}
        }))
        .unwrap();
        let facts = inspected(answer).unwrap();
        assert_eq!(facts.name.as_deref(), Some("web"));
        let mut addresses = facts.addresses.unwrap();
        addresses.sort();
        assert_eq!(addresses, ["198.18.1.2".parse::<IpAddr>().unwrap(), "fd00::2".parse().unwrap()]);
        assert_eq!((facts.privileged, facts.host_network), (Some(true), Some(false)));
        assert_eq!(facts.pid, Some(Some(77)));
        let ports = facts.ports.unwrap();
        assert_eq!(ports.len(), 2);
        assert!(ports.iter().all(|port| (port.host_port, port.container_port) == (8080, 80)));
    }

    #[test]
    fn a_container_that_never_ran_has_no_start() {
        let answer = serde_json::from_value(json!({
            "Id": "3f2a", "State": {"Status": "created", "Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"}
        }))
        .unwrap();
        let facts = inspected(answer).unwrap();
        assert_eq!((facts.started_at, facts.pid), (None, Some(None)));
    }

    #[test]
    fn the_own_name_of_a_linked_container_is_found() {
        let summary = serde_json::from_value(json!({"Id": "3f2a", "Names": ["/web/db", "/db"]})).unwrap();
        assert_eq!(listed(summary).unwrap().name.as_deref(), Some("db"));
    }
}
