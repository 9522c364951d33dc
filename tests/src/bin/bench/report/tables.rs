//! One table per question.

use std::fmt::Write as _;

use cofferdam_tests::load::Workload;

use super::figures::{COFFERDAM, Count, Ratio, WRITTEN, once, pair, run};
use crate::{
    results::{Counted, Hook, Load, Measured, Memory, Refused},
    statistics::median,
};

pub(super) const MIB: f64 = 1024.0 * 1024.0;

/// Workload by workload, the daemon as it is deployed.
pub(super) fn time(measured: &Measured) -> String {
    let mut text = "## In time, off and on\n\n\
        | workload | off | on / off | 95 % interval | off / off, middle half | blocks |\n\
        | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for workload in Workload::ALL {
        let Some(pair) = pair(measured, COFFERDAM, workload) else { continue };
        let ratio = Ratio::of(pair);
        let _ = writeln!(
            text,
            "| {workload} | {} | {:.3} | {:.3} to {:.3} | {:.3} to {:.3}{} | {} |",
            duration(ratio.off),
            ratio.median,
            ratio.interval.0,
            ratio.interval.1,
            ratio.noise.0,
            ratio.noise.1,
            if ratio.is_noisy() { ": restless" } else { "" },
            pair.blocks.len()
        );
    }
    text
}

/// The same in instructions.
pub(super) fn instructions(counted: &Counted) -> String {
    let mut text = format!(
        "## In instructions, off and on\n\nKernel {}. Added is what the kernel does on the workload's way; the daemon's \
         own work is apart. Spread is that of the repeats.\n\n\
         | workload | off | added | on / off | the daemon | spread |\n| --- | --- | --- | --- | --- | --- |\n",
        counted.kernel
    );
    for workload in Workload::ALL {
        let Some(count) = Count::of(counted, COFFERDAM, workload) else { continue };
        let repeats = run(counted, COFFERDAM, workload).map_or([].as_slice(), |run| &run.instructions);
        let [low, high] = [f64::min as fn(f64, f64) -> f64, f64::max]
            .map(|choose| repeats.iter().copied().reduce(choose).unwrap_or_default());
        let _ = writeln!(
            text,
            "| {workload} | {:.0} | {:+.0} | {:.3} | {:.0} | {:.1} % |",
            count.off,
            count.added,
            count.ratio(),
            count.of_process,
            (high - low) / median(repeats) * 100.0
        );
    }
    text
}

/// Everybody on what they have in common.
pub(super) fn peers(measured: &Measured, counted: Option<&Counted>) -> String {
    let mut text = "## Beside peers\n\n\
        In time: on / off with the 95 % interval, and the CPU that the tool's process takes for each. In instructions: on \
        / off with all that the tool does.\n\n\
        | workload | tool | on / off | its CPU | in instructions |\n| --- | --- | --- | --- | --- |\n"
        .to_owned();
    let in_time = measured.pairs.iter().map(|pair| pair.subject.as_str());
    let in_instructions = counted.into_iter().flat_map(|counted| &counted.runs);
    let subjects = once(in_time.chain(in_instructions.map(|run| run.subject.as_str())));
    for workload in Workload::ALL {
        for subject in subjects.iter().filter(|name| **name != COFFERDAM && **name != "off") {
            let time = pair(measured, subject, workload);
            let count = counted.and_then(|counted| Count::of(counted, subject, workload));
            if time.is_none() && count.is_none() {
                continue;
            }
            let ratio = time.map(Ratio::of).map_or_else(String::new, |ratio| {
                format!("{:.3} ({:.3} to {:.3})", ratio.median, ratio.interval.0, ratio.interval.1)
            });
            let cpu: Vec<f64> =
                time.iter().flat_map(|pair| &pair.blocks).filter_map(|block| block.subject_cpu).collect();
            let cpu = if cpu.is_empty() { String::new() } else { duration(median(&cpu)) };
            let count = count.map_or_else(String::new, |count| format!("{:.3}", count.whole_ratio()));
            let name = if *subject == WRITTEN { format!("**{subject}**") } else { escaped(subject) };
            let _ = writeln!(text, "| {workload} | {name} | {ratio} | {cpu} | {count} |");
        }
    }
    text
}

