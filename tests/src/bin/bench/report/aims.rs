//! The aims that were set, and whether they were reached. Nothing fails when one was not: this is where it is seen.

use cofferdam_tests::load::Workload;

use super::figures::{COFFERDAM, Count, Ratio, WRITTEN, once, pair};
use crate::results::{Counted, Measured};

const MIB: f64 = 1024.0 * 1024.0;

const NOT_MEASURED: &str = "not measured";

/// All of them.
pub(super) fn table(measured: &Measured, counted: Option<&Counted>) -> String {
    let mut text =
        "## Against the aims\n\n| aim | in time | in instructions |\n| --- | --- | --- |\n".to_owned();
    for (workload, what, limit) in [
        (Workload::Getppid, "within 1 % of off", 1.01),
        (Workload::ForkExec, "within 3 %", 1.03),
        (Workload::Connect, "within 5 %", 1.05),
        (Workload::Bulk, "0.97 of off or more", 1.0 / 0.97),
    ] {
        let time = pair(measured, COFFERDAM, workload).map(Ratio::of);
        let time = time.map_or_else(
            || NOT_MEASURED.to_owned(),
            |ratio| verdict(ratio.median, limit) + if ratio.is_noisy() { " (restless machine)" } else { "" },
        );
        let count = counted.and_then(|counted| Count::of(counted, COFFERDAM, workload));
        let count = count.map_or_else(|| NOT_MEASURED.to_owned(), |count| verdict(count.ratio(), limit));
        text += &format!("| {workload}: {what} | {time} | {count} |\n");
    }
    let memory = measured.beside_docker.map_or_else(
        || NOT_MEASURED.to_owned(),
        |beside| {
            let resident = beside.memory.resident as f64 / MIB;
            let text = format!("{resident:.1} MiB beside {} real containers", beside.containers);
            if beside.containers < 50 { text } else { format!("{text} {}", met(resident < 40.0)) }
        },
    );
    text += &format!("| resident memory under 40 MiB with 50 containers | {memory} | |\n");
    let latency = &measured.costs.latency;
    let milliseconds = latency.p99 * 1e3;
    text += &format!(
        "| event to JSON line, p99 under 20 ms at 10,000 events/s | {milliseconds:.2} ms at {:.0} events/s {} | |\n",
        latency.per_second,
        met(milliseconds < 20.0 && latency.per_second > 9_500.0)
    );
    text + &format!(
        "| cheaper than each peer in the same run, events written to a file | {} | {} |\n",
        cheaper(&dearer_in_time(measured)),
        counted.map_or_else(|| NOT_MEASURED.to_owned(), |counted| cheaper(&dearer_in_instructions(counted)))
    )
}

fn verdict(ratio: f64, limit: f64) -> String {
    format!("{ratio:.3} {}", met(ratio <= limit))
}

fn met(is: bool) -> &'static str {
    if is { "met" } else { "missed" }
}

fn cheaper(dearer_than: &[String]) -> String {
    if dearer_than.is_empty() { "met".to_owned() } else { format!("missed: {}", dearer_than.join(", ")) }
}

/// The peers, and on what, that cost the workload less than we do.
fn dearer_in_time(measured: &Measured) -> Vec<String> {
    let of = |subject: &str, workload| pair(measured, subject, workload).map(|pair| Ratio::of(pair).median);
    dearer(measured.pairs.iter().map(|pair| pair.subject.as_str()), of)
}

fn dearer_in_instructions(counted: &Counted) -> Vec<String> {
    let of = |subject: &str, workload| Count::of(counted, subject, workload).map(|count| count.whole_ratio());
    dearer(counted.runs.iter().map(|run| run.subject.as_str()), of)
}

fn dearer<'a>(
    subjects: impl Iterator<Item = &'a str>,
    of: impl Fn(&str, Workload) -> Option<f64>,
) -> Vec<String> {
    let peers = once(subjects.filter(|name| ![COFFERDAM, WRITTEN, "off"].contains(name)));
    let mut found = Vec::new();
    for workload in [Workload::ForkExec, Workload::Connect, Workload::ConnectReset] {
        let Some(ours) = of(WRITTEN, workload) else { continue };
        for peer in &peers {
            if of(peer, workload).is_some_and(|theirs| theirs <= ours) {
                found.push(format!("{peer} on {workload}"));
            }
        }
    }
    found
}
