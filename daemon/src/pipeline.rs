//! Builds the stages and runs the loop: the page to read first.
//!
//! ```text
//! ring -> Reader -> Record::decode -> Attribution::attribute -> Metrics::observe -> EventStream::publish
//! ```
//! The loop has a thread of its own and never waits for anybody: what it calls takes short locks and bounded
//! queues only. Everything that reads from the system (runtimes, maps, sockets) runs beside it.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cofferdam_common::{ids::CgroupId, network::FlowRecord, record::family};
use nix::sys::utsname::uname;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::oneshot,
};
use tokio_util::sync::CancellationToken;

use self::instance::Instance;
use crate::{
    attribution::{self, Attribution, Networks, runtime},
    baseline::Alerts,
    config::{AtStop, Config, InForce, Source},
    enforcement::{self, Sync},
    event::{Alert, Event, EventKind, Lost, SCHEMA_VERSION},
    history::{self, Inlet},
    interaction::recent::Recent,
    metrics::Metrics,
    notify::Notify,
    sensor::{self, budgets::Missing, clock::Clock, features, offsets, reader::Reader, record::Record},
    sink::EventStream,
    syscall::accounts::Accounts,
    view::{Heartbeat, View},
};

mod canaries;

mod cutter;

mod instance;

mod keeper;

mod links;

mod listen;

mod policies;

mod recorder;

mod reload;

mod settings;

mod supervisor;

mod trouble;

mod verifier;

/// How long the loop sleeps while there is work; doubles up to [`LONGEST_PAUSE`] while there is none.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
/// A full flow ring of 4 MiB takes 50 ms at half a million records per second.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// How long the daemon waits at its end for the disk.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// What other threads may have waiting for the loop.
const INJECTED_LIMIT: usize = 1024;

/// What other threads hand to the loop.
enum Injected {
    /// A flow that ended without a packet saying so.
    Close(Box<FlowRecord>),
    /// Records that were over their budget or found no room.
    Missing(Missing),
    /// An alert that is new, came again, or is over.
    Alert(Box<Alert>),
}

/// Keeps a daemon from starting with this run directory for as long as what is returned is held.
///
/// # Errors
/// When one runs, or the directory cannot be made or written.
pub fn claim(run_dir: &Path) -> anyhow::Result<impl Sized> {
    Instance::claim(run_dir)
}

/// The process of the daemon that runs with this run directory, if one does; 0 where it has just begun.
///
/// # Errors
/// When that cannot be told.
pub fn holder(run_dir: &Path) -> anyhow::Result<Option<u32>> {
    Instance::holder(run_dir)
}

