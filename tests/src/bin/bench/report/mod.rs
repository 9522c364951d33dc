//! Writes what was found into the document, below its mark: figures first against the aims, then each by itself.

mod aims;

mod figures;

mod policy;

mod tables;

use std::{fs, path::Path};

use anyhow::Context as _;

use crate::results::{Counted, Judged, Measured};

/// What is above it is written by hand, what is below by this.
const MARK: &str = "<!-- Below: written by `cargo xtask bench`. -->";

/// What is below it is measured by itself.
const POLICY_MARK: &str = "<!-- Below: written by `cargo xtask bench`, alone by `--only-policy`. -->";

/// Replaces what is below the marks, as far as it was measured.
///
/// # Errors
/// When the document cannot be read or written, or has no mark.
pub(crate) fn write(
    document: &Path,
    measured: Option<&Measured>,
    counted: Option<&Counted>,
    judged: Option<&Judged>,
) -> anyhow::Result<()> {
    let text = fs::read_to_string(document).with_context(|| format!("cannot read {}", document.display()))?;
    let (head, below) =
        text.split_once(MARK).with_context(|| format!("{} has no mark", document.display()))?;
    let (old, of_policies) = below.split_once(POLICY_MARK).unwrap_or((below, ""));
    let part = |new: Option<String>, old: &str| new.unwrap_or_else(|| old.trim().to_owned() + "\n");
    let measured = part(measured.map(|measured| body(measured, counted)), old);
    let judged = part(judged.map(policy::section), of_policies);
    let text = format!("{head}{MARK}\n\n{measured}\n{POLICY_MARK}\n\n{judged}");
    fs::write(document, text).with_context(|| format!("cannot write {}", document.display()))
}

fn body(measured: &Measured, counted: Option<&Counted>) -> String {
    let machine = &measured.machine;
    let mut parts = vec![format!(
        "## Where and when\n\n{} · commit {} · kernel {} · {} CPUs of {}\n",
        machine.date, machine.commit, machine.kernel, machine.processors, machine.processor,
    )];
    if machine.quick {
        parts.push(
            "**Made with `--quick`: it shows that the bench works, its figures say little.**\n".to_owned(),
        );
    }
    parts.push(aims::table(measured, counted));
    parts.push(tables::time(measured));
    parts.extend(counted.map(tables::instructions));
    parts.push(tables::peers(measured, counted));
    parts.push(tables::hooks(measured, counted));
    parts.push(tables::own_costs(measured));
    parts.push(tables::crowds(measured));
    parts.push(tables::left_out(measured, counted));
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use cofferdam_tests::load::Workload;

    use super::*;
    use crate::results::{BesideDocker, Block, Costs, CountedRun, Crowd, Machine, Memory, Pair, Refused};

    fn pair(subject: &str, workload: Workload, on: f64) -> Pair {
        let block = Block { off: [1000.0, 1000.0], on: [on, on], subject_cpu: Some(10.0) };
        Pair { subject: subject.to_owned(), workload, count: 10, blocks: vec![block; 7] }
    }

    fn run(subject: &str, workload: Workload, instructions: f64, of_process: Option<f64>) -> CountedRun {
        let of_process = of_process.into_iter().collect();
        CountedRun { subject: subject.to_owned(), workload, instructions: vec![instructions], of_process }
    }

    fn samples() -> (Measured, Counted) {
        let measured = Measured {
            machine: Machine {
                date: "2026-11-24".to_owned(),
                commit: "abc".to_owned(),
                kernel: "6.18".to_owned(),
                processor: "some".to_owned(),
                processors: 2,
                quick: false,
            },
            pairs: vec![
                pair("cofferdam", Workload::Connect, 1040.0),
                pair("cofferdam", Workload::ForkExec, 1040.0),
                pair("cofferdam, events to a file", Workload::Connect, 1100.0),
                pair("tcplife", Workload::Connect, 1500.0),
                pair("cheap", Workload::Connect, 1090.0),
            ],
            refused: vec![Refused { subject: "kprober".to_owned(), reason: "no | kprobes".to_owned() }],
            hooks: Vec::new(),
            costs: Costs::default(),
            crowds: vec![Crowd {
                containers: 10,
                pair: pair("cofferdam", Workload::Connect, 1050.0),
                memory: Memory::default(),
                load: crate::results::Load::default(),
                idle_cpu_percent: 0.1,
            }],
            beside_docker: Some(BesideDocker { containers: 50, memory: Memory::default() }),
        };
        let counted = Counted {
            kernel: "6.12".to_owned(),
            runs: vec![
                run("off", Workload::Connect, 20_000.0, None),
                run("cofferdam", Workload::Connect, 23_000.0, Some(1000.0)),
            ],
            hooks: Vec::new(),
            refused: Vec::new(),
        };
        (measured, counted)
    }

    #[test]
    fn an_aim_is_met_or_missed_by_the_median_of_the_blocks() {
        let (measured, counted) = samples();
        let text = body(&measured, Some(&counted));
        let aim = |start: &str| text.lines().find(|line| line.starts_with(&format!("| {start}"))).unwrap();
        assert!(aim("TCP connect + close").contains("1.040 met"), "{}", aim("TCP connect + close"));
        assert!(aim("TCP connect + close").contains("1.100 missed"), "{}", aim("TCP connect + close"));
        assert!(aim("fork + exec").contains("1.040 missed"));
        assert!(aim("getppid").contains("not measured"));
        let peers = aim("cheaper than each peer");
        assert!(peers.contains("missed") && peers.contains("cheap"), "{peers}");
        assert!(!peers.contains("tcplife"), "{peers}");
    }

    #[test]
    fn what_is_written_by_hand_stays_and_a_reason_does_not_break_its_table() {
        let (measured, counted) = samples();
        let path = std::env::temp_dir().join(format!("cofferdam-report-{}.md", std::process::id()));
        fs::write(&path, format!("# By hand\n{MARK}\nold")).unwrap();
        write(&path, Some(&measured), Some(&counted), None).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        // What is measured by itself leaves the rest as it is.
        let judged = Judged {
            machine: measured.machine,
            maps_empty: [("pairs".to_owned(), 4 << 20)].into(),
            rows: Vec::new(),
            maps_full: [("pairs".to_owned(), 24 << 20)].into(),
            process: 0,
            changes: Vec::new(),
        };
        write(&path, None, None, Some(&judged)).unwrap();
        let both = fs::read_to_string(&path).unwrap();
        assert!(
            both.starts_with(text.trim_end()) && both.contains("| `pairs` | 4.0 MiB | 24.0 MiB |"),
            "{both}"
        );
        write(&path, None, None, None).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), both);
        fs::remove_file(&path).unwrap();
        assert!(text.starts_with("# By hand\n"), "{text}");
        assert!(!text.contains("old"), "{text}");
        assert!(text.contains("no \\| kprobes"), "{text}");
    }
}
