//! Off, on, on, off: what drifts on a shared machine drifts through both halves alike.

use std::{collections::BTreeMap, time::Duration};

use cofferdam_tests::load::Workload;

use crate::{
    results::{Block, Pair, Refused},
    scene::Scene,
    subject::{Running, Subject},
};

/// How often each workload is done in one measurement, so that it takes as long as wanted.
pub(crate) type Counts = BTreeMap<Workload, u64>;

/// Finds the counts, with nothing on.
pub(crate) fn calibrate(scene: &mut Scene, piece: Duration) -> anyhow::Result<Counts> {
    let mut counts = Counts::new();
    for workload in Workload::ALL {
        let few = workload.few();
        let took = scene.run(workload, few)?.nanoseconds.max(1);
        let count = u128::from(few) * piece.as_nanos() / u128::from(took);
        counts.insert(workload, u64::try_from(count)?.max(1));
    }
    Ok(counts)
}

/// Measures all subjects, in blocks whose order rotates. One that does not start is left out from there on.
pub(crate) fn measure(
    scene: &mut Scene,
    subjects: &[Subject],
    counts: &Counts,
    blocks: usize,
    mut tell: impl FnMut(&str),
) -> anyhow::Result<(Vec<Pair>, Vec<Refused>)> {
    let mut pairs: Vec<Pair> = subjects.iter().flat_map(|subject| empty(subject, counts)).collect();
    let mut refused: Vec<Refused> = Vec::new();
    for number in 0..blocks {
        for at in 0..subjects.len() {
            let subject = &subjects[(at + number) % subjects.len()];
            if refused.iter().any(|refused| refused.subject == subject.name) {
                continue;
            }
            tell(&format!("block {} of {blocks}: {}", number + 1, subject.name));
            let start = |scene: &mut Scene| subject.start(scene);
            match block(scene, &subject.workloads, counts, start) {
                Ok(blocks) => {
                    for (pair, block) in
                        pairs.iter_mut().filter(|pair| pair.subject == subject.name).zip(blocks)
                    {
                        pair.blocks.push(block);
                    }
                }
                Err(error) => {
                    let reason = format!("{error:#}");
                    tell(&format!("{} is left out: {reason}", subject.name));
                    refused.push(Refused { subject: subject.name.clone(), reason });
                }
            }
        }
    }
    pairs.retain(|pair| !pair.blocks.is_empty());
    Ok((pairs, refused))
}

/// The pairs of a subject before the first block.
pub(crate) fn empty<'a>(subject: &'a Subject, counts: &'a Counts) -> impl Iterator<Item = Pair> + 'a {
    subject.workloads.iter().map(|workload| Pair {
        subject: subject.name.clone(),
        workload: *workload,
        count: counts.get(workload).copied().unwrap_or_default(),
        blocks: Vec::new(),
    })
}

/// One block of each of these workloads.
pub(crate) fn block(
    scene: &mut Scene,
    workloads: &[Workload],
    counts: &Counts,
    start: impl FnOnce(&mut Scene) -> anyhow::Result<Running>,
) -> anyhow::Result<Vec<Block>> {
    let before = round(scene, workloads, counts, None)?;
    let running = start(scene)?;
    let first = round(scene, workloads, counts, Some(&running))?;
    let second = round(scene, workloads, counts, Some(&running))?;
    drop(running);
    let after = round(scene, workloads, counts, None)?;
    let blocks = before.iter().zip(&first).zip(second.iter().zip(&after));
    Ok(blocks
        .map(|((before, first), (second, after))| Block {
            off: [before.time, after.time],
            on: [first.time, second.time],
            subject_cpu: first.cpu.zip(second.cpu).map(|(first, second)| (first + second) / 2.0),
        })
        .collect())
}

/// Nanoseconds for each time that the workload was done.
struct Piece {
    time: f64,
    /// Of the subject's process.
    cpu: Option<f64>,
}

fn round(
    scene: &mut Scene,
    workloads: &[Workload],
    counts: &Counts,
    running: Option<&Running>,
) -> anyhow::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    for workload in workloads {
        let count = counts.get(workload).copied().unwrap_or(1);
        let before = running.map(Running::cpu).transpose()?;
        let done = scene.run(*workload, count)?;
        let after = running.map(Running::cpu).transpose()?;
        let each = done.count as f64;
        let cpu =
            before.zip(after).map(|(before, after)| after.saturating_sub(before).as_nanos() as f64 / each);
        pieces.push(Piece { time: done.nanoseconds as f64 / each, cpu });
    }
    Ok(pieces)
}
