//! A million events per second out of one container, and fifty quiet ones beside it.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use cofferdam::{
    event::{EventKind, Lost},
    interaction::Edge,
};
use cofferdam_tests::{
    Daemon, Events,
    command::{run, wait_for},
    flood::{self, Sender},
    sum,
};
use serde_json::Value;

use crate::{
    alone,
    cgroups::{Parent, id},
    docker,
};

/// Numbers of containers: the one that floods, and the quiet ones.
const FLOODING: u64 = 0;
const QUIET: RangeInclusive<u64> = 1..=50;
/// Between one record of each quiet one and the next.
const PAUSE: Duration = Duration::from_millis(20);
/// Of each of two runs.
const RECORDS: u64 = 4_000_000;

/// The egress hook of this daemon, by the kernel's number: of those of its name, the one that the daemon holds.
pub(crate) fn egress_hook(daemon: &Daemon) -> anyhow::Result<String> {
    let held = daemon.programs()?;
    let said = run(Command::new("bpftool").args(["--json", "prog", "show"]))?;
    let programs: Vec<Value> = serde_json::from_str(&said)?;
    let egress = programs.iter().filter(|program| program["name"] == "cgroup_skb_egress");
    let mut ids = egress.filter_map(|program| u32::try_from(program["id"].as_u64()?).ok());
    let id = ids.find(|id| held.contains(id));
    id.map(|id| id.to_string()).with_context(|| format!("no egress hook among {held:?}: {said}"))
}

/// Lets the hook see a frame of a container so many times, as fast as it goes.
pub(crate) fn rush(hook: &str, container: &Path, frame: &Path, times: u64) -> anyhow::Result<Child> {
    let in_container =
        r#"echo $$ > "$1/cgroup.procs"; exec bpftool prog run id "$2" data_in "$3" repeat "$4""#;
    let mut command = Command::new("sh");
    command.args(["-ec", in_container, "sh"]).args([container, Path::new(hook), frame]);
    Ok(command.arg(times.to_string()).stdout(Stdio::null()).spawn()?)
}

/// What was told to be missing, by container.
fn missing(events: &Events) -> BTreeMap<String, (u64, u64)> {
    let mut missing = BTreeMap::<_, (u64, u64)>::new();
    for event in events.seen() {
        if let EventKind::Lost(Lost { workload, shed, records, .. }) = event.kind {
            let id = workload.and_then(|workload| workload.id.clone()).unwrap_or_default();
            let sums = missing.entry(id).or_default();
            *sums = (sums.0 + shed, sums.1 + records);
        }
    }
    missing
}

#[test]
fn a_flood_of_a_million_events_a_second_is_shed_by_name_and_fifty_quiet_containers_miss_nothing()
-> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let daemon = Daemon::start(&docker)?;
    // Of no container, so that little but what is lost is told.
    let events = daemon.events_of("nobody")?;
    let parent = Parent::make(&node)?;
    let flooding = parent.container(FLOODING)?;
    let quiet: Vec<_> = QUIET.map(|number| parent.container(number)).collect::<Result<_, _>>()?;
    let senders =
        (1..).zip(&quiet).map(|(port, cgroup)| anyhow::Ok(parent.inside(cgroup, || Sender::new(port))??));
    let senders: Vec<Sender> = senders.collect::<Result<_, _>>()?;

    let hook = egress_hook(&daemon)?;
    let begun = Instant::now();
    let mut floods = Vec::new();
    for port in [1, 2] {
        let frame = node.directory().join(format!("frame{port}"));
        fs::write(&frame, flood::frame(port))?;
        floods.push(rush(&hook, &flooding, &frame, RECORDS)?);
    }
    let (mut rounds, mut time) = (0, Duration::ZERO);
    while floods.iter_mut().any(|flood| matches!(flood.try_wait(), Ok(None))) {
        senders.iter().try_for_each(|sender| sender.send(1))?;
        rounds += 1;
        // In the midst of it containers come and go.
        if rounds % 10 == 0 {
            fs::remove_dir(parent.container(1000 + rounds)?)?;
        }
        time = begun.elapsed();
        thread::sleep(PAUSE);
    }
    for mut flood in floods {
        ensure!(flood.wait()?.success(), "bpftool failed");
    }

    let [issued, shed, lost, delivered] = daemon.accounted_records("network")?;
    let rate = issued as f64 / time.as_secs_f64();
    println!(
        "{issued} records in {time:?} ({rate:.0}/s): {shed} shed, {lost} lost, {delivered} delivered; \
         {rounds} rounds of the quiet ones"
    );
    let of_quiet = rounds * senders.len() as u64;
    ensure!(issued >= 2 * RECORDS + of_quiet && shed > 0, "{issued} issued, {shed} shed");

    wait_for("all that was shed to be told", Duration::from_secs(10), || {
        let told = missing(&events);
        (told.values().map(|(shed, _)| shed).sum::<u64>() == shed).then_some(())
    })
    .with_context(|| format!("{:?}", missing(&events)))?;
    let told = missing(&events);
    let missed: u64 = QUIET.filter_map(|number| told.get(&id(number))).map(|(shed, lost)| shed + lost).sum();
    ensure!(missed * 1000 <= of_quiet, "the quiet ones miss {missed} of {of_quiet}: {told:?}");
    ensure!(told.get(&id(FLOODING)).is_some_and(|(of_it, _)| *of_it == shed), "{told:?}, {shed} shed");

    let page = daemon.metrics()?;
    for what in ["shed", "lost"] {
        let count = sum(&page, &format!("cofferdam_records_{what}_total"), &[r#"family="container""#])?;
        ensure!(count == 0, "{count} records that matter for security were {what}");
    }
    // Each attempt is on the map, also those that nobody was told about.
    let of_it = |edge: &&Edge| edge.source.id.as_ref() == Some(&id(FLOODING));
    let attempts: u64 = daemon.map()?.iter().filter(of_it).map(|edge| edge.attempts).sum();
    ensure!(attempts == 2 * RECORDS, "{attempts} attempts, not {}", 2 * RECORDS);
    Ok(())
}
