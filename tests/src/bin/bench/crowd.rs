//! The same among many containers, each of which has made a connection: what is looked up grows with them.

use std::path::PathBuf;

use cofferdam_tests::load::{Order, Workload};

use crate::{
    Effort, costs,
    pairs::{self, Counts},
    results::{Crowd, Pair},
    scene::Scene,
    subject::{Running, Subject},
};

/// Measures a connection, and the daemon, among so many.
pub(crate) fn measure(
    scene: &mut Scene,
    subject: &Subject,
    size: usize,
    counts: &Counts,
    blocks: usize,
    effort: &Effort,
) -> anyhow::Result<Crowd> {
    let crowd = scene.crowd(size)?;
    let found = among(scene, subject, &crowd, counts, blocks, effort);
    scene.disperse(&crowd);
    found
}

fn among(
    scene: &mut Scene,
    subject: &Subject,
    crowd: &[PathBuf],
    counts: &Counts,
    blocks: usize,
    effort: &Effort,
) -> anyhow::Result<Crowd> {
    let start = |scene: &mut Scene| -> anyhow::Result<Running> {
        let running = subject.start(scene)?;
        scene.order(&Order::Visit { cgroups: crowd.to_vec() })?;
        Ok(running)
    };
    let mut pair = Pair {
        subject: subject.name.clone(),
        workload: Workload::Connect,
        count: counts.get(&Workload::Connect).copied().unwrap_or(1),
        blocks: Vec::new(),
    };
    for _ in 0..blocks {
        pair.blocks.extend(pairs::block(scene, &[Workload::Connect], counts, start)?);
    }
    let running = start(scene)?;
    let load = costs::load(scene, &running, effort.connections)?;
    let idle = costs::idle(&running, effort.phase)?;
    Ok(Crowd { containers: crowd.len(), pair, memory: idle.memory, load, idle_cpu_percent: idle.cpu_percent })
}
