//! Inspections in the background: few at once, none for what changed meanwhile.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use bollard::{Docker, errors::Error, query_parameters::InspectContainerOptions};
use tokio::task::{AbortHandle, JoinSet};

use super::{super::super::container::ContainerFacts, Failure, facts, in_time};

/// Most inspections at once: Docker has other work.
const AT_ONCE: usize = 4;
/// How often one that fails is tried again: a container may bear its id, and lack its addresses, for as long as it lives.
const TRIES_MORE: usize = 2;
/// How long it is waited before that; twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Asks Docker about containers. Dropped, it stops.
pub(super) struct Inspections {
    docker: Docker,
    /// Of each container that is to be inspected, the number of the last question: an answer to an earlier one may tell of a
    /// state that an event has since overtaken.
    asked: HashMap<String, u64>,
    /// The last number.
    last: u64,
    /// Inspections under way: one that nobody asks for any more makes room.
    handles: HashMap<String, AbortHandle>,
    waiting: VecDeque<String>,
    running: JoinSet<(String, u64, Option<ContainerFacts>)>,
}

impl Inspections {
    pub(super) fn new(docker: Docker) -> Self {
        Self {
            docker,
            asked: HashMap::new(),
            last: 0,
            handles: HashMap::new(),
            waiting: VecDeque::new(),
            running: JoinSet::new(),
        }
    }

    /// This container is to be inspected, and no earlier answer counts.
    pub(super) fn ask(&mut self, id: &str) {
        self.last += 1;
        self.asked.insert(id.to_owned(), self.last);
        self.abort(id);
        if !self.waiting.iter().any(|waiting| waiting == id) {
            self.waiting.push_back(id.to_owned());
        }
        self.start();
    }

    /// This container is gone: no answer counts.
    pub(super) fn cancel(&mut self, id: &str) {
        self.asked.remove(id);
        self.abort(id);
        self.waiting.retain(|waiting| waiting != id);
    }

    fn abort(&mut self, id: &str) {
        if let Some(handle) = self.handles.remove(id) {
            handle.abort();
        }
    }

    /// The next answer that counts; `None` when nothing is asked. Safe to be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<ContainerFacts> {
        loop {
            let done = self.running.join_next().await?;
            self.start();
            let Ok((id, turn, answer)) = done else { continue };
            if self.asked.get(&id) == Some(&turn) {
                self.asked.remove(&id);
                self.handles.remove(&id);
                if answer.is_some() {
                    return answer;
                }
            }
        }
    }

    fn start(&mut self) {
        while self.running.len() < AT_ONCE {
            let Some(id) = self.waiting.pop_front() else { return };
            let Some(turn) = self.asked.get(&id).copied() else { continue };
            let docker = self.docker.clone();
            let inspected = id.clone();
            let handle = self.running.spawn(async move {
                let answer = inspect(&docker, &inspected).await;
                (inspected, turn, answer)
            });
            self.handles.insert(id, handle);
        }
    }
}

/// What Docker tells of a container, if need be at the third try.
async fn inspect(docker: &Docker, id: &str) -> Option<ContainerFacts> {
    let ask = || in_time(docker.inspect_container(id, None::<InspectContainerOptions>));
    let pauses = ExponentialBuilder::default().with_min_delay(FIRST_PAUSE).with_max_times(TRIES_MORE);
    match ask.retry(pauses).when(|failure| !is_gone(failure)).await {
        Ok(answer) => facts::inspected(answer),
        // Usual for a container that ended at once; events told its name.
        Err(failure) if is_gone(&failure) => {
            tracing::debug!(container = id, "a container is gone before it can be inspected");
            None
        }
        Err(error) => {
            tracing::warn!(container = id, %error, "a container cannot be inspected: what only that tells is not known");
            None
        }
    }
}

/// Whether Docker does not know the container (any more).
fn is_gone(failure: &Failure) -> bool {
    matches!(failure, Failure::Docker(Error::DockerResponseServerError { status_code: 404, .. }))
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::UnixListener,
    };

    use super::{super::transport, *};

    /// A Docker that answers one question on each connection; how it answered is what each of these has.
    async fn inspected_of(answers: &[(&str, &str)]) -> (Option<String>, usize) {
        let number = answers.len();
        let socket =
            std::env::temp_dir().join(format!("cofferdam-inspect-{}-{number}.sock", std::process::id()));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let docker = transport::connect(&socket, 5).unwrap();
        let asks = async {
            let mut inspections = Inspections::new(docker);
            inspections.ask("3f2a");
            inspections.next().await
        };
        let mut asked = 0;
        let told = tokio::select! {
            told = asks => told,
            () = async {
                for (status, body) in answers {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let _ = stream.read(&mut [0; 4_096]).await.unwrap();
                    asked += 1;
                    let length = body.len();
                    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nConnection: close\r\n");
                    let answer = format!("{head}Content-Length: {length}\r\n\r\n{body}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                std::future::pending::<()>().await;
            } => unreachable!(),
        };
        std::fs::remove_file(&socket).unwrap();
        (told.and_then(|facts| facts.name), asked)
    }

    #[tokio::test]
    async fn an_inspection_that_fails_is_tried_again_and_not_where_the_container_is_gone() {
        let busy = ("500 Internal Server Error", r#"{"message": "busy"}"#);
        let found = ("200 OK", r#"{"Id": "3f2a", "Name": "/web"}"#);
        let gone = ("404 Not Found", r#"{"message": "no such container"}"#);
        assert_eq!(inspected_of(&[busy, found]).await, (Some("web".to_owned()), 2));
        assert_eq!(inspected_of(&[gone, found, found]).await, (None, 1));
    }
}
