//! containerd: containers of all its namespaces when we come, and its events from then on.
//!
//! Its events carry little more than an id, so what changed is asked for. Messages are at most 4 MiB (tonic's limit),
//! and containers come one by one: a containerd that sends without end costs a bounded buffer.

mod facts;

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    error::Error,
    io,
    pin::pin,
};

use containerd_client::{
    Client,
    services::v1::{
        GetContainerRequest, ListContainersRequest, ListNamespacesRequest, ListTasksRequest, SubscribeRequest,
    },
    tonic::{self, Code, Request, Response, metadata::errors::InvalidMetadataValue},
    types::{Envelope, v1::Process},
};
use futures_util::{
    StreamExt as _, TryFutureExt as _,
    future::{Either, select},
};
use tokio::time::{sleep, timeout};

use self::facts::Heard;
pub use self::facts::told_by;
use super::{
    super::{
        Attribution,
        container::{ContainerFacts, Source},
    },
    DOCKERS_NAMESPACE,
    listening::{self, DEADLINE, Listen, PING_EVERY},
};

/// Most containers of one namespace that are listed.
const CONTAINERS_LIMIT: usize = 65_536;
/// Longest id and longest name of a namespace that are kept, in bytes; containerd itself takes 76.
const ID_LIMIT: usize = 256;
/// Most namespaces that are listed.
const NAMESPACES_LIMIT: usize = 256;

/// What happens to containers and their tasks. containerd filters: images and snapshots are its main talk.
const TOPICS: [&str; 8] = [
    "/containers/create",
    "/containers/update",
    "/containers/delete",
    "/tasks/start",
    "/tasks/exit",
    "/tasks/delete",
    "/tasks/paused",
    "/tasks/resumed",
];

/// Why containerd is not heard.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error(transparent)]
    Connect(#[from] tonic::transport::Error),
    #[error("it refused: {0}")]
    Refused(Box<tonic::Status>),
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Late,
    #[error("it ended its stream of events")]
    Ended,
    #[error("it named a namespace that cannot be asked for")]
    Namespace(#[from] InvalidMetadataValue),
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// containerd's API.
pub(super) struct Api;

impl Listen for Api {
    type Failure = Failure;

    async fn listen(
        attribution: &Attribution,
        source: &Source,
        connected: &mut bool,
    ) -> Result<Infallible, Failure> {
        let client = Client::from(in_time(containerd_client::connect(&source.endpoint)).await?);

        // Asked for before the list, so that nothing falls between the two. In quotes, without which containerd
        // refuses the slash. It does not answer before the first event: nobody can wait for that.
        let filters = TOPICS.map(|topic| format!("topic==\"{topic}\"")).to_vec();
        let mut subscriber = client.events();
        let subscribed = subscriber.subscribe(SubscribeRequest { filters }).map_ok(Response::into_inner);
        let mut events = pin!(subscribed.try_flatten_stream().peekable());
        let listing = pin!(list(attribution, source, &client));
        match select(events.as_mut().peek(), listing).await {
            Either::Left((_, listing)) => listing.await?,
            Either::Right((listed, _)) => listed?,
        }
        *connected = true;

        let mut death = pin!(death(&client));
        loop {
            tokio::select! {
                event = events.next() => heard(attribution, source, &client, event.ok_or(Failure::Ended)??).await?,
                failure = &mut death => return Err(failure),
            }
        }
    }

    fn absent(failure: &Failure) -> bool {
        let mut cause = Some(failure as &dyn Error);
        while let Some(error) = cause {
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
            {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

/// What there is now.
async fn list(attribution: &Attribution, source: &Source, client: &Client) -> Result<(), Failure> {
    let version = in_time(client.version().version(())).await?.into_inner().version;
    let mut known = HashSet::new();
    for namespace in namespaces(client).await? {
        in_time(containers(client, &namespace, |facts| {
            known.insert(facts.id.clone());
            attribution.learn(source, facts);
        }))
        .await?;
    }
    attribution.retain(source, &known);
    listening::heard(attribution, source, Some(version));
    Ok(())
}

/// All namespaces but Docker's.
async fn namespaces(client: &Client) -> Result<Vec<String>, Failure> {
    let answer = in_time(client.namespaces().list(ListNamespacesRequest::default())).await?.into_inner();
    let names = answer.namespaces.into_iter().map(|namespace| namespace.name);
    let wanted = |name: &String| name != DOCKERS_NAMESPACE && name.len() <= ID_LIMIT;
    Ok(names.filter(wanted).take(NAMESPACES_LIMIT).collect())
}

/// All containers of a namespace, each handed on as it comes: labels may be long, and nobody keeps all of them.
async fn containers(
    client: &Client,
    namespace: &str,
    mut found: impl FnMut(ContainerFacts),
) -> Result<(), Failure> {
    let tasks =
        client.tasks().list(within(namespace, ListTasksRequest::default())?).await?.into_inner().tasks;
    let tasks: HashMap<String, Process> = tasks.into_iter().map(|task| (task.id.clone(), task)).collect();
    let listing =
        client.containers().list_stream(within(namespace, ListContainersRequest::default())?).await?;
    let mut listing = listing.into_inner().take(CONTAINERS_LIMIT);
    while let Some(message) = listing.next().await {
        let Some(container) = message?.container.filter(|container| container.id.len() <= ID_LIMIT) else {
            continue;
        };
        let task = tasks.get(&container.id);
        if let Some(facts) = facts::of_container(namespace, container, task) {
            found(facts);
        }
    }
    Ok(())
}

/// One event.
async fn heard(
    attribution: &Attribution,
    source: &Source,
    client: &Client,
    event: Envelope,
) -> Result<(), Failure> {
    if event.namespace == DOCKERS_NAMESPACE {
        return Ok(());
    }
    let namespace = event.namespace.clone();
    match facts::of_event(event) {
        Some(Heard::Made(id)) => {
            let request = within(&namespace, GetContainerRequest { id })?;
            match in_time(client.containers().get(request)).await {
                Ok(answer) => {
                    let container = answer.into_inner().container;
                    let facts =
                        container.and_then(|container| facts::of_container(&namespace, container, None));
                    if let Some(facts) = facts {
                        attribution.learn(source, facts);
                    }
                }
                // Usual for a container that ended at once.
                Err(Failure::Refused(status)) if status.code() == Code::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        Some(Heard::Told(facts)) => attribution.tell(source, *facts),
        Some(Heard::Gone(id)) => attribution.forget(source, &id),
        None => {}
    }
    Ok(())
}

/// A question about a namespace.
fn within<T>(namespace: &str, question: T) -> Result<Request<T>, InvalidMetadataValue> {
    let mut request = Request::new(question);
    request.metadata_mut().insert("containerd-namespace", namespace.parse()?);
    Ok(request)
}

/// Waits until containerd does not answer any more. A stream of events that hangs looks like one that is quiet.
async fn death(client: &Client) -> Failure {
    loop {
        sleep(PING_EVERY).await;
        if let Err(failure) = in_time(client.version().version(())).await {
            return failure;
        }
    }
}

async fn in_time<T, E: Into<Failure>>(answer: impl Future<Output = Result<T, E>>) -> Result<T, Failure> {
    timeout(DEADLINE, answer).await.map_err(|_| Failure::Late)?.map_err(Into::into)
}
