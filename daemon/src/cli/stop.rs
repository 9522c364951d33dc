//! `cofferdam stop`: ends the daemon, and says what becomes of what is enforced.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use clap::Args;

use super::{
    Failure,
    client::Client,
    output::{plural, print},
};
use crate::{
    api::{Stop, Stopping},
    config::AtStop,
    pipeline,
    sensor::{self, features},
};

/// How long the daemon may take to end: as long as its unit gives it.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// How often it is looked whether it has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What `cofferdam stop` takes. Neither: as `policies.at_stop` has it.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// What is enforced stays, until the next daemon takes over
    #[arg(long, conflicts_with = "clear")]
    keep: bool,
    /// Nothing is enforced any more; also where no daemon runs, and one has left what it enforced
    #[arg(long)]
    clear: bool,
}

impl Arguments {
    fn at_stop(&self) -> Option<AtStop> {
        match self {
            Self { keep: true, .. } => Some(AtStop::Keep),
            Self { clear: true, .. } => Some(AtStop::Clear),
            _ => None,
        }
    }
}

pub(super) fn run(arguments: &Arguments, client: &Client, run_dir: &Path) -> Result<(), Failure> {
    match client.post::<Stopping>("/v1/stop", &Stop { at_stop: arguments.at_stop() }) {
        Ok(stopping) => {
            wait(run_dir, stopping.pid)?;
            print(&ended(&stopping, left())?)
        }
        Err(Failure::NoDaemon(_)) if arguments.clear => {
            // No daemon starts meanwhile.
            let _alone = pipeline::claim(run_dir)?;
            let bpffs = features::detect().bpffs.context("no BPF file system is mounted here")?;
            let links = sensor::clear_left(&sensor::pin_directory(&bpffs))?;
            print(&cleared(links))
        }
        Err(failure) => Err(failure),
    }
}

/// Waits until the daemon is gone.
fn wait(run_dir: &Path, pid: u32) -> anyhow::Result<()> {
    let until = Instant::now() + ENDS_WITHIN;
    loop {
        match pipeline::holder(run_dir)? {
            None => return Ok(()),
            Some(holder) if holder != pid && holder != 0 => {
                bail!("stopped, and another daemon (pid {holder}) was started in its place")
            }
            Some(_) if Instant::now() > until => {
                let seconds = ENDS_WITHIN.as_secs();
                bail!("the daemon has not ended within {seconds} seconds: see `journalctl -u cofferdam`")
            }
            Some(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

/// How many hooks judge on, as far as can be seen from here.
fn left() -> usize {
    features::detect().bpffs.map_or(0, |bpffs| sensor::left_to_judge(&bpffs))
}

/// What is said of a daemon that has ended, and of the hooks that are left.
fn ended(Stopping { at_stop, generation, .. }: &Stopping, left: usize) -> anyhow::Result<String> {
    const SEE: &str = "see `journalctl -u cofferdam`";
    Ok(match (at_stop, left) {
        (AtStop::Keep, 0) if *generation > 0 => {
            bail!("stopped, and no hook is seen that judges on by generation {generation}: {SEE}")
        }
        (AtStop::Keep, 0) => "stopped; no policies were in force\n".to_owned(),
        (AtStop::Keep, hooks) => format!(
            "stopped; {} judge on by generation {generation}, and containers that start are unresolved\n\
             End that: cofferdam stop --clear\n",
            plural(hooks, "hook")
        ),
        (AtStop::Clear, 0) => "stopped; nothing is judged any more\n".to_owned(),
        (AtStop::Clear, hooks) => {
            bail!("stopped, but {} judge on: {SEE}, and try again", plural(hooks, "hook"))
        }
    })
}

/// What is said where no daemon ran.
fn cleared(links: usize) -> String {
    match links {
        0 => "no daemon runs, and none has left anything that judges\n".to_owned(),
        links => {
            format!(
                "no daemon runs; {} that one had left are gone: nothing is judged any more\n",
                plural(links, "hook")
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_what_was_enforced_is_said() {
        let stopping = |at_stop, generation| Stopping { schema_version: 1, pid: 7, at_stop, generation };
        let told = |at_stop, left| ended(&stopping(at_stop, 18), left).map_err(|error| error.to_string());
        assert_eq!(ended(&stopping(AtStop::Keep, 0), 0).unwrap(), "stopped; no policies were in force\n");
        assert!(told(AtStop::Keep, 0).unwrap_err().contains("no hook is seen that judges on"));
        assert_eq!(
            told(AtStop::Keep, 14).unwrap(),
            "stopped; 14 hooks judge on by generation 18, and containers that start are unresolved\n\
             End that: cofferdam stop --clear\n"
        );
        assert_eq!(told(AtStop::Clear, 0).unwrap(), "stopped; nothing is judged any more\n");
        assert!(told(AtStop::Clear, 1).unwrap_err().contains("1 hook judge on"));
        assert_eq!(cleared(0), "no daemon runs, and none has left anything that judges\n");
    }
}
