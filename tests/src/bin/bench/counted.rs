//! Where guest time counts instructions (`-icount shift=0`), no noise reaches a figure: each is measured a few times
//! only to show that.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use cofferdam_tests::load::Workload;

use crate::{
    hooks,
    pairs::Counts,
    results::{Counted, CountedRun, Refused},
    scene::Scene,
    subject::{Running, Subject},
};

/// How often each is measured.
const REPEATS: usize = 3;

/// Measures with nothing on, with Cofferdam, and with each peer that is there.
pub(crate) fn measure(
    program: &Path,
    load: &Path,
    peers: bool,
    mut tell: impl FnMut(&str),
) -> anyhow::Result<Counted> {
    let counts: Counts = Workload::ALL.into_iter().map(|workload| (workload, workload.few())).collect();
    let mut scene = Scene::start(load, None)?;
    let mut found = Counted {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
        runs: Vec::new(),
        hooks: Vec::new(),
        refused: Vec::new(),
    };
    tell("off");
    found.runs.extend(runs(&mut scene, "off", &Workload::ALL, &counts, None)?);

    let cofferdam = Subject::cofferdam(program);
    for subject in [cofferdam.clone(), Subject::cofferdam_written(program)] {
        tell(&subject.name);
        let running = subject.start(&scene)?;
        found.runs.extend(runs(&mut scene, &subject.name, &subject.workloads, &counts, Some(&running))?);
        if subject.name == cofferdam.name {
            found.hooks = hooks::measure(&mut scene, &running, &subject.workloads, &counts)?;
        }
    }
    if !peers {
        return Ok(found);
    }
    for subject in Subject::libbpf_tools() {
        tell(&subject.name);
        measure_peer(&mut scene, &subject, &counts, &mut found)?;
    }
    let after_all = Subject::peer_that_marks_processes();
    tell(&after_all.name);
    // Only processes made after it are audited, and they are so for ever.
    match after_all.start(&scene) {
        Ok(running) => {
            // It runs on this node, and everything that runs on a node ends with it.
            let _node = Arc::clone(scene.node());
            drop(scene);
            let mut scene = Scene::start(load, None)?;
            let measured = runs(&mut scene, &after_all.name, &after_all.workloads, &counts, Some(&running));
            found.runs.extend(measured?);
        }
        Err(error) => found.refused.push(Refused { subject: after_all.name, reason: format!("{error:#}") }),
    }
    Ok(found)
}

fn measure_peer(
    scene: &mut Scene,
    subject: &Subject,
    counts: &Counts,
    found: &mut Counted,
) -> anyhow::Result<()> {
    match subject.start(scene) {
        Ok(running) => {
            found.runs.extend(runs(scene, &subject.name, &subject.workloads, counts, Some(&running))?);
        }
        Err(error) => {
            found.refused.push(Refused { subject: subject.name.clone(), reason: format!("{error:#}") });
        }
    }
    Ok(())
}

/// The first time of each is not counted: caches and tables grow in it.
fn runs(
    scene: &mut Scene,
    name: &str,
    workloads: &[Workload],
    counts: &Counts,
    running: Option<&Running>,
) -> anyhow::Result<Vec<CountedRun>> {
    let mut found: BTreeMap<Workload, CountedRun> = BTreeMap::new();
    for workload in workloads {
        let count = counts.get(workload).copied().unwrap_or(1);
        scene.run(*workload, count)?;
        let run = found.entry(*workload).or_insert_with(|| CountedRun {
            subject: name.to_owned(),
            workload: *workload,
            instructions: Vec::new(),
            of_process: Vec::new(),
        });
        for _ in 0..REPEATS {
            let before = running.map(Running::cpu).transpose()?;
            let done = scene.run(*workload, count)?;
            let after = running.map(Running::cpu).transpose()?;
            let each = done.count as f64;
            run.instructions.push(done.nanoseconds as f64 / each);
            if let Some((before, after)) = before.zip(after) {
                run.of_process.push(after.saturating_sub(before).as_nanos() as f64 / each);
            }
        }
    }
    Ok(found.into_values().collect())
}
