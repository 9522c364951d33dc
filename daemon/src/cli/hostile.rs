//! Hostile texts, a million of them where all is to be done, on their way through everything: as names, images, labels,
//! paths and arguments they come in, out of facts and records; JSON, metrics, tables, graph and log must come out sound.

mod read;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use cofferdam_common::{
    container::{CGROUP_PATH_LIMIT, CgroupRecord},
    ids::{CgroupId, Tgid},
    network::{FlowRecord, LedgerKey, LedgerRow, VERDICT_DENY},
    policy::VerdictRecord,
    process::ExecRecord,
    record::kind,
};
use fastrand::Rng;
use futures_util::FutureExt;
use jiff::Timestamp;
use tracing_subscriber::EnvFilter;
use zerocopy::{FromZeros, IntoBytes};

use super::{events, log, map, output::printable, ps, why};
use crate::{
    api::{EventExplained, Explained, PairExplained, TriedBy, samples},
    attribution::{Attribution, ContainerFacts, ContainerState, Source},
    event::{Alert, Caller, Event, EventKind, Process, Protocol, Runtime, Verdict, Workload, is_hostile},
    interaction::Edge,
    metrics::samples::hooks,
    sensor::{clock::Clock, record::Record},
    sink::Filter,
    view::View,
};

/// Texts in all, and in a run that is not to take long.
const TEXTS: usize = 1_000_000;
const SOME: usize = 100_000;
/// Texts of one container at least: name, image, key and value of a label, path of the cgroup, a message of the log.
const EACH: usize = 6;
/// Containers on one host: more than metrics keep apart.
const HOST: usize = 2_500;
/// What metrics keep apart (docs/metrics.md); one more is `other`.
const SERIES: usize = 2_000;

#[test]
fn hostile_texts_harm_no_output() {
    // `cargo xtask test --long` sets it.
    let long = env::var_os("COFFERDAM_LONG").is_some_and(|value| value == "1");
    let hosts = if long { TEXTS } else { SOME }.div_ceil(EACH * HOST);
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|n| *n < hosts) {
                    Host::new(number).harms_nothing();
                }
            });
        }
    });
}

#[test]
fn what_is_not_cleaned_before_is_cleaned_by_the_command_line() {
    let mut rng = Rng::with_seed(7);
    let now = Timestamp::UNIX_EPOCH;
    for _ in 0..2_000 {
        let mut edge: Edge = crate::metrics::samples::edge();
        Arc::make_mut(&mut edge.source).name = text::name(&mut rng);
        Arc::make_mut(&mut edge.target).name = text::name(&mut rng);
        edge.via = Some(text::name(&mut rng));
        let event = Event { message: text::name(&mut rng), ..crate::sink::samples::exec() };
        is_plain(&events::row(&event, true));
        is_plain(&map::text(&[edge.clone()], now, true));
        is_plain(&why::denied::text(&[edge.clone()], now, true));
        is_plain(&unstyled(why::text(&explained(&mut rng), now, true)));
        is_plain(&unstyled(why::event::page(&told(&mut rng), now, true)));
        let graph = map::dot(&[edge.clone()]);
        is_plain(&graph);
        let name = |workload: &Workload| printable(&workload.to_string()).into_owned();
        let [[source, target, _]] = <[_; 1]>::try_from(read::graph(&graph)).expect("one arrow");
        assert_eq!([source, target], [name(&edge.source), name(&edge.target)]);
    }
}

/// An answer of which every text means harm.
fn explained(rng: &mut Rng) -> Explained {
    let mut answer = PairExplained {
        source: text::name(rng),
        target: text::name(rng),
        protocol: Some(Protocol::Tcp),
        port: Some(80),
        verdict: Some(Verdict::Deny),
        explanation: None,
        text: Some(text::name(rng)),
        seen: None,
        tried_by: None,
        past: None,
        seen_at: [text::name(rng)].into(),
    };
    if rng.bool() {
        let process = Process { pid: 7, start_time: 1, executable: Some(text::name(rng)) };
        let caller = Caller { ancestors: vec![process.clone()], process, command: text::name(rng), uid: 0 };
        answer.tried_by = Some(TriedBy { time: Timestamp::UNIX_EPOCH, caller });
    }
    if rng.bool() {
        (answer.verdict, answer.protocol) = (None, None);
    }
    let EventKind::Alert(alert) = crate::sink::samples::alert().kind else { panic!("no alert") };
    let alert = Alert { id: text::name(rng), sentence: text::name(rng), ..*alert };
    Explained {
        schema_version: 1,
        generation: 1,
        problem: Some(text::name(rng)),
        answers: vec![answer],
        left_out: 0,
        alerts: vec![alert],
        alerts_left_out: 0,
    }
}

