//! Builds the stages and runs the loop: the page to read first.
//!
//! ```text
//! ring -> Reader -> Record::decode -> Attribution::attribute -> Metrics::observe -> EventStream::publish
//! ```
//! The loop has a thread of its own and never waits for anybody: what it calls takes short locks and bounded
//! queues only. Everything that reads from the system (runtimes, maps, sockets) runs beside it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cofferdam_common::network::FlowRecord;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::instance::Instance;
use crate::{
    attribution::{self, Attribution, runtime},
    event::{Event, EventKind, Lost, SCHEMA_VERSION},
    metrics::Metrics,
    sensor::{self, clock::Clock, features, offsets, reader::Reader, record::Record},
    sink::EventStream,
    view::{Heartbeat, View},
};

mod instance;

mod keeper;

mod supervisor;

/// How long the loop sleeps while there is work; doubles up to [`LONGEST_PAUSE`] while there is none.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// A full flow ring of 4 MiB takes 50 ms at half a million records per second.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What other threads may have waiting for the loop.
const INJECTED_LIMIT: usize = 1024;

/// One part per stage.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where Prometheus scrapes.
    pub listen: SocketAddr,
    /// Holds the lock and the socket of the API.
    pub run_dir: PathBuf,
    /// Where container runtimes listen.
    pub runtimes: runtime::Sockets,
    /// Where container runtimes keep what they write down.
    pub roots: runtime::oci::Roots,
    /// How the sensor is loaded; where the cgroup tree and bpffs are is found out.
    pub sensor: sensor::Options,
}

/// What other threads hand to the loop.
enum Injected {
    /// A flow that ended without a packet saying so.
    Close(Box<FlowRecord>),
    /// Records that the kernel could not deliver.
    Lost(Lost),
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// When something it cannot do without is missing, another daemon runs, a socket cannot be bound, or the kernel
/// refuses all hooks.
pub fn run(config: Config) -> anyhow::Result<()> {
    let features = features::detect();
    features.check()?;
    let instance = Instance::claim(&config.run_dir)?;
    let tasks = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // Bound before anything is loaded into the kernel.
    let (local, web) = tasks.block_on(async {
        let web = TcpListener::bind(config.listen).await;
        let web = web.with_context(|| format!("cannot listen on {}", config.listen))?;
        anyhow::Ok((instance.listen()?, web))
    })?;

    let located = offsets::from_child(sensor::OFFSETS_COMMAND)?;
    let options = sensor::Options {
        cgroup_root: features.cgroup_root.clone().context("no cgroup v2 tree")?,
        pin_directory: sensor::pin_directory(features.bpffs.as_deref().context("no BPF file system")?),
        ..config.sensor
    };
    let loaded = sensor::load(&options, &located)?;
    let ledger = Arc::new(loaded.ledger);
    let attribution = Arc::new(Attribution::new(options.cgroup_root));
    attribution.seed().context("cannot look at what runs already")?;

    let view = View {
        attribution: Arc::clone(&attribution),
        counts: ledger.clone(),
        archive: Arc::new(Mutex::default()),
        hooks: Arc::new(loaded.sensor.hooks().to_vec()),
        features: Arc::new(features),
        metrics: Arc::new(Metrics::new()),
        events: EventStream::new(),
        started: Instant::now(),
        heartbeat: Heartbeat::default(),
    };
    let cancel = CancellationToken::new();
    let (inject, injected) = sync_channel(INJECTED_LIMIT);
    let pipeline = Pipeline {
        reader: loaded.reader,
        attribution: Arc::clone(&attribution),
        metrics: Arc::clone(&view.metrics),
        events: view.events.clone(),
        heartbeat: view.heartbeat.clone(),
        injected,
        seq: 0,
    };
    let data_path = thread::Builder::new().name("data-path".to_owned()).spawn({
        let cancel = cancel.clone();
        move || pipeline.run(&cancel)
    })?;
    let keeper = thread::Builder::new().name("keeper".to_owned()).spawn({
        let (view, cancel) = (view.clone(), cancel.clone());
        move || keeper::keep(&view, &ledger, &inject, &cancel)
    })?;
    tasks.spawn(runtime::watch_all(Arc::clone(&attribution), config.runtimes, cancel.clone()));
    tasks.spawn(runtime::oci::watch(Arc::clone(&attribution), config.roots, cancel.clone()));
    tasks.spawn(attribution::keep(attribution, cancel.clone()));
    let served = tasks.block_on(supervisor::serve(view, local, web, cancel.clone()));

    cancel.cancel();
    for thread in [data_path, keeper] {
        // A thread that panicked has said so; the daemon stops either way.
        let _ = thread.join();
    }
    tasks.shutdown_timeout(Duration::from_secs(1));
    served
}

/// The data path.
struct Pipeline {
    reader: Reader,
    attribution: Arc<Attribution>,
    metrics: Arc<Metrics>,
    events: EventStream,
    heartbeat: Heartbeat,
    injected: Receiver<Injected>,
    seq: u64,
}

impl Pipeline {
    fn run(mut self, cancel: &CancellationToken) {
        let mut pause = SHORTEST_PAUSE;
        while !cancel.is_cancelled() {
            let found = self.turn();
            self.heartbeat.beat();
            pause = if found > 0 { SHORTEST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            // After a full batch more is waiting.
            if found < sensor::reader::BATCH {
                thread::sleep(pause);
            }
        }
    }

    /// Takes what is there. Returns how many records that were.
    fn turn(&mut self) -> usize {
        let clock = Clock::now();
        let Self { reader, attribution, metrics, events, seq, .. } = self;
        let found = reader.drain(|bytes| match Record::decode(bytes) {
            Ok(record) => {
                metrics.delivered(record.family());
                *seq += 1;
                let event = attribution.attribute(&record, &clock, *seq);
                metrics.observe(&event);
                events.publish(event);
            }
            Err(_) => metrics.undecoded(),
        });
        let injected: Vec<Injected> = self.injected.try_iter().collect();
        for item in injected {
            self.seq += 1;
            let event = match item {
                Injected::Close(record) => {
                    self.attribution.attribute(&Record::FlowClose(*record), &clock, self.seq)
                }
                Injected::Lost(lost) => self.lost(lost, &clock),
            };
            self.metrics.observe(&event);
            self.events.publish(event);
        }
        found
    }

    fn lost(&self, lost: Lost, clock: &Clock) -> Event {
        Event {
            schema_version: SCHEMA_VERSION,
            seq: self.seq,
            time: clock.from_boot(clock.boot_time()),
            message: format!("{} records of family {} were lost", lost.records, lost.family),
            kind: EventKind::Lost(lost),
        }
    }
}
