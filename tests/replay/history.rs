//! Policies that are asked about a long history: what is told equals what each recorded row would have been by itself.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result, ensure};
use cofferdam::{
    config::{FullPath, Policies},
    enforcement::InForce,
    event::{Protocol, Verdict, Workload, WorkloadKind},
    history::{Batch, Bounds, History, Store},
    interaction::{Edge, Failed, Verdicts},
    policy::folder::NamedText,
};
use cofferdam_tests::rounds;
use jiff::{SignedDuration, Timestamp};

/// Services, each of which talks to some others.
const SERVICES: usize = 100;
const PEERS: usize = 10;
/// Minutes in which all of them do, of the whole length: ten million rows.
const MINUTES: u32 = 10_000;

/// Denies everybody `svc-0`, and `svc-1` all but one port; the rest is as it was.
const CANDIDATE: &str = "
policy: candidate
mode: enforce
rules:
  - {to: svc-0, allow: []}
  - to: svc-1
    allow: [{from: any, port: tcp/8080}]
";

struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn edge(source: usize, peer: usize) -> Edge {
    let name = |number: usize| Workload::named(WorkloadKind::Container, format!("svc-{number}")).into();
    Edge {
        source: name(source),
        target: name((source * 7 + peer * 13 + 1) % SERVICES),
        protocol: Protocol::Tcp,
        port: if peer.is_multiple_of(2) { 8_080 } else { 5_432 },
        via: None,
        flows: 1,
        attempts: 1,
        bytes_sent: 100,
        bytes_received: 200,
        packets_sent: 3,
        packets_received: 3,
        failed: Failed::default(),
        verdicts: Verdicts { allow: 1, ..Verdicts::default() },
        first_seen: Timestamp::UNIX_EPOCH,
        last_seen: Timestamp::UNIX_EPOCH,
        last_denied: None,
    }
}

/// Bytes of memory that this process has had at most.
fn peak_memory() -> Result<String> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    Ok(line.context("the kernel tells it")?.trim_start_matches("VmHWM:").trim().to_owned())
}

#[test]
fn what_policies_would_have_decided_equals_what_each_row_says_by_itself() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("cofferdam-simulate-{}", std::process::id()));
    let folder = Folder(folder);
    let bounds = Bounds { bytes: 4_000_000_000, days: 3_650 };
    let (mut store, _) = Store::open(&folder.0, bounds)?;
    let edges: Vec<Edge> =
        (0..SERVICES).flat_map(|source| (0..PEERS).map(move |peer| edge(source, peer))).collect();
    let begun: Timestamp = "2026-11-01T00:00:00Z".parse()?;
    let (minutes, started) = (rounds(MINUTES), Instant::now());
    // Row by row: whom it would have been denied, and how often.
    let mut by_hand = BTreeMap::<(String, String, u16), u64>::new();
    for minute in 0..minutes {
        let time = begun + SignedDuration::from_mins(minute.into());
        let mut batch = Batch::default();
        let now: Vec<Edge> = edges
            .iter()
            .zip(1_u64..)
            .map(|(edge, number)| {
                let count = (u64::from(minute) * number) % 5 + 1;
                let verdicts = Verdicts { allow: count, ..Verdicts::default() };
                Edge { attempts: count, verdicts, first_seen: time, last_seen: time, ..edge.clone() }
            })
            .collect();
        for edge in &now {
            let is_denied = edge.target.name == "svc-0" || edge.target.name == "svc-1" && edge.port != 8_080;
            if is_denied && edge.source != edge.target {
                let key = (edge.source.name.clone(), edge.target.name.clone(), edge.port);
                *by_hand.entry(key).or_default() += edge.attempts;
            }
        }
        ensure!(batch.add(&now, time) == 0, "there is room");
        store.write(&batch)?;
    }
    let rows = u64::from(minutes) * (SERVICES * PEERS) as u64;
    let (size, written) = (store.used()?, started.elapsed());

    let history = History::default();
    history.opened(&store, None);
    let started = Instant::now();
    let past = history.interactions(begun, Timestamp::MAX)?.past;
    let policies = Policies {
        folder: FullPath::try_from("/nonexistent".to_owned()).map_err(anyhow::Error::msg)?,
        ..Policies::default()
    };
    let file = NamedText {
        name: "candidate.yaml".to_owned().try_into().map_err(anyhow::Error::msg)?,
        text: CANDIDATE.to_owned(),
    };
    let simulated = InForce::new(policies, None).simulate(&[file], &[], &past)?;
    println!(
        "{rows} rows, {size} bytes, written in {written:.1?}; simulated in {:.2?}; at most {} of memory",
        started.elapsed(),
        peak_memory()?
    );
    let told = simulated.findings.iter().map(|finding| {
        assert_eq!((finding.was, finding.would_be.verdict), (Verdict::Allow, Verdict::Deny));
        ((finding.source.name.clone(), finding.target.name.clone(), finding.port), finding.attempts)
    });
    assert_eq!(told.collect::<BTreeMap<_, _>>(), by_hand);
    assert_eq!((simulated.left_out, simulated.not_judged), (0, 0));
    Ok(())
}
