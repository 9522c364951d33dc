//! containerd's answers as facts. Pure.

use std::net::IpAddr;

use containerd_client::{
    events::{
        ContainerCreate, ContainerDelete, ContainerUpdate, TaskDelete, TaskExit, TaskPaused, TaskResumed,
        TaskStart,
    },
    services::v1::Container,
    to_any,
    types::{
        Envelope,
        v1::{Process, Status},
    },
};
use jiff::Timestamp;
use serde::Deserialize;

use super::super::{
    super::container::{ContainerFacts, ContainerState},
    oci::{from_spec, whole_id},
};

/// What nerdctl calls the container.
const NAME: &str = "nerdctl/name";
/// Docker puts it on the containers that it has in a containerd; it tells about them itself.
const OF_DOCKER: &str = "com.docker/engine.bundle.path";
/// Where the CRI plugin keeps what it knows of a pod's sandbox.
const SANDBOX: &str = "io.cri-containerd.sandbox.metadata";

/// What an event says.
pub(super) enum Heard {
    /// Something about this container is to be asked for.
    Made(String),
    /// What the event tells by itself.
    Told(Box<ContainerFacts>),
    /// The container is gone.
    Gone(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sandbox {
    metadata: SandboxMetadata,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SandboxMetadata {
    #[serde(default, rename = "IP")]
    ip: String,
    #[serde(default, rename = "AdditionalIPs")]
    additional: Option<Vec<String>>,
}

/// What containerd knows of a container, and its task's state where that was asked for; `None` for Docker's.
pub(super) fn of_container(
    namespace: &str,
    container: Container,
    task: Option<&Process>,
) -> Option<ContainerFacts> {
    if container.labels.contains_key(OF_DOCKER) {
        return None;
    }
    let id = whole_id(namespace, &container.id);
    let spec = container.spec.and_then(|spec| from_spec(namespace, &container.id, &spec.value));
    let mut facts = spec.unwrap_or_else(|| ContainerFacts::new(id));
    let mut labels = facts.labels.take().unwrap_or_default();
    let is_sandbox = facts.sandbox.as_ref() == Some(&container.id);
    facts.pod_labels = is_sandbox.then(|| container.labels.clone().into_iter().collect());
    labels.extend(container.labels);
    facts.name = labels.get(NAME).cloned().or(facts.name);
    (facts.labels, facts.lacks_labels) = (Some(labels), false);
    facts.image = Some(container.image).filter(|image| !image.is_empty()).or(facts.image);
    facts.state = task.map(|task| match Status::try_from(task.status) {
        Ok(Status::Running) => ContainerState::Running,
        Ok(Status::Paused | Status::Pausing) => ContainerState::Paused,
        Ok(Status::Stopped) => ContainerState::Exited,
        _ => ContainerState::Created,
    });
    facts.pid = task.map(|task| Some(task.pid).filter(|pid| *pid != 0));
    let sandbox = container.extensions.get(SANDBOX);
    let sandbox = sandbox.and_then(|sandbox| serde_json::from_slice::<Sandbox>(&sandbox.value).ok());
    facts.addresses = sandbox.map(|Sandbox { metadata }| {
        let told = std::iter::once(metadata.ip).chain(metadata.additional.unwrap_or_default());
        told.filter_map(|address| address.parse::<IpAddr>().ok()).collect()
    });
    Some(facts)
}

/// What an event about a container or its task says; `None` when that is nothing for us.
pub(super) fn of_event(envelope: Envelope) -> Option<Heard> {
    let Envelope { timestamp, namespace, topic, event } = envelope;
    let mut event = event?;
    // containerd leaves out the slash that stands before the name of the type.
    if !event.type_url.starts_with('/') {
        event.type_url.insert(0, '/');
    }
    let whole = |id: &str| whole_id(&namespace, id);
    let told = |facts| Heard::Told(Box::new(facts));
    let state = |id: &str, state| ContainerFacts { state: Some(state), ..ContainerFacts::new(whole(id)) };
    Some(match topic.as_str() {
        "/containers/create" => Heard::Made(event.to_msg::<ContainerCreate>().ok()?.id),
        "/containers/update" => Heard::Made(event.to_msg::<ContainerUpdate>().ok()?.id),
        "/containers/delete" => Heard::Gone(whole(&event.to_msg::<ContainerDelete>().ok()?.id)),
        "/tasks/start" => {
            let start: TaskStart = event.to_msg().ok()?;
            let started_at = timestamp
                .and_then(|time| Timestamp::new(time.seconds, time.nanos).ok())
                .filter(|time| *time > Timestamp::UNIX_EPOCH);
            told(ContainerFacts {
                pid: Some(Some(start.pid)),
                started_at,
                ..state(&start.container_id, ContainerState::Running)
            })
        }
        "/tasks/exit" => {
            let exit: TaskExit = event.to_msg().ok()?;
            // Others are programs that were run in it beside its own.
            if exit.id != exit.container_id {
                return None;
            }
            told(ended(state(&exit.container_id, ContainerState::Exited)))
        }
        "/tasks/delete" => {
            let delete: TaskDelete = event.to_msg().ok()?;
            if !delete.id.is_empty() && delete.id != delete.container_id {
                return None;
            }
            told(ended(state(&delete.container_id, ContainerState::Exited)))
        }
        "/tasks/paused" => {
            told(state(&event.to_msg::<TaskPaused>().ok()?.container_id, ContainerState::Paused))
        }
        "/tasks/resumed" => {
            told(state(&event.to_msg::<TaskResumed>().ok()?.container_id, ContainerState::Running))
        }
        _ => return None,
    })
}

/// What these bytes tell, taken for an event, and for a container together with its task: the door of the fuzz targets.
#[must_use]
pub fn told_by(bytes: &[u8]) -> Vec<ContainerFacts> {
    let taken_for = |name: &str| {
        let mut any = to_any(&Envelope::default());
        (any.type_url, any.value) = (format!("/containerd.{name}"), bytes.to_vec());
        any
    };
    let event = taken_for("types.Envelope").to_msg().ok().and_then(of_event).map(|heard| match heard {
        Heard::Told(facts) => *facts,
        Heard::Made(id) | Heard::Gone(id) => ContainerFacts::new(id),
    });
    let task: Option<Process> = taken_for("v1.types.Process").to_msg().ok();
    let container: Option<Container> = taken_for("services.containers.v1.Container").to_msg().ok();
    let container = container.and_then(|container| of_container("default", container, task.as_ref()));
    event.into_iter().chain(container).collect()
}

/// A container that ended has no process, and others may get its addresses.
fn ended(facts: ContainerFacts) -> ContainerFacts {
    ContainerFacts { pid: Some(None), addresses: Some(Vec::new()), ..facts }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(id: &str, labels: &[(&str, &str)]) -> Container {
        Container {
            id: id.to_owned(),
            image: "shop:1".to_owned(),
            labels: labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect(),
            ..Container::default()
        }
    }

    /// What an event says that is written as containerd writes it.
    macro_rules! event {
        ($topic:expr, $message:expr) => {
            of_event(Envelope {
                namespace: "default".to_owned(),
                topic: $topic.to_owned(),
                event: Some(to_any(&$message)),
                timestamp: None,
            })
        };
    }

    #[test]
    fn a_container_is_called_as_nerdctl_called_it_and_docker_tells_of_its_own() {
        let facts = of_container("default", container("web", &[(NAME, "shop")]), None).unwrap();
        assert_eq!((facts.id.as_str(), facts.name.as_deref()), ("default/web", Some("shop")));
        assert_eq!(facts.image.as_deref(), Some("shop:1"));
        assert!(of_container("other", container("web", &[(OF_DOCKER, "/run")]), None).is_none());
    }

    #[test]
    fn a_sandbox_tells_the_addresses_of_its_pod() {
        let mut sandbox = container(&"a".repeat(64), &[]);
        let json = br#"{"Version": "v1", "Metadata": {"IP": "198.18.3.2", "AdditionalIPs": ["fd00::2"]}}"#;
        let mut any = to_any(&ContainerDelete::default());
        any.value = json.to_vec();
        sandbox.extensions.insert(SANDBOX.to_owned(), any);
        assert_eq!(of_container("k8s.io", sandbox, None).unwrap().addresses.unwrap().len(), 2);
    }

    #[test]
    fn the_labels_of_a_sandbox_are_its_pods() {
        let spec = |sandbox: &str| {
            let mut any = to_any(&ContainerDelete::default());
            let annotations =
                format!(r#"{{"annotations": {{"io.kubernetes.cri.sandbox-id": "{sandbox}"}}}}"#);
            any.value = annotations.into_bytes();
            Some(any)
        };
        let (sandbox, member) = ("a".repeat(64), "b".repeat(64));
        let of = |id: &str| {
            let container = Container { spec: spec(&sandbox), ..container(id, &[("app", "web")]) };
            let facts = of_container("k8s.io", container, None).unwrap();
            (facts.sandbox, facts.pod_labels.map(|labels| labels["app"].clone()))
        };
        assert_eq!(of(&sandbox), (Some(sandbox.clone()), Some("web".to_owned())));
        assert_eq!(of(&member), (Some(sandbox.clone()), None));
    }

    #[test]
    fn the_same_bytes_are_a_container_with_its_task_or_an_event() {
        let bytes = to_any(&container("web", &[(NAME, "shop")])).value;
        assert_eq!(told_by(&bytes)[0].name.as_deref(), Some("shop"));
        let event = Some(to_any(&TaskStart { container_id: "web".into(), pid: 77 }));
        let topic = "/tasks/start".to_owned();
        let envelope = Envelope { namespace: "default".to_owned(), topic, event, timestamp: None };
        assert_eq!(told_by(&to_any(&envelope).value)[0].pid, Some(Some(77)));
    }

    #[test]
    fn only_the_end_of_a_containers_own_process_is_its_end() {
        let exit = |id: &str| TaskExit { container_id: "web".into(), id: id.into(), ..TaskExit::default() };
        assert!(event!("/tasks/exit", exit("exec-1")).is_none());
        let Some(Heard::Told(facts)) = event!("/tasks/exit", exit("web")) else { panic!("no facts") };
        assert_eq!((facts.id.as_str(), facts.state), ("default/web", Some(ContainerState::Exited)));
    }

    #[test]
    fn a_start_tells_the_process_and_a_deletion_the_end() {
        let start = TaskStart { container_id: "web".into(), pid: 77 };
        let Some(Heard::Told(facts)) = event!("/tasks/start", start) else { panic!("no facts") };
        assert_eq!((facts.pid, facts.state), (Some(Some(77)), Some(ContainerState::Running)));
        let delete = ContainerDelete { id: "web".into() };
        assert!(matches!(event!("/containers/delete", delete), Some(Heard::Gone(id)) if id == "default/web"));
        assert!(event!("/images/create", ContainerDelete::default()).is_none());
    }
}
