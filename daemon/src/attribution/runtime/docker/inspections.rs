//! Inspections in the background: few at once, none for what changed meanwhile.

use std::collections::{HashMap, VecDeque};

use bollard::{Docker, query_parameters::InspectContainerOptions};
use tokio::task::JoinSet;

use super::{super::super::container::ContainerFacts, facts, in_time};

/// Most inspections at once: Docker has other work.
const AT_ONCE: usize = 4;

/// Asks Docker about containers. Dropped, it stops.
pub(super) struct Inspections {
    docker: Docker,
    /// Of each container that is to be inspected, how often it was asked for: an answer to an earlier question may
    /// tell of a state that an event has since overtaken.
    asked: HashMap<String, u64>,
    waiting: VecDeque<String>,
    running: JoinSet<(String, u64, Option<ContainerFacts>)>,
}

impl Inspections {
    pub(super) fn new(docker: Docker) -> Self {
        Self { docker, asked: HashMap::new(), waiting: VecDeque::new(), running: JoinSet::new() }
    }

    /// This container is to be inspected, and no earlier answer counts.
    pub(super) fn ask(&mut self, id: &str) {
        *self.asked.entry(id.to_owned()).or_default() += 1;
        if !self.waiting.iter().any(|waiting| waiting == id) {
            self.waiting.push_back(id.to_owned());
        }
        self.start();
    }

    /// This container is gone: no answer counts.
    pub(super) fn cancel(&mut self, id: &str) {
        self.asked.remove(id);
        self.waiting.retain(|waiting| waiting != id);
    }

    /// The next answer that counts; `None` when nothing is asked. Safe to be dropped while it waits.
    pub(super) async fn next(&mut self) -> Option<ContainerFacts> {
        loop {
            let done = self.running.join_next().await?;
            self.start();
            let Ok((id, turn, answer)) = done else { continue };
            if self.asked.get(&id) == Some(&turn) {
                self.asked.remove(&id);
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
            self.running.spawn(async move {
                let answer = in_time(docker.inspect_container(&id, None::<InspectContainerOptions>)).await;
                let answer = match answer {
                    Ok(answer) => facts::inspected(answer),
                    // Usual for a container that ended at once; events told its name.
                    Err(error) => {
                        tracing::debug!(container = id, %error, "container cannot be inspected");
                        None
                    }
                };
                (id, turn, answer)
            });
        }
    }
}