/// A denial of which every text means harm.
fn told(rng: &mut Rng) -> EventExplained {
    let sample = crate::sink::samples::denial();
    let EventKind::Denial(mut denial) = sample.kind else { panic!("no denial") };
    (denial.id, denial.layer) = (text::name(rng), text::name(rng));
    Arc::make_mut(&mut denial.source.workload).name = text::name(rng);
    Arc::make_mut(&mut denial.target.workload).name = text::name(rng);
    EventExplained { schema_version: 1, time: sample.time, event: EventKind::Denial(denial), now: None }
}

/// Without our own colours, and only those.
fn unstyled(text: String) -> String {
    [why::ALLOWED, why::REPORTED, why::DENIED]
        .into_iter()
        .fold(text, |text, style| text.replace(&style.to_string(), "").replace(&format!("{style:#}"), ""))
}

/// A host with many containers that all mean harm.
struct Host {
    view: View,
    clock: Clock,
    rng: Rng,
    number: usize,
}

impl Host {
    fn new(number: usize) -> Self {
        let view =
            View { attribution: Arc::new(Attribution::new("/nonexistent".into())), ..samples::view(hooks()) };
        Self { view, clock: Clock::fixed(Timestamp::UNIX_EPOCH), rng: Rng::with_seed(number as u64), number }
    }

    fn harms_nothing(mut self) {
        let mut reader = self.view.events.subscribe(Filter::default());
        let log = Log::default();
        let logging = log::subscriber(EnvFilter::new("info"), false, log.clone());
        tracing::subscriber::with_default(logging, || {
            for at in 0..HOST {
                self.learn(at);
                let record = self.record(at);
                let record = Record::decode(&record).expect("a record");
                let event = self.view.attribution.attribute(&record, &self.clock, at as u64 + 1);
                self.view.metrics.observe(&event);
                self.view.events.publish(event.clone());
                let line = reader.next().now_or_never().flatten().expect("the event");
                comes_back_from_json(&event, &line);
                is_plain(&events::row(&event, true));
                let name = text::name(&mut self.rng);
                tracing::info!(text = name, shown = %name, "{name}");
            }
        });
        log.is_one_plain_line_each(HOST);
        let rows: Vec<_> = (1..HOST).map(|at| self.row(at)).collect();
        self.view.counts = Arc::new(samples::FakeCounts { rows: Mutex::new(rows) });
        self.shows();
    }

    /// What a runtime tells about a container.
    fn learn(&mut self, at: usize) {
        let labels = BTreeMap::from([(text::name(&mut self.rng), text::name(&mut self.rng))]);
        let docker = Source::api(Runtime::Docker, "docker.sock");
        let facts = ContainerFacts {
            name: Some(text::name(&mut self.rng)),
            image: Some(text::name(&mut self.rng)),
            labels: Some(labels),
            state: Some(ContainerState::Running),
            ..ContainerFacts::new(self.id(at))
        };
        self.view.attribution.learn(&docker, facts);
    }

    /// What the kernel tells about it: that it was made, that it ran a program, or that it talks to the one before.
    fn record(&mut self, at: usize) -> Vec<u8> {
        let mut path = vec![b'/'];
        path.extend(text::bytes(&mut self.rng));
        path.truncate(CGROUP_PATH_LIMIT - 100);
        path.extend(format!("/docker-{}.scope", self.id(at)).bytes());
        let mut made = CgroupRecord::new_zeroed();
        (made.header.kind, made.subject) = (kind::CGROUP_MADE, cgroup(at));
        made.path_length = fill(&mut made.path, &path);
        let made = made.as_bytes().to_vec();
        if at.is_multiple_of(3) {
            return made;
        }
        let made = Record::decode(&made).expect("a record");
        self.view.metrics.observe(&self.view.attribution.attribute(&made, &self.clock, 0));
        if at % 3 == 1 {
            let mut flow = FlowRecord::new_zeroed();
            flow.header.kind = kind::FLOW_OPEN;
            (flow.client, flow.server, flow.server_port) = (cgroup(at - 1), cgroup(at), 80);
            if at.is_multiple_of(2) {
                return self.denial(at);
            }
            return flow.as_bytes().to_vec();
        }
        let mut exec = ExecRecord::new_zeroed();
        (exec.header.kind, exec.header.cgroup, exec.tgid) = (kind::PROCESS_EXEC, cgroup(at), Tgid(at as u32));
        exec.path_length = fill(&mut exec.path, &text::bytes(&mut self.rng)) as u16;
        exec.args_length = fill(&mut exec.args, &text::bytes(&mut self.rng)) as u16;
        exec.args_total = exec.args_length.into();
        exec.as_bytes().to_vec()
    }

