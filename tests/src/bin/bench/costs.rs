//! What the daemon takes for itself: CPU for its events, memory, and the time until a line is printed.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use cofferdam::event::{Event, EventKind};
use cofferdam_tests::{
    Daemon,
    load::{Order, Workload},
};
use nix::time::ClockId;

use crate::{
    results::{Costs, Idle, Latency, Load, Memory},
    scene::Scene,
    statistics::quantile,
    subject::{Running, Subject},
};

/// Each connection is two events: it opens, it closes.
const EVENTS_PER_CONNECTION: u64 = 2;

/// The rate at which the time until a line is printed is measured.
const EVENTS_PER_SECOND: u64 = 10_000;

/// Measures all of it. `connections` are made for each of the two loads; each phase takes `seconds`.
pub(crate) fn measure(
    scene: &mut Scene,
    subject: &Subject,
    connections: u64,
    seconds: u64,
) -> anyhow::Result<Costs> {
    let running = subject.start(scene)?;
    let idle = idle(&running, seconds)?;
    let million_unread = load(scene, &running, connections)?;
    let daemon = running.daemon()?;
    let file = File::create("/dev/null")?;
    let mut reader = daemon.client(&["events", "--json"]).stdout(file).spawn()?;
    thread::sleep(Duration::from_millis(500));
    let million_read = load(scene, &running, connections);
    reader.kill()?;
    reader.wait()?;
    let latency = latency(scene, daemon, seconds)?;
    Ok(Costs { million_unread, million_read: million_read?, idle, latency })
}

/// The daemon's CPU for events, without pause.
pub(crate) fn load(scene: &mut Scene, running: &Running, connections: u64) -> anyhow::Result<Load> {
    let made = |daemon: &Daemon| daemon.metric("cofferdam_events_total", &["kind=\"flow_"]);
    // A scrape costs too: one before the first reading of the clock, one after the last.
    let before = made(running.daemon()?)?;
    let cpu = running.cpu()?;
    let done = scene.run(Workload::Connect, connections)?;
    thread::sleep(Duration::from_millis(200));
    let cpu = (running.cpu()?.saturating_sub(cpu)).as_secs_f64();
    let events = made(running.daemon()?)?.saturating_sub(before);
    Ok(Load {
        events,
        per_second: events as f64 * 1e9 / done.nanoseconds as f64,
        cpu_seconds_per_million: cpu * 1e6 / events.max(1) as f64,
    })
}

/// The daemon while nothing happens.
pub(crate) fn idle(running: &Running, seconds: u64) -> anyhow::Result<Idle> {
    let pid = running.daemon()?.pid();
    let (cpu, wake_ups, begun) = (running.cpu()?, wake_ups(pid), Instant::now());
    thread::sleep(Duration::from_secs(seconds));
    let time = begun.elapsed().as_secs_f64();
    Ok(Idle {
        cpu_percent: (running.cpu()?.saturating_sub(cpu)).as_secs_f64() / time * 100.0,
        wake_ups_per_second: wake_ups_since(pid, wake_ups) / time,
        memory: memory(pid)?,
    })
}

/// What a process holds.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let bytes = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
    };
    let resident = bytes("Rss:").context("no Rss in smaps_rollup")?;
    Ok(Memory { resident, proportional: bytes("Pss:").context("no Pss in smaps_rollup")? })
}

fn wake_ups_since(pid: u32, before: u64) -> f64 {
    wake_ups(pid).saturating_sub(before) as f64
}

/// How often its threads have slept and gone on.
fn wake_ups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let counts = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("status")).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    });
    counts.sum()
}

/// From the kernel's time stamp to the printed line.
fn latency(scene: &mut Scene, daemon: &Daemon, seconds: u64) -> anyhow::Result<Latency> {
    let mut client = daemon.client(&["events", "--json", "--kind", "flow_open,flow_close"]);
    let mut client = client.stdout(Stdio::piped()).spawn()?;
    let output = client.stdout.take().context("no output")?;
    let reader = thread::spawn(move || {
        // Understood only afterwards, so that reading keeps up.
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        lines.map(|line| (ClockId::CLOCK_REALTIME.now().map(Duration::from), line)).collect::<Vec<_>>()
    });
    thread::sleep(Duration::from_millis(500));
    let done =
        scene.order(&Order::Pace { per_second: EVENTS_PER_SECOND / EVENTS_PER_CONNECTION, seconds })?;
    thread::sleep(Duration::from_millis(500));
    client.kill()?;
    client.wait()?;
    let lines = reader.join().map_err(|_| anyhow::anyhow!("the reader of events has failed"))?;
    let mut delays = Vec::new();
    for (printed, line) in lines {
        let event: Event = serde_json::from_str(&line).with_context(|| format!("a line is {line:?}"))?;
        if matches!(event.kind, EventKind::FlowOpen(_) | EventKind::FlowClose(_)) {
            delays.push(printed?.as_secs_f64() - event.time.as_nanosecond() as f64 / 1e9);
        }
    }
    Ok(Latency {
        events: delays.len() as u64,
        per_second: (done.count * EVENTS_PER_CONNECTION) as f64 * 1e9 / done.nanoseconds as f64,
        median: quantile(&delays, 0.5),
        p99: quantile(&delays, 0.99),
        longest: quantile(&delays, 1.0),
    })
}
