//! Docker, and Podman, which speaks Docker's API: containers when we come, and events from then on.
//!
//! An event carries name, image and labels, so a container is named before it runs, and even one that is gone
//! before it could be inspected. What only an inspection tells (addresses, ports, privileges) follows a moment later.

mod facts;
mod inspections;
mod transport;

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    pin::pin,
    time::{SystemTime, UNIX_EPOCH},
};

use bollard::{
    Docker,
    models::{EventMessage, EventMessageTypeEnum, SystemVersion},
    query_parameters::{EventsOptions, ListContainersOptions},
};
use futures_util::StreamExt;
use tokio::time::{sleep, timeout};

pub(super) use self::facts::Networks;
pub use self::facts::told_by;
use self::inspections::Inspections;
use super::{
    super::{
        Attribution,
        container::{ContainerFacts, Source},
    },
    listening::{self, DEADLINE, Listen, PING_EVERY},
};
use crate::event::Runtime;

/// What happens to containers and their networks, in Docker's words and in Podman's. They filter: health checks alone
/// would be an event each second.
const EVENTS: [&str; 13] = [
    "create",
    "start",
    "restart",
    "die",
    "died",
    "destroy",
    "remove",
    "rename",
    "update",
    "pause",
    "unpause",
    "connect",
    "disconnect",
];

/// Why it is not heard.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Docker(#[from] bollard::errors::Error),
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
    #[error("it ended its stream of events")]
    Ended,
    #[error("it answered {0} where events were asked for")]
    NoEvents(u16),
    #[error("it sent an event of more than {} MiB", transport::EVENT_LIMIT >> 20)]
    LongEvent,
}

/// Docker's API, which Podman speaks as well.
pub(super) struct Api;

impl Listen for Api {
    type Failure = Failure;

    async fn listen(
        attribution: &Attribution,
        source: &Source,
        connected: &mut bool,
    ) -> Result<Infallible, Failure> {
        // bollard's own deadline ends with the head of an answer; ours holds for all of it, and comes first.
        let late = DEADLINE.as_secs() + 1;
        let docker = transport::connect(&source.endpoint, late)?;
        let docker = in_time(docker.negotiate_version()).await?;
        let version = in_time(docker.version()).await?;
        let source = &speaker(source, &version);

        // Events are asked for from before the list, so that nothing falls between the two.
        let options = EventsOptions {
            since: Some(now()),
            filters: Some(HashMap::from([
                ("type".to_owned(), vec!["container".to_owned(), "network".to_owned()]),
                ("event".to_owned(), EVENTS.map(str::to_owned).to_vec()),
            ])),
            ..EventsOptions::default()
        };
        let mut inspections = Inspections::new(docker.clone());
        let all = ListContainersOptions { all: true, ..ListContainersOptions::default() };
        let listed: Vec<_> =
            in_time(docker.list_containers(Some(all))).await?.into_iter().filter_map(facts::listed).collect();
        attribution.retain(source, &listed.iter().map(|facts| facts.id.clone()).collect());
        for facts in listed {
            inspections.ask(&facts.id);
            attribution.learn(source, facts);
        }
        let mut events = pin!(transport::events(&docker, &source.endpoint, &options));
        listening::heard(attribution, source, version.version);
        *connected = true;

        let mut death = pin!(death(&docker));
        loop {
            tokio::select! {
                event = events.next() => heard(attribution, source, &mut inspections, event.ok_or(Failure::Ended)??),
                Some(facts) = inspections.next() => attribution.learn(source, facts),
                failure = &mut death => return Err(failure),
            }
        }
    }

    fn absent(failure: &Failure) -> bool {
        match failure {
            Failure::Docker(bollard::errors::Error::SocketNotFoundError(_)) => true,
            Failure::Docker(bollard::errors::Error::IOError { err }) => err.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// Who speaks: `/var/run/docker.sock` may lead to Podman (Debian's `podman-docker` links it so).
fn speaker(source: &Source, version: &SystemVersion) -> Source {
    let components = version.components.iter().flatten();
    let podman = components.into_iter().any(|component| component.name.starts_with("Podman"));
    let runtime = if podman { Runtime::Podman } else { source.runtime };
    Source { runtime, ..source.clone() }
}

/// Waits until Docker does not answer any more. A stream of events that hangs looks like one that is quiet.
async fn death(docker: &Docker) -> Failure {
    loop {
        sleep(PING_EVERY).await;
        if let Err(failure) = in_time(docker.ping()).await {
            return failure;
        }
    }
}

/// One event.
fn heard(attribution: &Attribution, source: &Source, inspections: &mut Inspections, event: EventMessage) {
    let network = event.typ == Some(EventMessageTypeEnum::NETWORK);
    if network {
        attribution.networks_changed();
        let actor = event.actor.and_then(|actor| actor.attributes);
        if let Some(container) = actor.and_then(|mut attributes| attributes.remove("container")) {
            inspections.ask(&container);
        }
        return;
    }
    let destroyed = matches!(event.action.as_deref(), Some("destroy" | "remove"));
    let Some(facts) = facts::of_event(event) else { return };
    if destroyed {
        inspections.cancel(&facts.id);
        attribution.forget(source, &facts.id);
    } else {
        inspections.ask(&facts.id);
        // Attributes of an event take the place of labels that are called as they are.
        let lacks_labels = source.runtime == Runtime::Podman;
        attribution.learn(source, ContainerFacts { lacks_labels, ..facts });
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, bollard::errors::Error>>) -> Result<T, Failure> {
    Ok(timeout(DEADLINE, answer).await.map_err(|_| Failure::Late)??)
}

/// The time as Docker takes it for `since`: seconds with nanoseconds.
fn now() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:09}", now.as_secs(), now.subsec_nanos())
}