    /// What was denied between the one before and it.
    fn denial(&mut self, at: usize) -> Vec<u8> {
        let mut denial = VerdictRecord::new_zeroed();
        denial.header.kind = kind::VERDICT;
        (denial.source, denial.target, denial.port, denial.attempts) = (cgroup(at - 1), cgroup(at), 80, 1);
        denial.judgement.verdict = VERDICT_DENY;
        denial.caller.tgid = Tgid(at as u32);
        fill(&mut denial.caller.command, &text::bytes(&mut self.rng));
        denial.as_bytes().to_vec()
    }

    fn row(&self, at: usize) -> (LedgerKey, LedgerRow) {
        let (mut key, row) = samples::row(1);
        if at.is_multiple_of(5) {
            key.verdict = VERDICT_DENY;
        }
        (key.source.cgroup, key.target.cgroup) = (cgroup(at - 1), cgroup(at));
        (key, row)
    }

    fn id(&self, at: usize) -> String {
        format!("{:064x}", self.number * HOST + at)
    }

    /// Tables, graph and metrics.
    fn shows(&self) {
        let (edges, now) = (self.view.edges().expect("edges"), Timestamp::UNIX_EPOCH);
        let names: BTreeSet<_> = edges.iter().map(|edge| edge.target.to_string()).collect();
        assert!(names.len() > SERIES, "{}", names.len());
        is_plain(&map::text(&edges, now, true));
        is_plain(&why::denied::text(&edges, now, true));
        is_plain(&ps::text(&self.view.attribution.containers(), now, true));
        let graph = map::dot(&edges);
        is_plain(&graph);
        let shown: BTreeSet<_> = read::graph(&graph).into_iter().map(|[_, target, _]| target).collect();
        assert_eq!(shown, names);

        let page = self.view.metrics.scrape(&self.view);
        is_plain(&page);
        let series = read::exposition(&page);
        let mut counts = BTreeMap::<&str, usize>::new();
        for (name, labels) in &series {
            *counts.entry(name).or_default() += 1;
            let workload = labels.iter().find(|(label, _)| label == "target").map(|(_, value)| value);
            let known =
                |name: &String| names.contains(name) || name == "other" || name.starts_with("container:");
            assert!(workload.is_none_or(known), "{workload:?} is a target that nobody is");
        }
        assert_eq!(counts["cofferdam_workload_info"], SERIES);
        assert_eq!(counts["cofferdam_flows_total"], SERIES + 1);
        assert_eq!(counts["cofferdam_flow_bytes_total"], 2 * SERIES + 2);
        assert!(!counts.contains_key("evil_total"));
    }
}

fn cgroup(at: usize) -> CgroupId {
    CgroupId(1_000 + at as u64)
}

/// Copies what fits; how much that is.
fn fill(room: &mut [u8], bytes: &[u8]) -> u32 {
    let length = bytes.len().min(room.len());
    room[..length].copy_from_slice(&bytes[..length]);
    length as u32
}

fn comes_back_from_json(event: &Event, line: &[u8]) {
    let line = std::str::from_utf8(line).expect("JSON is text").strip_suffix('\n').expect("a line");
    assert!(!line.contains(is_hostile), "{line:?}");
    assert_eq!(serde_json::from_str::<Event>(line).expect("JSON"), *event);
}

/// Nothing but our own line breaks is for a terminal to obey.
fn is_plain(text: &str) {
    let hostile = |character: char| character != '\n' && is_hostile(character);
    assert!(!text.contains(hostile), "{:?}", text.lines().find(|line| line.contains(hostile)));
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn is_one_plain_line_each(&self, messages: usize) {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = std::str::from_utf8(&bytes).expect("text");
        is_plain(text);
        assert_eq!(text.lines().count(), messages);
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl tracing_subscriber::fmt::MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
