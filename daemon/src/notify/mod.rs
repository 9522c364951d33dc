//! Sends alerts to those who should know. Each receiver has a task and a bounded queue of its own: one that is dead or
//! hangs slows nothing else.

use std::{fmt, path::Path, sync::Arc};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use self::{
    alertmanager::Alertmanager,
    file::LogFile,
    http::{Door, Http},
    journald::Journald,
    lane::{Lane, Pace, Receive},
    queue::Queue,
    syslog::Syslog,
    webhook::Webhook,
};
use crate::{
    config::{Alerts, Syslog as SyslogPlace},
    event::Alert,
};

mod queue;

mod lane;

mod apart;

mod body;

mod fields;

mod http;

mod alertmanager;

mod webhook;

mod journald;

mod syslog;

mod file;

pub use self::lane::ReceiverStatus;

/// Most alerts that wait for a receiver. The newest state of each counts once.
const WAITING: usize = 256;
/// The same for those that are told of open alerts again and again: those count as well.
const STANDING: usize = 1_024;

/// Whom alerts are sent to. A handle: its clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Notify {
    lanes: Arc<[Arc<Lane>]>,
}

/// Starts receivers.
struct Starter<'a> {
    tasks: &'a Handle,
    pace: Pace,
    cancel: CancellationToken,
    lanes: Vec<Arc<Lane>>,
}

impl Notify {
    /// Starts a task for each receiver of the configuration. `host` is what this host is called.
    #[must_use]
    pub fn start(config: &Alerts, host: &str, tasks: &Handle, cancel: CancellationToken) -> Self {
        Self::start_at(config, host, tasks, cancel, Pace::default(), Path::new(journald::SOCKET))
    }

    fn start_at(
        config: &Alerts,
        host: &str,
        tasks: &Handle,
        cancel: CancellationToken,
        pace: Pace,
        journal: &Path,
    ) -> Self {
        let host: Arc<str> = host.into();
        let mut start = Starter { tasks, pace, cancel, lanes: Vec::new() };
        let alertmanagers = &config.alertmanagers;
        for (at, address) in alertmanagers.iter().enumerate() {
            let receiver = Alertmanager::new(address, &config.alertmanager_token_file, host.clone());
            let queue = Queue::new(STANDING, true);
            start.lane("alertmanager", &numbered(at, alertmanagers.len()), address, queue, receiver);
        }
        for (at, webhook) in config.webhooks.iter().enumerate() {
            let receiver = Webhook::new(webhook, host.clone());
            let queue = Queue::new(WAITING, false);
            start.lane("webhook", &numbered(at, config.webhooks.len()), &webhook.url, queue, receiver);
        }
        if config.journald {
            let receiver = Journald::new(journal.to_owned());
            start.lane("journald", "", &journal.display(), Queue::new(WAITING, false), receiver);
        }
        if config.syslog != SyslogPlace::Off {
            let receiver = Syslog::new(config.syslog.clone(), host.clone());
            start.lane("syslog", "", &config.syslog, Queue::new(WAITING, false), receiver);
        }
        if let Some(path) = config.file.path() {
            let place = path.display().to_string();
            let receiver = LogFile::new(path, host);
            start.lane("file", "", &place, Queue::new(WAITING, false), receiver);
        }
        Self { lanes: start.lanes.into() }
    }

    /// Sends an alert to all receivers, in the place of an older state of it that still waits for one. Never waits itself:
    /// what finds no room in a queue is dropped there, and counted.
    pub fn send(&self, alert: &Alert) {
        self.put(alert, |_| true);
    }

    /// Goes on telling of an open alert those who are told again and again. The others know of it from an earlier daemon.
    pub fn resume(&self, alert: &Alert) {
        self.put(alert, Lane::is_standing);
    }

    fn put(&self, alert: &Alert, to: impl Fn(&Lane) -> bool) {
        let mut lanes = self.lanes.iter().filter(|lane| to(lane)).peekable();
        if lanes.peek().is_some() {
            let alert = Arc::new(alert.clone());
            lanes.for_each(|lane| lane.put(&alert));
        }
    }

    /// How each receiver stands.
    #[must_use]
    pub fn receivers(&self) -> Vec<ReceiverStatus> {
        self.lanes.iter().map(|lane| lane.status()).collect()
    }
}

impl Starter<'_> {
    fn lane(
        &mut self,
        kind: &'static str,
        number: &str,
        place: &dyn fmt::Display,
        queue: Queue,
        receiver: impl Receive,
    ) {
        let lane = Arc::new(Lane::new(format!("{kind}{number}"), kind, place.to_string(), queue));
        self.tasks.spawn(Arc::clone(&lane).run(receiver, self.pace, self.cancel.clone()));
        self.lanes.push(lane);
    }
}

/// What tells one of several from the others.
fn numbered(at: usize, of: usize) -> String {
    if of > 1 { format!("-{}", at + 1) } else { String::new() }
}

#[cfg(test)]
mod samples;

#[cfg(test)]
mod tests;