/// Each program in the kernel.
pub(super) fn hooks(measured: &Measured, counted: Option<&Counted>) -> String {
    let mut text = "## Each hook\n\nRuns for each time that the workload is done, and the price of one run. The kernel's own \
        two readings of the clock are in it.\n\n\
        | workload | hook | runs | time | instructions |\n| --- | --- | --- | --- | --- |\n"
        .to_owned();
    for hook in &measured.hooks {
        let same = |other: &&Hook| other.workload == hook.workload && other.program == hook.program;
        let count = counted.and_then(|counted| counted.hooks.iter().find(same));
        let count = count.map_or_else(String::new, |count| format!("{:.0}", count.nanoseconds));
        let _ = writeln!(
            text,
            "| {} | `{}` | {:.1} | {} | {count} |",
            hook.workload,
            hook.program,
            hook.runs,
            duration(hook.nanoseconds)
        );
    }
    text
}

/// What the daemon takes for itself.
pub(super) fn own_costs(measured: &Measured) -> String {
    let costs = &measured.costs;
    let mut text = "## The daemon itself\n\n| what | measured |\n| --- | --- |\n".to_owned();
    for (what, load) in [
        ("CPU for a million events, map and metrics", &costs.million_unread),
        ("the same, all events read by `cofferdam events --json`", &costs.million_read),
    ] {
        let _ = writeln!(text, "| {what} | {} |", cpu(load));
    }
    let latency = &costs.latency;
    let _ = writeln!(
        text,
        "| kernel event to printed JSON line | p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms, of {} at {:.0} events/s |",
        latency.median * 1e3,
        latency.p99 * 1e3,
        latency.longest * 1e3,
        latency.events,
        latency.per_second
    );
    let idle = &costs.idle;
    let _ = writeln!(
        text,
        "| nothing happens | {:.2} % of a CPU, {:.0} wake-ups/s |",
        idle.cpu_percent, idle.wake_ups_per_second
    );
    let _ = writeln!(text, "| memory, no container but two | {} |", memory(&idle.memory));
    if let Some(beside) = measured.beside_docker {
        let _ = writeln!(
            text,
            "| memory, {} idle containers of a real Docker | {} |",
            beside.containers,
            memory(&beside.memory)
        );
    }
    text
}

/// Growth with the number of containers.
pub(super) fn crowds(measured: &Measured) -> String {
    let mut text = "## Among many containers\n\nCgroups with the names of Docker's, each of which has made one \
        connection; no runtime behind them.\n\n\
        | containers | connect + close, on / off | 95 % interval | memory | CPU for a million events | idle |\n\
        | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for crowd in &measured.crowds {
        let ratio = Ratio::of(&crowd.pair);
        let _ = writeln!(
            text,
            "| {} | {:.3} | {:.3} to {:.3} | {} | {} | {:.2} % |",
            crowd.containers,
            ratio.median,
            ratio.interval.0,
            ratio.interval.1,
            memory(&crowd.memory),
            cpu(&crowd.load),
            crowd.idle_cpu_percent
        );
    }
    text
}

/// What could not be measured.
pub(super) fn left_out(measured: &Measured, counted: Option<&Counted>) -> String {
    let mut text = "## Left out\n\n| what | where | why |\n| --- | --- | --- |\n".to_owned();
    let in_machine = counted.map_or([].as_slice(), |counted| &counted.refused);
    let all = measured.refused.iter().map(|refused| (refused, "this kernel"));
    for (Refused { subject, reason }, place) in
        all.chain(in_machine.iter().map(|refused| (refused, "virtual machine")))
    {
        let _ = writeln!(text, "| {} | {place} | {} |", escaped(subject), escaped(reason));
    }
    text += "| auditd | this kernel | audit marks each process made after it was first on, until the next boot: only in the virtual machine |\n";
    text += "| bpftrace | virtual machine | its compiler is too large for a machine that lives in memory |\n";
    text + "| bcc's Python tools | both | they compile against the kernel's headers; libbpf-tools are the same tools without that |\n"
}

fn cpu(load: &Load) -> String {
    format!("{:.2} s ({:.0} events/s)", load.cpu_seconds_per_million, load.per_second)
}

fn memory(memory: &Memory) -> String {
    format!(
        "{:.1} MiB resident, {:.1} MiB in proportion",
        memory.resident as f64 / MIB,
        memory.proportional as f64 / MIB
    )
}

pub(super) fn duration(nanoseconds: f64) -> String {
    if nanoseconds < 1000.0 {
        format!("{nanoseconds:.0} ns")
    } else {
        format!("{:.2} µs", nanoseconds / 1000.0)
    }
}

/// Text of others within a cell.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace(['\r', '\n'], " ")
}
