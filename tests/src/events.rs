//! Events as a client of the daemon prints them.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use anyhow::Context;
use cofferdam::event::Event;

use crate::command::wait_for;

/// Events as they come, read in the background.
#[derive(Debug)]
pub struct Events {
    client: Child,
    seen: Arc<Mutex<Vec<Event>>>,
}

impl Events {
    /// Runs the client and reads what it prints.
    pub(crate) fn listen(client: &mut Command) -> anyhow::Result<Self> {
        let mut client = client.stdout(Stdio::piped()).spawn()?;
        let output = client.stdout.take().context("no output")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let (Ok(event), Ok(mut seen)) = (serde_json::from_str(&line), into.lock()) {
                    seen.push(event);
                }
            }
        });
        // Nothing tells when it has connected: give it the time.
        thread::sleep(Duration::from_millis(500));
        Ok(Self { client, seen })
    }

    /// Those that have come.
    #[must_use]
    pub fn seen(&self) -> Vec<Event> {
        self.seen.lock().map(|seen| seen.clone()).unwrap_or_default()
    }

    /// Waits for one that is wanted.
    ///
    /// # Errors
    /// When none comes within ten seconds; the error lists those that came.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> anyhow::Result<Event> {
        wait_for(what, Duration::from_secs(10), || self.seen().into_iter().find(|event| wanted(event)))
            .with_context(|| {
                let seen = self.seen();
                let last = seen.iter().rev().take(40).rev().map(|event| event.message.as_str());
                format!("{} events came, the last are:\n{}", seen.len(), last.collect::<Vec<_>>().join("\n"))
            })
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}
