//! What judging by policies costs.

use std::{collections::BTreeMap, fmt::Write as _};

use super::tables::{MIB, duration};
use crate::{
    results::{Change, Judged, Machine, Plans, Price},
    statistics::{median, quantile},
};

/// All of it.
pub(super) fn section(judged: &Judged) -> String {
    let Machine { date, commit, kernel, processor, processors, quick } = &judged.machine;
    let mut text = format!(
        "## Policies\n\n{date} · commit {commit} · kernel {kernel} · {processors} CPUs of {processor}\n\n"
    );
    if *quick {
        text += "**Made with `--quick`: it shows that the bench works, its figures say little.**\n\n";
    }
    text += "What a decision adds to a packet, with the middle half of what was measured: of a packet to one target over \
        and over, and to one after another of so many targets. Of a thousand targets, what is looked up is not in the CPU's \
        caches any more.\n\n";
    text += &decisions(&judged.rows);
    text += "\nUntil a change is in force, with the most rules and workloads: the text is read, then compiled and \
        written into the kernel.\n\n";
    text += &changes(&judged.changes);
    text += "\nThe kernel's memory for policies, as it says itself: while there is none, and with the most rules, those in \
        force and those before them.\n\n";
    text += &memory(&judged.maps_empty, &judged.maps_full);
    let _ = writeln!(
        text,
        "\nThe process holds {:.0} MiB for them, beside their text.",
        judged.process as f64 / MIB
    );
    text
}

fn decisions(rows: &[Plans]) -> String {
    let mut text = "| rules | workloads | identities | pairs | intervals | to one target | targets | each to another | maps | put in force |\n\
        | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in rows {
        let [same, each] =
            [(|price: &Price| price.same) as fn(&Price) -> f64, |price| price.each].map(|of| added(row, of));
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {same} | {} | {each} | {:.1} MiB | {} |",
            row.rules,
            row.workloads,
            row.identities,
            row.pairs,
            row.intervals,
            row.targets,
            row.map_bytes as f64 / MIB,
            seconds(row.seconds)
        );
    }
    text
}

/// What policies add.
fn added(row: &Plans, of: fn(&Price) -> f64) -> String {
    let without = median(&row.off.iter().map(of).collect::<Vec<_>>());
    let with: Vec<_> = row.on.iter().map(|price| of(price) - without).collect();
    let [low, high] = [0.25, 0.75].map(|part| quantile(&with, part));
    format!("{} ({low:.0} to {high:.0})", duration(median(&with)))
}

fn changes(changes: &[Change]) -> String {
    let mut text =
        "| change | reading | in force after that | of it compiling | times |\n| --- | --- | --- | --- | --- |\n".to_owned();
    let mut all = BTreeMap::<&str, Vec<&Change>>::new();
    for change in changes {
        all.entry(&change.what).or_default().push(change);
    }
    for (what, changes) in all {
        let middle = |of: fn(&Change) -> f64| {
            seconds(median(&changes.iter().map(|change| of(change)).collect::<Vec<_>>()))
        };
        let _ = writeln!(
            text,
            "| {what} | {} | {} | {} | {} |",
            middle(|change| change.reading),
            middle(|change| change.applying),
            middle(|change| change.compiling),
            changes.len()
        );
    }
    text
}

fn memory(empty: &BTreeMap<String, u64>, full: &BTreeMap<String, u64>) -> String {
    let mut text = "| map | empty | full |\n| --- | --- | --- |\n".to_owned();
    let mut row = |name: &str, empty: u64, full: u64| {
        let [empty, full] = [empty, full].map(|bytes| bytes as f64 / MIB);
        let _ = writeln!(text, "| {name} | {empty:.1} MiB | {full:.1} MiB |");
    };
    for (name, bytes) in empty {
        row(&format!("`{name}`"), *bytes, full.get(name).copied().unwrap_or_default());
    }
    row("all", empty.values().sum(), full.values().sum());
    text
}

fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.2} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_costs_what_policies_add() {
        let price = |same| Price { same, each: 2.0 * same };
        let row = Plans { off: vec![price(100.0); 3], on: vec![price(150.0); 3], ..Plans::default() };
        assert_eq!(added(&row, |price| price.same), "50 ns (50 to 50)");
        assert_eq!(added(&row, |price| price.each), "100 ns (100 to 100)");
    }
}
