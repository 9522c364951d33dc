//! The figures of a table, out of raw measurements.

use cofferdam_tests::load::Workload;

use crate::{
    results::{Counted, CountedRun, Measured, Pair},
    statistics::{interval, median, quantile},
};

/// The daemon as it is deployed ([`crate::subject::Subject::cofferdam`]).
pub(super) const COFFERDAM: &str = "cofferdam";

/// The daemon doing what peers do ([`crate::subject::Subject::cofferdam_written`]).
pub(super) const WRITTEN: &str = "cofferdam, events to a file";

/// On against off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratio {
    pub(super) median: f64,
    pub(super) interval: (f64, f64),
    /// The middle half of off against off: what the machine did by itself.
    pub(super) noise: (f64, f64),
    /// Nanoseconds, with nothing on.
    pub(super) off: f64,
}

impl Ratio {
    pub(super) fn of(pair: &Pair) -> Self {
        let each = |what: fn([f64; 2], [f64; 2]) -> f64| -> Vec<f64> {
            pair.blocks.iter().map(|block| what(block.off, block.on)).collect()
        };
        let ratios = each(|off, on| (on[0] + on[1]) / (off[0] + off[1]));
        let noise = each(|off, _| off[1] / off[0]);
        Self {
            median: median(&ratios),
            interval: interval(&ratios),
            noise: (quantile(&noise, 0.25), quantile(&noise, 0.75)),
            off: median(&each(|off, _| off[0].midpoint(off[1]))),
        }
    }

    /// Whether the machine was so restless that the figure says little.
    pub(super) fn is_noisy(&self) -> bool {
        self.noise.0 < 0.98 || self.noise.1 > 1.02
    }
}

/// A pair that was measured.
pub(super) fn pair<'a>(measured: &'a Measured, subject: &str, workload: Workload) -> Option<&'a Pair> {
    measured.pairs.iter().find(|pair| pair.subject == subject && pair.workload == workload)
}

/// Instructions of one subject against none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count {
    pub(super) off: f64,
    /// What was added where the workload runs: in the kernel, on its way.
    pub(super) added: f64,
    /// What the subject's own process did.
    pub(super) of_process: f64,
}

impl Count {
    pub(super) fn of(counted: &Counted, subject: &str, workload: Workload) -> Option<Self> {
        let off = median(&run(counted, "off", workload)?.instructions);
        let run = run(counted, subject, workload)?;
        let of_process = median(&run.of_process);
        Some(Self { off, added: median(&run.instructions) - of_process - off, of_process })
    }

    /// With the subject, its own process apart, against without.
    pub(super) fn ratio(&self) -> f64 {
        (self.off + self.added) / self.off
    }

    /// With the subject and all that it did against without.
    pub(super) fn whole_ratio(&self) -> f64 {
        (self.off + self.added + self.of_process) / self.off
    }
}

pub(super) fn run<'a>(counted: &'a Counted, subject: &str, workload: Workload) -> Option<&'a CountedRun> {
    counted.runs.iter().find(|run| run.subject == subject && run.workload == workload)
}

/// Names in the order in which they first come.
pub(super) fn once<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}
