//! What tests and measurements ask of the programs.

use anyhow::bail;
use aya::programs::{Program, TestRun as _, TestRunOptions};

use super::Sensor;

impl Sensor {
    /// Lets a packet hook see an Ethernet frame `times` over, as if a socket of the caller's cgroup had sent or got it.
    /// Nothing is sent. Returns what a run took on average, in nanoseconds: for tests and measurements.
    ///
    /// # Errors
    /// When there is no such hook, or the kernel refuses the run.
    pub fn run_hook(&self, hook: &str, frame: &[u8], times: u32) -> anyhow::Result<u128> {
        match self.read().program(hook) {
            Some(Program::CgroupSkb(program)) => {
                let options = TestRunOptions { data_in: Some(frame), repeat: times, ..TestRunOptions::new() };
                Ok(program.test_run(options)?.duration.as_nanos())
            }
            _ => bail!("{hook} is no hook that sees packets"),
        }
    }

    /// How many instructions the verifier followed for each attached program.
    #[must_use]
    pub fn verified_instructions(&self) -> Vec<(String, u32)> {
        self.read()
            .programs()
            .filter_map(|(name, program)| {
                let count = program.info().ok()?.verified_instruction_count()?;
                Some((name.to_owned(), count))
            })
            .collect()
    }
}