/// Runs the daemon until it is told to stop. `run_dir` holds the lock and the socket of the API; `source` is where
/// `config` came from, and is read again on SIGHUP.
///
/// # Errors
/// When something it cannot do without is missing, another daemon runs, a socket cannot be bound, or the kernel
/// refuses all hooks.
pub fn run(run_dir: &Path, source: Source, config: &Config) -> anyhow::Result<()> {
    let features = features::detect();
    features.check()?;
    let instance = Instance::claim(run_dir)?;
    let tasks = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // Bound before anything is loaded into the kernel.
    let listen = config.listen;
    let (local, web, hangup) = tasks.block_on(async {
        // From here on SIGHUP does not end the daemon.
        let hangup = signal(SignalKind::hangup()).context("cannot listen for SIGHUP")?;
        let web = listen::listen(listen)?;
        anyhow::Ok((instance.listen()?, web, hangup))
    })?;

    let located = offsets::from_child(sensor::OFFSETS_COMMAND)?;
    let options = sensor::Options {
        cgroup_root: features.cgroup_root.clone().context("no cgroup v2 tree")?,
        pin_directory: sensor::pin_directory(features.bpffs.as_deref().context("no BPF file system")?),
        record_ring_bytes: config.limits.record_ring_bytes.get(),
        flow_ring_bytes: config.limits.flow_ring_bytes.get(),
        ledger_rows: config.limits.ledger_rows.get(),
        flows: config.limits.flows.get(),
        allowances: settings::allowances(config),
        dns: config.dns_names,
        policies: settings::policy_size(&config.policies.room),
        ..sensor::Options::default()
    };
    let loaded = sensor::load(&options, &located)?;
    // Removed here, whoever may still hold the sensor.
    let _pins = loaded.pins;
    let ledger = Arc::new(loaded.ledger);
    let cgroup_root = options.cgroup_root;
    let attribution = Arc::new(Attribution::new(cgroup_root.clone()));
    attribution.name_outside(Networks::new(config.outside.networks()));
    attribution.seed().context("cannot look at what runs already")?;

    let cancel = CancellationToken::new();
    let host = uname().context("cannot ask what this host is called")?;
    let host = host.nodename().to_string_lossy();
    let view = View {
        attribution: Arc::clone(&attribution),
        counts: ledger.clone(),
        archive: Arc::new(Mutex::default()),
        gains: Arc::default(),
        recent: Arc::default(),
        history: Arc::default(),
        alerts: Arc::new(Alerts::new(settings::anomalies(&config.anomalies))),
        syscalls: Arc::new(Accounts::new(loaded.calls)),
        hooks: loaded.sensor.hooks(),
        features: Arc::new(features),
        metrics: Arc::new(Metrics::new()),
        events: EventStream::new(),
        notify: Notify::start(&config.alerts, &host, tasks.handle(), cancel.clone()),
        started: Instant::now(),
        config: Arc::new(InForce::new(source, config.clone())),
        policies: Arc::new(enforcement::InForce::new(
            config.policies.clone(),
            Some(Sync::new(loaded.policy)),
        )),
        heartbeat: Heartbeat::default(),
        stop: CancellationToken::new(),
    };
    let (inject, injected) = sync_channel(INJECTED_LIMIT);
    let (inlet, outlet) = history::inlet();
    // Cancelled when nothing happens any more that is to be recorded.
    let ended = CancellationToken::new();
    let pipeline = Pipeline {
        reader: loaded.reader,
        attribution: Arc::clone(&attribution),
        metrics: Arc::clone(&view.metrics),
        events: view.events.clone(),
        recorder: inlet,
        recent: Arc::clone(&view.recent),
        heartbeat: view.heartbeat.clone(),
        injected,
        seq: 0,
    };
    let data_path = thread::Builder::new().name("data-path".to_owned()).spawn({
        let cancel = cancel.clone();
        move || pipeline.run(&cancel)
    })?;
    let sensor = Arc::new(loaded.sensor);
    view.syscalls.select(config.syscalls.clone());
    keeper::count_syscalls(&view, &sensor);
    let recorder = thread::Builder::new().name("recorder".to_owned()).spawn({
        let (view, settings, inject, cancel) =
            (view.clone(), config.history.clone(), inject.clone(), ended.clone());
        move || recorder::keep(&view, &settings, &outlet, &inject, &cancel)
    })?;
    let keeper = thread::Builder::new().name("keeper".to_owned()).spawn({
        let (view, sensor, ledger, cancel, budgets) =
            (view.clone(), Arc::clone(&sensor), Arc::clone(&ledger), cancel.clone(), loaded.budgets);
        move || keeper::keep(&view, &sensor, &ledger, budgets, &inject, &cancel)
    })?;
    // Its end is not waited for: it may be looking through the sockets of many.
    thread::Builder::new().name("cutter".to_owned()).spawn({
        let (view, ledger, cancel) = (view.clone(), Arc::clone(&ledger), cancel.clone());
        move || cutter::keep(&view, &ledger, &cancel)
    })?;
    let (sockets, roots) = settings::runtimes(config);
    tasks.spawn(runtime::watch_all(Arc::clone(&attribution), sockets, cancel.clone()));
    let (first_look, looked) = oneshot::channel();
    let (named, names_known) = oneshot::channel();
    let (judging, in_force) = oneshot::channel();
    let (covering, covered) = oneshot::channel();
    view.policies.switch_with({
        let sensor = Arc::clone(&sensor);
        move |judges| policies::switch(&sensor, judges)
    });
    let policies = thread::Builder::new().name("policies".to_owned()).spawn({
        let (view, cancel, follows) = (view.clone(), cancel.clone(), sensor.follows());
        move || policies::keep(&view, follows, names_known, judging, &cancel)
    })?;
    let links =
        tasks.spawn(links::keep(view.clone(), Arc::clone(&sensor), in_force, covering, cancel.clone()));
    tasks.spawn(runtime::oci::watch(Arc::clone(&attribution), roots, first_look, cancel.clone()));
    tasks.spawn(attribution::keep(attribution, cancel.clone()));
    let start = supervisor::Start { looked, named, covered };
    let verifier = thread::Builder::new().name("verifier".to_owned()).spawn({
        let (view, sensor, cancel) = (view.clone(), Arc::clone(&sensor), cancel.clone());
        move || verifier::keep(&view, &sensor, &cancel)
    })?;
    let canaries = thread::Builder::new().name("canaries".to_owned()).spawn({
        let (view, sensor, tasks, cancel) =
            (view.clone(), Arc::clone(&sensor), tasks.handle().clone(), cancel.clone());
        move || canaries::keep(&view, &sensor, &cgroup_root, &tasks, &cancel)
    })?;
    let ending = (Arc::clone(&view.policies), sensor);
    let served = tasks.block_on(supervisor::serve(view, local, web, hangup, start, cancel.clone()));

    cancel.cancel();
    for thread in [data_path, keeper, policies, verifier, canaries] {
        // A thread that panicked has said so; the daemon stops either way.
        let _ = thread.join();
    }
    ended.cancel();
    wait_for(&recorder);
    let _ = tasks.block_on(links);
    let (policies, sensor) = ending;
    if policies.at_stop() == AtStop::Clear {
        sensor.stay(false)?;
    }
    tasks.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Waits until what is recorded has been written, but not for a disk that does not answer.
fn wait_for(recorder: &thread::JoinHandle<()>) {
    let begun = Instant::now();
    while !recorder.is_finished() && begun.elapsed() < WRITTEN_WITHIN {
        thread::sleep(SHORTEST_PAUSE);
    }
}

/// The data path.
struct Pipeline {
    reader: Reader,
    attribution: Arc<Attribution>,
    metrics: Arc<Metrics>,
    events: EventStream,
    recorder: Inlet,
    recent: Arc<Recent>,
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
        let Self { reader, attribution, metrics, events, recorder, recent, seq, .. } = self;
        let found = reader.drain(|bytes| match Record::decode(bytes) {
            Ok(record) => {
                metrics.delivered(record.family());
                let event = attribution.attribute(&record, &clock, *seq + 1);
                // What the daemon's own workloads try is no news.
                if !event.kind.is_of_canary() {
                    *seq += 1;
                    metrics.observe(&event);
                    recorder.offer(&event);
                    recent.note(&event);
                    events.publish(event);
                }
            }
            Err(_) => metrics.undecoded(),
        });
        let injected: Vec<Injected> = self.injected.try_iter().collect();
        for item in injected {
            let seq = self.seq + 1;
            let event = match item {
                Injected::Close(record) => {
                    self.attribution.attribute(&Record::FlowClose(*record), &clock, seq)
                }
                Injected::Missing(missing) => self.lost(&missing, &clock, seq),
                Injected::Alert(alert) => Event {
                    schema_version: SCHEMA_VERSION,
                    seq,
                    time: clock.from_boot(clock.boot_time()),
                    message: alert.to_string(),
                    kind: EventKind::Alert(alert),
                },
            };
            if event.kind.is_of_canary() {
                continue;
            }
            self.seq = seq;
            self.metrics.observe(&event);
            self.recorder.offer(&event);
            self.events.publish(event);
        }
        found
    }

    fn lost(&self, missing: &Missing, clock: &Clock, seq: u64) -> Event {
        let lost = Lost {
            shed: missing.shed,
            workload: (missing.payer != CgroupId::NONE).then(|| self.attribution.workload(missing.payer)),
            ..Lost::of(family::NAMES.get(missing.family as usize).unwrap_or(&"unknown"), missing.lost)
        };
        Event {
            schema_version: SCHEMA_VERSION,
            seq,
            time: clock.from_boot(clock.boot_time()),
            message: lost.to_string(),
            kind: EventKind::Lost(lost),
        }
    }
}
